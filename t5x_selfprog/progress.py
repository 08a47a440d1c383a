"""Progress bars that stay out of logs: a bar on a terminal, a line now and then elsewhere, nothing if quiet."""

import os
import sys
from typing import Any

from tqdm import tqdm


def progress_bar(**options: Any) -> tqdm:
    """A tqdm bar on standard error. `SELFPROG_QUIET=1` (what `--quiet` sets) turns it off."""
    options.setdefault("dynamic_ncols", True)
    if not sys.stderr.isatty():
        options.update(mininterval=30.0, dynamic_ncols=False, ncols=100)
    return tqdm(disable=bool(os.environ.get("SELFPROG_QUIET")), **options)
