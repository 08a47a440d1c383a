#!/usr/bin/env python3
"""Compiles every published size for the smallest slice that should hold it, and the paper's run for several slices.

  scripts/make/plan_all.py --output results/plans   two to four minutes each on two cores; the same command resumes
  scripts/make/plan_all.py --output results/plans --only gpt_neo

Each plan is one file, MODEL.SLICE.json; table.md has a line for each. Needs the TPU compiler: pip install '.[plan]'.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])

from t5x_selfprog.plan.command import FORM

PAPER = {"gpt_neo_125m": "v5e_8", "gpt_neo_1p3b": "v5e_64", "gpt_neo_2p7b": "v5e_64"}
MORE = [("gpt_neo_2p7b", name) for name in ("v4_32", "v5p_64", "v6e_64", "v5e_256", "v5e_64_x2")]
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--only", default="", help="models whose name begins so")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for model, name in [*PAPER.items(), *MORE, *LADDERS.items(), *QWEN]:
        target = options.output / f"{model}.{name}.json"
        if is_present(target) or not model.startswith(options.only):
            continue
        run = f"paper_{model}" if model in PAPER else "paper_gpt_neo_125m"
        command = [sys.executable, "-m", "t5x_selfprog.main", "plan", f"--gin_file={run}", f"--model={model}"]
        command += [f"--slice={name}", f"--save={target}", "--simulate", "--preemptions_per_hour=0.1"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        print(done.stdout if done.returncode == 0 else f"{model} on {name}: {done.stderr[-800:]}", flush=True)
        write_table(options.output)


def is_present(path: Path) -> bool:
    """Whether there is a plan of the form that `selfprog plan` writes now."""
    return path.exists() and json.loads(path.read_text())["plans"][0].get("form") == FORM


def write_table(folder: Path) -> None:
    """What fits, and what it would cost, a line for each plan made so far.

    The training rates of plans of an older form are left out: they gave every chip all links.
    """
    lines = [
        "| model | slice | fits | training GiB | decode GiB | train tok/s/chip | MFU | decode tok/s/chip | compile s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(folder.glob("*.json")):
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
    (folder / "table.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
