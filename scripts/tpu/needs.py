#!/usr/bin/env python3
"""Prints the files and folders that a run reads and the repository lacks, one a line, relative to it.

  scripts/tpu/needs.py --gin_file=paper_gpt_neo_2p7b --gin.NAME=VALUE ...

They are what the configuration names: Experiment.base and .problems, SolvePrompt.tutorial, pairs for controls. Refuses
a configuration that is wrong, and says what is missing here.
"""

import argparse
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPOSITORY))

from t5x_selfprog import reads
from verifier.errors import UserError


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--gin_file", action="append", default=[])
    options, flags = parser.parse_known_args()
    bindings = [flag.removeprefix("--gin.") for flag in flags if flag.startswith("--gin.")]
    os.chdir(REPOSITORY)
    try:
        for path in reads.paths(options.gin_file, bindings):
            print(path)
    except UserError as error:
        print(f"tpu: error: {error}", file=sys.stderr)
        return error.EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
