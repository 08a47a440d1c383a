"""Language models that teach themselves to program, on JAX.

`main` is the command line and `loop` the order of the stages; CONTRIBUTING.md says what the other modules and packages
hold. May import `verifier`, never `selfprog_puzzles`.
"""
