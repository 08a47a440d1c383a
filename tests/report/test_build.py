"""The page of a run: finished, half finished, damaged, hostile, large."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from t5x_selfprog.evaluation.evaluation import ProblemCount, summarise
from t5x_selfprog.report.build import build_report
from t5x_selfprog.report.findings import find
from t5x_selfprog.run_layout import RunDir
from tests.report.synthetic_run import HOSTILE, make_run
from verifier.storage.shards import atomic_write


class Outline(HTMLParser):
    """Which elements a page has, and which attributes could run something or fetch something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.unsafe: list[tuple[str, str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            local = ("#", "data:,", "../iter_")  # the last: folders of raw records beside the report
            remote = name in ("src", "href", "action") and not (value or "").startswith(local)
            if name.startswith("on") or remote:
                self.unsafe.append((tag, name, value))


def build(root: Path) -> str:
    path = Path(build_report(str(root)))
    assert path == root / "report" / "index.html"
    return path.read_text("utf-8")


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> str:
    return build(make_run(tmp_path_factory.mktemp("runs") / "finished"))


def test_a_finished_run_has_every_section_and_misses_nothing(finished):
    sections = re.findall(r'<section id="(\w+)"', finished)
    assert sections == [
        "results", "problems", "yield", "outcomes", "difficulty", "variety", "time", "rollouts", "training", "gallery",
        "checkpoints", "about",
    ]  # fmt: skip
    assert "Still missing" not in finished
    assert "{{" not in re.sub(r"\{\{script\}\}", "", finished)  # that one is a puzzle's


def test_model_text_stays_text(finished):
    outline = Outline(finished)
    assert outline.unsafe == []
    assert outline.tags.count("script") == 2 and "img" not in outline.tags and "plaintext" not in outline.tags
    for text in HOSTILE[:3]:
        assert text not in finished


def test_only_the_pages_own_script_may_run(finished):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', finished)
    assert policy is not None and "default-src 'none'" in policy[1]
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]+';", policy[1])


def test_every_plot_has_its_numbers(finished):
    assert finished.count("<svg") >= 10
    for name in ("results", "yield", "outcomes", "difficulty", "variety", "time"):
        section = finished.split(f'<section id="{name}"')[1].split("</section>")[0]
        assert "<svg" in section and "<table" in section


def test_lineage_leads_to_everything_it_names(finished):
    """Every link inside the page has its target: prompt problems, weights that wrote, other puzzles."""
    targets = set(re.findall(r' id="([^"]+)"', finished))
    links = set(re.findall(r'href="#([^"]+)"', finished))
    assert links <= targets
    kinds = {link.split("-")[0] for link in links}
    assert {"p", "c"} <= kinds and "train problem" in finished
    assert "../iter_001/4_verdicts/" in finished


def test_what_the_numbers_rest_on_is_said(finished):
    assert "evaluated 2 times in this run, by one configuration" in finished
    assert "117 of 120 held-out problems are clean" in finished
    assert "device-hours" in finished and re.search(r"\d+ of \d+ told", finished)


def test_goodput_is_shown_with_what_it_leaves(finished, tmp_path):
    section = finished.split('<section id="time"')[1].split("</section>")[0]
    text = " ".join(re.sub(r"<[^>]*>", " ", section).split())
    assert "Goodput: 60.0% of the wall time" in text and "waited for verdicts 30.0% of it" in text
    assert "A kill undid 7 training steps" in text
    assert "iter_000/3_solutions 90.0 30.0 25.0%" in text and "sampling &lt;decode&gt; 3 1 6.0" in text
    # Runs that were made before there was an account have a page too.
    older = make_run(tmp_path / "older", iterations=1, puzzles=8)
    Path(older, "goodput.json").unlink()
    assert '<section id="time"' in (page := build(older)) and "Goodput" not in page


def test_problems_that_cannot_be_read_are_said(tmp_path):
    root = make_run(tmp_path / "run", iterations=1, puzzles=8)
    atomic_write(RunDir(str(root)).config, "Experiment.problems = 'nowhere/p3'\n")
    page = build(root)
    assert "the train problems cannot be shown: nowhere/p3" in page and 'id="sources"' not in page


@pytest.mark.slow
def test_a_hundred_thousand_attempts_stay_under_five_megabytes(tmp_path):
    root = make_run(tmp_path / "run", puzzles=1600)  # two iterations, 32 attempts a puzzle
    page = build(root)
    assert "51,200 attempts" in page and len(page.encode()) < 5_000_000


def test_data_is_embedded_whole(finished):
    data = data_of(finished)
    assert [e["arm"] for e in data["evaluations"]].count("verified") == 2
    assert len(data["evaluations"][0]["problems"]) == 120
    assert data["iterations"][1]["funnel"]["stages"][0]["name"] == "sampled"


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (30.0, "more than doubles"),
        (1.0, "No difference shown"),
        pytest.param(0.15, "worsens", marks=pytest.mark.slow),
    ],
)
def test_headline_claims_what_the_interval_supports(tmp_path, gain, words):
    page = build(make_run(tmp_path / "run", iterations=1, gain=gain, puzzles=8))
    headline = re.search(r"<h1>(.*?)</h1>", page)
    assert headline is not None and words in headline[1]


