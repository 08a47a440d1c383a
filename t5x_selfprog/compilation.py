"""Keeps compiled programs on disk, so that a resumed run does not compile them again."""

import os

import jax

DEFAULT_FOLDER = os.path.join("~", ".cache", "selfprog", "xla")


def keep_compiled() -> None:
    """Turns on JAX's persistent compilation cache, unless JAX_COMPILATION_CACHE_DIR is set (empty turns it off)."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", os.path.expanduser(DEFAULT_FOLDER))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
