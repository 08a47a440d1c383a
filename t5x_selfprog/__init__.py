"""Language models that teach themselves to program, on JAX."""
