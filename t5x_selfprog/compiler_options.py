"""What the compiler is told for a kind of device: by the trainer and the sampler when they run, by `plan` before."""

# Windowed einsums exchange a weight piece by piece between pieces of a product. Where a chip holds a small part of each
# weight they nearly double a training step, by the compiler's own count (1.25 s for 0.70 s at 2.7B once).
OPTIONS: dict[str, dict[str, str | bool]] = {
    "tpu": {
        "xla_tpu_enable_windowed_einsum_for_all_gather": "false",
        "xla_tpu_enable_windowed_einsum_for_reduce_scatter": "false",
    }
}


def compiler_options(platform: str) -> dict[str, str | bool] | None:
    """For `jax.jit(compiler_options=...)` and `lowered.compile(...)`; None where the defaults are right."""
    return OPTIONS.get(platform)
