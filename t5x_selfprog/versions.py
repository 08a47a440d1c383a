"""Versions of the software that computed a result, on which it may depend besides its configuration."""

import platform
from importlib import metadata

PACKAGES = (
    "t5x_selfprog",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "tokenizers",
    "libtpu",
)


def versions() -> dict[str, str]:
    """Versions by package, without packages that are not installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
