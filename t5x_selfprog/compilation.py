"""Compiled programs are kept on disk, so that a resumed run does not compile again what it compiled before."""

import os

import jax

DEFAULT_FOLDER = os.path.join("~", ".cache", "selfprog", "xla")


def keep_compiled() -> None:
    """Turns JAX's persistent compilation cache on, unless JAX_COMPILATION_CACHE_DIR (empty: off) says where."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", os.path.expanduser(DEFAULT_FOLDER))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
