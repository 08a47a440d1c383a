"""Where Orbax finds a checkpoint: an absolute path, or one in a bucket.

Orbax opens `gs://` by etils.epath, which takes TensorFlow for it where that is installed. Not here: epath is told to go
through fsspec, as all our own files do.
"""

import os

from verifier import files

os.environ.setdefault("EPATH_USE_TF", "0")


def checkpoint_path(directory: str) -> str:
    return files.absolute(directory)
