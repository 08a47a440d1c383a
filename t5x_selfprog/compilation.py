"""Keeps compiled programs on disk, so that a resumed run does not compile them again."""

import os

import jax

from t5x_selfprog.model.checkpoint_path import checkpoint_path
from verifier.storage import files

DEFAULT_FOLDER = os.path.join("~", ".cache", "selfprog", "xla")


def keep_compiled(run_root: str = "") -> None:
    """Turns on JAX's persistent compilation cache, unless JAX_COMPILATION_CACHE_DIR says where (empty: off).

    For a run in a bucket the cache lies beside it: new machines continue such a run, and all read what host 0 wrote.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = (
            f"{run_root.rstrip('/')}.xla" if files.is_remote(run_root) else os.path.expanduser(DEFAULT_FOLDER)
        )
        jax.config.update("jax_compilation_cache_dir", checkpoint_path(folder))  # JAX opens it as Orbax does
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