@pytest.mark.parametrize(("problems", "few"), [(6, True), (300, False)])
def test_few_problems_are_not_called_no_difference(problems, few):
    """Where the interval holds whatever one might hope for, that nothing is shown says nothing."""

    def evaluation(arm, iteration, right):
        counts = [ProblemCount(f"p{i}", f"P{i}", "g", 20, c) for i, c in enumerate(right * (problems // 3))]
        return {"arm": arm, "iteration": iteration, "seed": 0, "split": "test"} | summarise(counts, {})

    found = find([evaluation("base", None, [0, 1, 4]), evaluation("verified", 0, [4, 0, 1])])
    assert found is not None
    assert found.headline.startswith(
        "Too few problems to tell iteration 0 from the base" if few else "No difference"
    )
    assert f"paired over {problems} held-out problems" in found.subline


@pytest.mark.parametrize(
    ("stop_after", "missing"),
    [
        ("puzzles", "iteration 0 has no verdicts yet"),
        ("half_verdicts", "2 of 4 shards of verdicts are not there yet"),
        ("iterations", "the enumerator is not evaluated yet"),
    ],
)
def test_a_half_finished_run_says_what_is_missing(tmp_path, stop_after, missing):
    page = build(make_run(tmp_path / "run", stop_after=stop_after, puzzles=12))
    assert missing in page and "Still missing" in page
    assert "Traceback" not in page and ">nan" not in page.lower()


def test_an_arm_trained_only_for_its_best_form_is_not_missing(tmp_path):
    root = make_run(tmp_path / "run", iterations=1, puzzles=12)
    human = root / "controls" / "human"
    best = human.with_name("human_best")
    human.rename(best)
    evaluation = best / "7_eval" / "evaluation.json"
    evaluation.write_text(evaluation.read_text().replace('"human"', '"human_best"'))
    (human / "6_checkpoints").mkdir(parents=True)
    page = build(root)
    assert "Still missing" not in page and 'class="row human"' in page and "human_best" in page


def test_an_empty_run_is_a_page_too(tmp_path):
    page = build(tmp_path)
    assert "Nothing is measured yet." in page and "no iteration has begun" in page


def test_damage_is_said(tmp_path):
    root = make_run(tmp_path / "run", iterations=1, puzzles=12)
    run = RunDir(str(root))
    shard = Path(run.read(0, "verdicts").shard_path(1))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    atomic_write(f"{run.base_eval}/evaluation.json", "{half")
    page = build(root)
    assert "verdicts is damaged" in page and "evaluation.json is not JSON" in page


def test_evaluations_on_other_problems_do_not_mix(tmp_path):
    root = make_run(tmp_path / "run", iterations=1, puzzles=8)
    path = root / "base" / "7_eval" / "evaluation.json"
    base = json.loads(path.read_text())
    base["problems"] = base["problems"][:50]
    path.write_text(json.dumps(base))
    assert "Nothing to compare yet." in build(root)


def test_the_same_run_gives_the_same_page(tmp_path):
    root = make_run(tmp_path / "run", iterations=1, puzzles=8)
    assert build(root) == build(root)


@pytest.mark.parametrize(
    ("name", "limit"), [("MAX_CARDS", 20), pytest.param("MAX_BYTES", 40_000, marks=pytest.mark.slow)]
)
def test_a_large_gallery_is_capped_and_says_so(tmp_path, monkeypatch, name, limit):
    monkeypatch.setattr(f"t5x_selfprog.report.gallery.{name}", limit)
    page = build(make_run(tmp_path / "run", iterations=1, puzzles=80))
    found = re.search(r"(\d+) solved puzzles, (\d+) of them here", page)
    cards = page.split('id="cards">')[1].split('id="sources"')[0]
    assert found is not None and int(found[1]) > int(found[2]) == cards.count("<article") > 0
    assert cards.count("<article") <= 20 if name == "MAX_CARDS" else len(cards.encode()) <= limit + 200


def test_the_report_is_light():
    """No accelerator library is loaded to draw a page."""
    loaded = "[name for name in ('jax', 'tensorflow', 'gin') if name in sys.modules]"
    script = f"import sys, t5x_selfprog.report.build; print({loaded})"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
