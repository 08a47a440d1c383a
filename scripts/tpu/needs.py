#!/usr/bin/env python3
"""Prints the files and folders that a run reads and the repository lacks, one a line, relative to it.

  scripts/tpu/needs.py --gin_file=paper_gpt_neo_2p7b --gin.NAME=VALUE ...

They are what the configuration names: Experiment.base and .problems, SolvePrompt.tutorial, pairs for controls. Refuses
flags that `selfprog run` does not have and a configuration that is wrong, and says what is missing here. What depends
on the devices is found on the workers alone.
"""

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPOSITORY))

from t5x_selfprog import main as command_line
from t5x_selfprog import reads
from verifier.errors import UserError


def main() -> int:
    _, flags = command_line.parse(["run", "--run_dir=RUN_DIR", *sys.argv[1:]])
    os.chdir(REPOSITORY)
    try:
        for path in reads.paths(flags.gin_file, flags.gin_bindings):
            print(path)
    except UserError as error:
        print(f"tpu: error: {error}", file=sys.stderr)
        return error.EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
