"""Compiler options by kind of device, used by the trainer and the sampler when they run, and by `plan` in advance."""

# Windowed einsums exchange a weight piece by piece between pieces of a product. If a chip holds a small part of each
# weight, they nearly double a training step by the compiler's own count (in one case at 2.7B, 1.25 s for 0.70 s).
OPTIONS: dict[str, dict[str, str | bool]] = {
    "tpu": {
        "xla_tpu_enable_windowed_einsum_for_all_gather": "false",
        "xla_tpu_enable_windowed_einsum_for_reduce_scatter": "false",
    }
}


def compiler_options(platform: str) -> dict[str, str | bool] | None:
    """Options for `jax.jit(compiler_options=...)` and `lowered.compile(...)`; None where the defaults are right."""
    return OPTIONS.get(platform)
