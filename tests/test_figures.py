"""Every table in a README matches the raw file it names, and that file matches its evaluations."""

import json
import re
from pathlib import Path

import pytest

from scripts.make import pack_results
from t5x_selfprog.evaluation.pass_at_k import pass_at_k

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
READMES = [*PAGES, *sorted(ROOT.glob("results/*/README.md"))]
MARKED = re.compile(r"<!-- (?P<path>\S+\.md), table (?P<number>\d+) -->\n(?P<table>(?:\|.*\n)+)<!-- end -->")
BLOCK = re.compile(r"(?m)(?:^\|.*\n)+")
RUNS = ("results/quickstart", "results/p3_base")


def cells(block: str) -> list[dict[str, str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def marked() -> list[tuple[Path, re.Match[str]]]:
    return [(readme, found) for readme in READMES for found in MARKED.finditer(readme.read_text())]


def test_results_of_runs_are_tables_of_raw_files():
    named = {(path.relative_to(ROOT).as_posix(), found["path"]) for path, found in marked()}
    assert {("docs/results.md", f"{run}/table.md") for run in RUNS} <= named
    # A table of Pass@k that names no file would be typed by hand.
    for readme in PAGES:
        rest = MARKED.sub("", readme.read_text())
        assert not re.search(r"(?m)^\|.*Pass@", rest), "a table of Pass@k without its raw file"


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_are_those_of_the_file_they_name(readme):
    for found in MARKED.finditer(readme.read_text()):
        blocks = BLOCK.findall((ROOT / found["path"]).read_text())
        assert found["table"] == blocks[int(found["number"]) - 1], found["path"]


@pytest.mark.parametrize("run", RUNS)
def test_tables_say_what_the_evaluations_count(run):
    """Point estimates and solved problems, recomputed from counts; intervals are tested elsewhere."""
    raw = pack_results.read(ROOT / run / pack_results.NAME, "/evaluation.json")
    evaluations = [json.loads(data) for data in raw.values()]
    first, second = (cells(block) for block in BLOCK.findall((ROOT / run / "table.md").read_text())[:2])
    values, seen = {}, 0
    for row in first:
        arm, _, iteration = row["arm"].partition(" ")
        problems = next(
            e["problems"]
            for e in evaluations
            if e["arm"] == arm and e["iteration"] == (int(iteration) if iteration else None)
        )
        assert row["solved"] == f"{sum(p['c'] > 0 for p in problems)}/{len(problems)}"
        for k in (1, 10, 100):
            if arm == "enumerator":
                of_each = [0 < (p["rank"] or 0) <= k for p in problems]
            else:
                of_each = pass_at_k([p["n"] for p in problems], [p["c"] for p in problems], k)
            values[row["arm"], k] = 100 * sum(of_each) / len(problems)
            assert float(row[f"Pass@{k}"].split()[0]) == pytest.approx(values[row["arm"], k], abs=0.051)
            seen += 1
    assert seen == 3 * len(evaluations) == 3 * len(first)
    for row in second:
        left, right = row["comparison"].split(" - ")
        assert float(row["difference"].split()[0]) == pytest.approx(
            values[left, 100] - values[right, 100], abs=0.051
        )
        assert float(row["ratio"].split()[0]) == pytest.approx(
            values[left, 100] / values[right, 100], abs=0.0051
        )


def test_published_models_stand_in_their_table_as_in_the_runs_that_measured_them():
    (table,) = BLOCK.findall((ROOT / "results/published/table.md").read_text())
    rows = {row["model"]: row for row in cells(table)}
    sources = (
        ("SmolLM2-135M-Instruct", "smollm2_135m", "base"),
        ("Qwen2.5-Coder-0.5B-Instruct", "qwen2p5_coder_0p5b", "base"),
        ("enumerator", "smollm2_135m", "enumerator"),
    )
    assert set(rows) == {name for name, _, _ in sources}
    for name, run, arm in sources:
        (block, *_) = BLOCK.findall((ROOT / f"results/claim/{run}/table.md").read_text())
        (measured,) = [row for row in cells(block) if row["arm"] == arm]
        assert all(rows[name][key] == measured[key] for key in ("Pass@1", "Pass@10", "Pass@100", "solved"))


@pytest.mark.parametrize("page", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_said_to_double_that_no_table_says_doubles(page):
    """The words of tables follow rules (`statistics.claim`); prose must follow the strictest of them."""
    folder = ROOT / "results" if page in PAGES else page.parent
    shown = any("more than doubles" in path.read_text() for path in folder.glob("**/table.md"))
    said = re.sub(r"\s+", " ", page.read_text())
    assert shown or not re.search(r'(?<!")(?<!whether it )more than doubles', said, re.IGNORECASE)


def test_power_is_what_its_files_say():
    said = (ROOT / "docs/studies.md").read_text()
    by_problems = json.loads((ROOT / "results/power/quickstart.json").read_text())["power"]
    first, last = min(by_problems, key=int), max(by_problems, key=int)
    shares = {size: f"{100 * share:.0f}%" for size, share in by_problems.items()}
    assert f"{shares['76']} of experiments" in said and f"228 in {shares['228']}" in said
    assert by_problems[first] <= by_problems[last]
    doubling = json.loads((ROOT / "results/power/doubling.json").read_text())
    assert f"in {100 * doubling['power']:.0f}%" in said and doubling["power"] >= 0.9
    assert (doubling["design"]["base"], doubling["design"]["arms"], doubling["design"]["seeds"]) == (
        0.08,
        5,
        3,
    )


def prose(page: str) -> str:
    return re.sub(r"\s+", " ", (ROOT / page).read_text())


def test_what_pages_say_in_words_of_the_claim_stands_in_its_tables():
    """ "2.2 times the base's, interval 1.0 to 3.7": ratios of Pass@1 against the base, to a digit."""
    ratios = {}
    for run in ("qwen2p5_coder_0p5b", "smollm2_135m"):
        (*_, block) = BLOCK.findall((ROOT / f"results/claim/{run}/table.md").read_text())
        (found,) = [row for row in cells(block) if row["verified against"] == "base" and row["k"] == "1"]
        ratios[run] = [f"{float(value):.1f}" for value in re.findall(r"[\d.]+", found["ratio of Pass@k"])]
    (qwen, low, high), (smol, smol_low, smol_high) = ratios.values()
    of_smol = f"with SmolLM2-135M {smol} times, {smol_low} to {smol_high}"
    assert f"({qwen} times the base's, interval {low} to {high}; {of_smol})" in prose("README.md")
    said = prose("docs/results.md")
    assert f"({qwen} and {smol} times the base's;" in said and f"begin at {low} and {smol_low})" in said


def test_what_the_page_of_studies_says_in_words_stands_in_raw_files():
    said = prose("docs/studies.md")
    (block, *_) = BLOCK.findall((ROOT / "results/gpu/p3/table.md").read_text())
    verified, base = (
        next(row["Pass@1"] for row in cells(block) if row["arm"].startswith(arm)).replace("–", "-")
        for arm in ("verified", "base")
    )
    assert f"verified {verified.replace(' ', '% Pass@1 ')}, base {base})" in said
    firewall = [json.loads(line) for line in (ROOT / "results/firewall/p3.jsonl").read_text().splitlines()]
    (line,) = [line for line in firewall if line["name"] == "names, operands"]
    assert f"swapped {line['any']} of {line['puzzles']} are found, {line['before']} before" in said
