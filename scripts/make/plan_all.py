#!/usr/bin/env python3
"""Compiles every published size for the smallest slice that should hold it, and the paper's run for several slices.

  scripts/make/plan_all.py --output results/plans --dry_run            what is there, and what would be made
  scripts/make/plan_all.py --output results/plans                      minutes each on two cores
  scripts/make/plan_all.py --output results/plans --only gpt_neo_2p7b.v5e_64

Killed, the same command resumes: plans of the present form stay, and the compiled programs of an unfinished one are
cached. Each plan is one file, MODEL.SLICE.json; table.md has a line for each.
Needs the TPU compiler: pip install '.[plan]'.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if __name__ == "__main__" and Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])

from t5x_selfprog.plan.command import FORM
from verifier.storage import files

PAPER = {"gpt_neo_125m": "v5e_8", "gpt_neo_1p3b": "v5e_64", "gpt_neo_2p7b": "v5e_64"}
MORE = [("gpt_neo_2p7b", name) for name in ("v4_32", "v5p_64", "v6e_64", "v5e_256", "v5e_64_x2")]
MORE += [("gpt_neo_125m", "tpu7x_8")]
QWEN = [(f"qwen2p5_coder_{size}", name) for size in ("1p5b", "7b") for name in ("v5e_8", "v5e_64", "v6e_64")]
LADDERS = {
    "codegen_350m_mono": "v5e_8",
    "codegen_2b_mono": "v5e_64",
    "codegen_6b_mono": "v5p_64",
    "codegen_16b_mono": "v5p_64",
    "pythia_14m": "v5e_8",
    "pythia_31m": "v5e_8",
    "pythia_70m": "v5e_8",
    "pythia_160m": "v5e_8",
    "pythia_410m": "v5e_8",
    "pythia_1b": "v5e_8",
    "pythia_1p4b": "v5e_64",
    "pythia_2p8b": "v5e_64",
    "pythia_6p9b": "v5p_64",
    "pythia_12b": "v5p_64",
    "qwen2p5_coder_0p5b": "v5e_8",
    "qwen2p5_coder_1p5b": "v5e_8",
    "smollm2_135m": "v5e_8",
    "qwen2p5_coder_3b": "v5e_64",
    "qwen2p5_coder_7b": "v5p_64",
    "qwen2p5_coder_14b": "v5p_64",
    "qwen2p5_coder_32b": "v5p_64",
}


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, 1 if a plan could not be made, 2 for what cannot be asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--only", default="", help="a plan, MODEL.SLICE, or all whose name begins so")
    parser.add_argument("--dry_run", action="store_true", help="say what would be made, make nothing")
    options = parser.parse_args(arguments)
    wanted = {f"{model}.{name}": (model, name) for model, name in every_plan()}
    chosen = [name for name in wanted if name.startswith(options.only)]
    if options.only in wanted:  # v5e_64 without v5e_64_x2
        chosen = [options.only]
    if not chosen:
        parser.error(f"--only={options.only}: no plan begins so; there are {', '.join(wanted)}")
    missing = [name for name in chosen if not is_present(options.output / f"{name}.json")]
    if options.dry_run:
        for name in chosen:
            older = "of an older form" if (options.output / f"{name}.json").exists() else "missing"
            print(f"{name}: {older if name in missing else 'there'}")
        return 0
    if missing and importlib.util.find_spec("libtpu") is None:
        parser.error("the TPU compiler is not installed: pip install '.[plan]' in the repository")
    options.output.mkdir(parents=True, exist_ok=True)
    failed = []
    for number, name in enumerate(missing, start=1):
        print(f"plan_all: {number} of {len(missing)}, {name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        if make(*wanted[name], options.output / f"{name}.json") != 0:
            failed.append(name)
        minutes = (time.monotonic() - began) / 60
        print(f"plan_all: {name} took {minutes:.1f} minutes", file=sys.stderr, flush=True)
        write_table(options.output)
    write_table(options.output)
    if failed:
        print(f"plan_all: not made (see above): {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def every_plan() -> list[tuple[str, str]]:
    """Model and slice of every plan, the paper's first."""
    return list(dict.fromkeys([*PAPER.items(), *MORE, *LADDERS.items(), *QWEN]))


def make(model: str, slice_name: str, target: Path) -> int:
    """Makes one plan, which prints its progress; returns its exit status. It ends with us, unless we are killed."""
    run = f"paper_{model}" if model in PAPER else "paper_gpt_neo_125m"
    command = [sys.executable, "-m", "t5x_selfprog.main", "plan", f"--gin_file={run}", f"--model={model}"]
    command += [f"--slice={slice_name}", f"--save={target.absolute()}"]
    command += ["--simulate", "--preemptions_per_hour=0.1"]
    return subprocess.run(command, cwd=REPOSITORY).returncode


def is_present(path: Path) -> bool:
    """Whether there is a plan of the form that `selfprog plan` writes now."""
    try:
        return json.loads(path.read_text())["plans"][0].get("form") == FORM
    except (FileNotFoundError, ValueError, KeyError, IndexError):
        return False


def write_table(folder: Path) -> None:
    """What fits, and what it would cost, a line for each plan made so far.

    The training rates of plans of an older form are left out: they gave every chip all links.
    """
    lines = [
        "| model | slice | fits | training GiB | decode GiB | train tok/s/chip | MFU | decode tok/s/chip | compile s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(folder / f"{model}.{name}.json" for model, name in every_plan()):
        if not path.exists():
            continue
        (plan,) = json.loads(path.read_text())["plans"]
        gib = {name: sum(p["bytes"].values()) / 2**30 for name, p in plan["programs"].items()}
        cells = [path.name.split(".")[0], plan["slice"], "yes" if all(plan["fits"].values()) else "no"]
        cells += [f"{gib[name]:.2f}" if gib[name] else "-" for name in ("train", "decode")]
        if "rates" in plan:
            rates = plan["rates"]
            if is_present(path):
                cells += [f"{rates['train'][0]:,.0f} to {rates['train'][1]:,.0f}"]
                cells += [f"{rates['mfu'][0]:.2f} to {rates['mfu'][1]:.2f}"]
            else:
                cells += ["older form", "older form"]
            cells.append(f"{rates['decode'][0]:,.0f}")
        else:
            cells += ["-"] * 3
        cells.append(f"{sum(p['compile_s'] for p in plan['programs'].values()):.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    files.write_atomic(folder / "table.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
