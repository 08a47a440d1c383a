"""What a result may depend on besides its configuration: the versions of what computed it."""

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
    """By package; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
