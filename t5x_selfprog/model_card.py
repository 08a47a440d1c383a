"""README.md of an exported model: how it was made and measured, and how to load it; drawn from its run, if any."""

from __future__ import annotations

from typing import Any

from t5x_selfprog.run_dir import begun_with_base, is_run
from t5x_selfprog.run_layout import CONTROLS, RunDir, iteration_number, stage_folder
from verifier.storage import files


def run_of(model: str) -> tuple[RunDir, str] | None:
    """The run that contains a model's folder, and the folder's place in it; None for a model from elsewhere."""
    parts = model.rstrip("/").split("/")
    if parts[-1] != stage_folder("checkpoints") or len(parts) < 2:
        return None
    if iteration_number(parts[-2]) is not None:
        depth = 2
    elif len(parts) > 2 and parts[-3] == CONTROLS:
        depth = 3
    else:
        return None
    root = "/".join(parts[:-depth]) or ("/" if model.startswith("/") else ".")
    return (RunDir(root), "/".join(parts[-depth:])) if is_run(root) else None


def card(model: str, exported: dict[str, Any]) -> str:
    """The card's text.

    Args:
      model: the exported folder.
      exported: what `export_model` returned.
    """
    found = run_of(model)
    head = "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [code, program-synthesis]\n---\n\n"
    name = exported["output"].rstrip("/").rpartition("/")[2]
    loading = (
        "\n## Loading\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
        'model = AutoModelForCausalLM.from_pretrained("PATH")\ntokenizer = AutoTokenizer.from_pretrained("PATH")\n```\n'
    )
    what = f"{exported['parameters']:,} weights in the form of the family `{exported['family']}`."
    if found is None:
        return f"{head}# {name}\n\n{what} Exported by t5x_selfprog.\n{loading}"
    run, place = found
    done = files.read_json(files.join(run.root, place, "done.json"))
    measured = files.join(run.root, "table.md")
    base = begun_with_base(run) or "base"
    return (
        f"{head}# {name}\n\nA language model that learnt from programming puzzles and solutions that a model wrote "
        f"and a Python interpreter accepted (or, if it is a control arm, did not): `{place}` of a run of "
        f"t5x_selfprog.\n\n{what} It began as `{base}` (identity {done.get('start', 'unknown')}) and learnt "
        f"{done.get('pairs', 0):,} pairs in {done.get('step', 0):,} steps; its own identity is "
        f"{done.get('identity', 'unknown')}. Its licence is that of the model it began as.\n"
        + loading
        + _measured(measured)
        + "\n## Before use\n\nWhat it writes are programs: run them in a sandbox only. It was measured on puzzles of "
        "the kind that it learnt from, and on nothing else.\n" + _configuration(run)
    )


def _measured(path: str) -> str:
    if not files.exists(path):
        return "\n## How it was measured\n\nThe run has not come to its end: there is no table yet.\n"
    table = files.read_bytes(path).decode("utf-8", "replace").strip()
    return f"\n## How it was measured\n\nEvery arm of the run, with 95% intervals:\n\n{table}\n"


def _configuration(run: RunDir) -> str:
    if not files.exists(run.config):
        return ""
    text = files.read_bytes(run.config).decode("utf-8", "replace").strip()
    fence = "`" * 4
    return f"\n## Configuration\n\n{fence}\n{text}\n{fence}\n"
