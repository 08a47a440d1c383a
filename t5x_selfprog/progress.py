"""Progress bars suited to logs: a bar on a terminal, an occasional line elsewhere, nothing if quiet."""

import os
import sys
from typing import Any

from tqdm import tqdm


def progress_bar(**options: Any) -> tqdm:
    """A tqdm bar on standard error. `SELFPROG_QUIET=1`, set by `--quiet`, turns it off."""
    options.setdefault("dynamic_ncols", True)
    if not sys.stderr.isatty():
        options.update(mininterval=30.0, dynamic_ncols=False, ncols=100)
    return tqdm(disable=bool(os.environ.get("SELFPROG_QUIET")), **options)
