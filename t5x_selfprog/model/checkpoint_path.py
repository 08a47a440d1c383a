"""Where Orbax finds a checkpoint: an absolute path, or one in a bucket.

Orbax opens `gs://` through etils.epath, which uses TensorFlow where that is installed. Here epath is told to use fsspec
instead, as all our own file access does.
"""

import os

from verifier.storage import files

os.environ.setdefault("EPATH_USE_TF", "0")


def checkpoint_path(directory: str) -> str:
    return files.absolute(directory)
