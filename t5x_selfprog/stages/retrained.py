"""Training again what a pack left out: whether it came to the same weights."""

import sys
from collections.abc import Mapping
from typing import Any

from t5x_selfprog.moving.contents import PACKED_DONE
from verifier.storage import files


def compare_with_packed(done: Mapping[str, Any], output: str) -> None:
    """Reports weights that differ from those a pack left out: other kinds of machines round differently."""
    try:
        packed = files.read_json(files.join(output, PACKED_DONE))
    except FileNotFoundError:
        return
    if packed["identity"] != done["identity"]:
        print(
            f"{output}: trained again from the same data, the weights are {done['identity']}; where the run was "
            f"packed they were {packed['identity']}. The run goes on from these.",
            file=sys.stderr,
        )
