"""The project's ledger of evaluations on test splits lists every committed one."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from scripts.make import pack_results

RESULTS = Path(__file__).resolve().parent.parent / "results"
LEDGER = [json.loads(line) for line in (RESULTS / "held_out/ledger.jsonl").read_text().splitlines()]


def looks() -> dict[str, set[bytes]]:
    """Committed evaluations of models on a test split, by folder of results; copies count once."""
    found: dict[str, set[bytes]] = {}
    assert not list(RESULTS.glob("**/evaluation.json")), (
        "raw files lie unpacked: scripts/make/pack_results.py"
    )
    for pack in sorted([*RESULTS.glob(f"*/**/{pack_results.NAME}"), *RESULTS.glob("*/**/run.pack")]):
        for data in pack_results.read(pack, "/evaluation.json").values():
            evaluation = json.loads(data)
            if evaluation.get("split") == "test" and evaluation["arm"] != "enumerator":
                found.setdefault(f"results/{pack.relative_to(RESULTS).parts[0]}", set()).add(data)
    return found


def test_no_look_is_missing():
    counted = Counter()
    for line in LEDGER:
        assert set(line) >= {"where", "problems", "split", "looks", "configurations", "kept", "chose"}, line
        counted[line["where"]] += line["looks"] if line["split"] == "test" and line["kept"] else 0
    there = looks()
    assert there, "no committed evaluation was found"
    for folder, evaluations in there.items():
        assert counted[folder] >= len(evaluations), f"{folder}: the ledger misses looks"


@pytest.mark.parametrize("study", sorted(RESULTS.glob("**/study.json")), ids=lambda path: path.parent.name)
def test_studies_and_the_ledger_count_alike(study):
    """A study counts the evaluations of its runs itself, including those that were not kept."""
    folder = f"results/{study.relative_to(RESULTS).parts[0]}"
    said = re.findall(
        r"Split test was evaluated (\d+) times", " ".join(json.loads(study.read_text())["held_out"])
    )
    assert sum(line["looks"] for line in LEDGER if line["where"] == folder and line["kept"]) == sum(
        map(int, said)
    )


def test_runs_and_the_ledger_count_alike():
    packs = {f"results/{pack.parent.name}": pack for pack in RESULTS.glob(f"*/{pack_results.NAME}")}
    records = {
        folder: [data for path, data in pack_results.read(pack).items() if path.startswith("held_out/")]
        for folder, pack in packs.items()
    }
    assert {folder for folder, record in records.items() if record} == {
        "results/quickstart",
        "results/p3_base",
    }
    for folder, record in records.items():
        if not record:
            continue
        entries = [json.loads(data) for data in record]
        kept = sum(line["looks"] for line in LEDGER if line["where"] == folder and line["kept"])
        assert kept == sum(entry["split"] == "test" for entry in entries)


def test_what_was_chosen_by_looking_is_said_where_it_is_used():
    """One setting was chosen on test: the study that uses it says so, and gives the later figures on dev."""
    assert [line["where"] for line in LEDGER if line["chose"]] == ["results/p3_base"]
    study = (RESULTS.parent / "gin/studies/quick_p3.gin").read_text()
    assert "results/held_out" in study and "test had chosen them once" in study
    runs = {run["switch"]: run for run in json.loads((RESULTS / "switches/dev.json").read_text())["runs"]}
    assert runs["more_epochs"]["bindings"] == ["finetune.run.epochs=8"]
    for switch in ("quickstart", "more_epochs"):
        found = runs[switch]["pass_at_k"]["verified 0"]["10"]
        said = f"{100 * found['estimate']:.1f} [{100 * found['low']:.1f}-{100 * found['high']:.1f}]"
        assert said in study.replace("\n# ", " ") and found["problems"] == 151
