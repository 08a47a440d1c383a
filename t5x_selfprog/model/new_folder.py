"""Creates a folder that appears only once it is complete."""

import contextlib
import os
import shutil
from collections.abc import Iterator

from verifier.errors import UserError


def require_new(output: str) -> str:
    """The absolute path of a folder to be created. Raises UserError if it already has content."""
    output = os.path.abspath(output)
    if os.path.exists(output) and (not os.path.isdir(output) or os.listdir(output)):
        raise UserError(f"{output} already exists: remove it, or give another --output")
    return output


@contextlib.contextmanager
def new_folder(output: str, num_bytes: int) -> Iterator[str]:
    """A folder to fill, which is renamed to `output` on success and removed on failure.

    Raises UserError if `output` already has content, or the disk has no room.
    """
    output = require_new(output)
    os.makedirs(os.path.dirname(output), exist_ok=True)
    free = shutil.disk_usage(os.path.dirname(output)).free
    if free < num_bytes:
        raise UserError(
            f"{output}: {num_bytes:,} bytes are needed and {free:,} are free; give an --output elsewhere"
        )
    partial = output + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.mkdir(partial)
    try:
        yield partial
        if os.path.isdir(output):
            os.rmdir(output)
        os.replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
