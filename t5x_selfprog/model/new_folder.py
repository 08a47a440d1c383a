"""A folder that is there when it is whole, and not before."""

import contextlib
import os
import shutil
from collections.abc import Iterator

from verifier.errors import UserError


def require_new(output: str) -> str:
    """The absolute path of a folder to be made. Raises UserError where something is there already."""
    output = os.path.abspath(output)
    if os.path.exists(output) and (not os.path.isdir(output) or os.listdir(output)):
        raise UserError(f"{output} is there already: remove it, or give another --output")
    return output


@contextlib.contextmanager
def new_folder(output: str, num_bytes: int) -> Iterator[str]:
    """A folder to fill, which becomes `output` at the end, or nothing.

    Raises UserError where `output` has something in it already, or the disk has no room.
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
