"""What a study has found so far: one long table, the transfer matrix and scaling fits, in files and on a page.

Seeds of a configuration are pooled, every arm is compared with its own base on the same problems, and claims are
corrected (Holm, for each k) over all comparisons of the study. Unfinished runs are left out and named.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t5x_selfprog.evaluation import contrasts, held_out, scaling
from t5x_selfprog.evaluation.compare import Evaluation, models_of, value_table
from t5x_selfprog.evaluation.contrasts import ENUMERATOR, Contrast, percent
from t5x_selfprog.evaluation.table import Row, against_base, family_sizes, headline_k, rows
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.study.grid import Cell
from verifier.storage.shards import atomic_write

if TYPE_CHECKING:
    from t5x_selfprog.study.launch import Configured

TAUGHT = "_taught"  # suffix of a run that also learned from the others
SIZES = ("parameters", "pairs", "train_flops")


@dataclass(frozen=True)
class Line:
    """One arm of one configuration, its seeds pooled; its row is corrected over the whole study."""

    levels: dict[str, str]
    row: Row
    sizes: dict[str, float]
    runs: tuple[str, ...]

    @property
    def adjusted(self) -> dict[int, float]:
        """p-values after correction, by k."""
        return self.row.adjusted

    @property
    def iteration(self) -> int | None:
        return self.row.evaluations[0].get("iteration")


@dataclass(frozen=True)
class Study:
    """Everything that is finished. Each of `fits` has a law, or says why there is none."""

    lines: list[Line]
    missing: list[str]
    transfer: str
    fits: list[dict[str, Any]]
    looks: list[str]
    contrasts: list[tuple[dict[str, str], Contrast]]  # one arm against another, by the levels of both

    @property
    def k(self) -> int:
        """The headline's k."""
        return headline_k([line.row for line in self.lines])


def write(
    study_dir: str, grid: Sequence[Cell], configured: Mapping[str, Configured], transfer: str = ""
) -> dict[str, Any]:
    """Writes table.csv, table.md, transfer.md, fits.json, study.json and the page; returns study.json."""
    study = collect(study_dir, grid, configured, transfer)
    write_tables(study_dir, study)
    if study.lines:
        from t5x_selfprog.study.page import build_page

        page = build_page(study_dir, study)
    else:
        page = ""
    summary = {
        "finished": sorted({run for line in study.lines for run in line.runs}),
        "missing": study.missing,
        "held_out": study.looks,
        "lines": len(study.lines),
        "report": page,
    }
    atomic_write(os.path.join(study_dir, "study.json"), json.dumps(summary, indent=1) + "\n")
    if study.lines:
        print(table_markdown(study))
    return summary


def write_tables(study_dir: str, study: Study) -> None:
    atomic_write(os.path.join(study_dir, "table.csv"), table_csv(study))
    atomic_write(os.path.join(study_dir, "table.md"), table_markdown(study))
    if study.transfer:
        atomic_write(os.path.join(study_dir, "transfer.md"), transfer_markdown(study))
        atomic_write(os.path.join(study_dir, "transfer.csv"), _csv(transfer_matrix(study)))
    atomic_write(os.path.join(study_dir, "fits.json"), json.dumps(study.fits, indent=1) + "\n")


def collect(
    study_dir: str, grid: Sequence[Cell], configured: Mapping[str, Configured], transfer: str = ""
) -> Study:
    found: dict[tuple[tuple[str, str], ...], list[tuple[str, list[Evaluation]]]] = {}
    sizes: dict[str, dict[tuple[str, int | None], dict[str, float]]] = {}
    missing, looks = [], []
    for cell in grid:
        # A taught run holds everything that its plain run holds, and more.
        names = [name for name in (cell.name, cell.name + TAUGHT) if name in configured]
        finished = [n for n in names if os.path.exists(os.path.join(study_dir, "runs", n, "summary.json"))]
        if not finished:
            missing.append(cell.name)
            continue
        path = os.path.join(study_dir, "runs", finished[-1])
        looks += [
            entry for name in finished for entry in held_out.read(os.path.join(study_dir, "runs", name))
        ]
        found.setdefault(cell.levels, []).append((finished[-1], read_evaluations(path)))
        sizes[finished[-1]] = _sizes(path, configured[cell.name])
    return assemble(found, sizes, missing, transfer, _looks(looks))


def assemble(
    found: Mapping[tuple[tuple[str, str], ...], Sequence[tuple[str, Sequence[Evaluation]]]],
    sizes: Mapping[str, Mapping[tuple[str, int | None], dict[str, float]]],
    missing: list[str],
    transfer: str,
    looks: list[str],
) -> Study:
    """The study of runs (name, evaluations) by levels, with their sizes by name, arm and iteration."""
    lines = []
    for levels, runs in found.items():
        pooled = rows([evaluation for _, evaluations in runs for evaluation in evaluations])
        for row in pooled:
            key = (row.arm, row.evaluations[0].get("iteration"))
            of_row = [sizes[name][key] for name, _ in runs if key in sizes.get(name, {})]
            means = (
                {size: sum(each[size] for each in of_row) / len(of_row) for size in SIZES} if of_row else {}
            )
            lines.append(Line(dict(levels), row, means, tuple(name for name, _ in runs)))
    contrasts.correct(against_base([line.row for line in lines]))  # over every comparison of the study
    return Study(lines, missing, transfer, _fits(lines), looks, _contrasts(lines))


def read_evaluations(run_root: str) -> list[Evaluation]:
    """All evaluations of a run's models and enumerator, with their problems."""
    run = RunDir(run_root)
    base, *others = run.model_evals()
    paths = [os.path.join(folder, "evaluation.json") for folder in (base, run.enumerator_eval, *others)]
    evaluations = []
    for path in paths:
        if os.path.exists(path):
            with open(path) as file:
                evaluations.append(json.load(file))
    return evaluations


def parameters_of(base: str) -> int:
    from t5x_selfprog.model import network, store
    from t5x_selfprog.model.config import ModelConfig

    path = os.path.join(store.resolve(base), "model.json")
    with open(path) as file:
        return network.num_params(ModelConfig.from_json(file.read(), path))


def flops_of_step(configured: Configured, rows: int | None = None) -> float:
    """6 FLOPs per weight and position of one update (Kaplan et al. 2020, arXiv:2001.08361), padding included.

    `rows`: of the batch, where the run recorded them.
    """
    batch = (rows or configured.value("finetune.run.batch_size", 16)) * configured.value(
        "finetune.run.length", 1024
    )
    return 6.0 * parameters_of(configured.value("Experiment.base", "base")) * batch


def _train_flops(done: Mapping[str, Any], configured: Configured, parameters: float) -> float:
    """Of learning from verdicts, the attempts' own tokens count; neither prompts nor sampling do."""
    if "attempts" in done:
        return 6.0 * parameters * done.get("tokens", 0)
    return done["step"] * flops_of_step(configured, done.get("batch_rows"))


def _sizes(path: str, configured: Configured) -> dict[tuple[str, int | None], dict[str, float]]:
    """Parameters, training pairs and training FLOPs of each arm and iteration of a run."""
    run = RunDir(path)
    parameters = float(parameters_of(configured.value("Experiment.base", "base")))
    found: dict[tuple[str, int | None], dict[str, float]] = {}
    iterations = run.iterations()
    places = [(("verified", i), run.stage(i, "checkpoints")) for i in iterations]
    if iterations:
        places += [((arm, iterations[-1]), run.control(arm, "checkpoints")) for arm in run.controls()]
    for key, folder in places:
        done_path = os.path.join(folder, "done.json")
        if os.path.exists(done_path):
            with open(done_path) as file:
                done = json.load(file)
            found[key] = {
                "parameters": parameters,
                "pairs": done["pairs"],
                "train_flops": _train_flops(done, configured, parameters),
            }
    return found


def _contrasts(lines: Sequence[Line]) -> list[tuple[dict[str, str], Contrast]]:
    """Every arm against its base, as corrected before; then the last verified model against the other arms, and the
    base against the guesses, corrected over all configurations of the study."""
    found = [(line.levels, contrast) for line in lines for contrast in against_base([line.row])]
    by_levels: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for line in lines:
        by_levels.setdefault(tuple(line.levels.items()), []).append(line.row)
    others = []
    for levels, arms in by_levels.items():
        last = {row.arm: (row.label, row.evaluations) for row in arms}
        ks = sorted({k for row in arms if row.arm != ENUMERATOR for k in row.estimates})
        others += [(dict(levels), contrast) for contrast in contrasts.of_arms(last, ks)]
    contrasts.correct([contrast for _, contrast in others])
    return found + others


def _looks(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    distinct = {json.dumps(entry, sort_keys=True): entry for entry in entries}.values()
    splits = sorted({entry["split"] for entry in distinct})
    return [
        f"Split {split} was evaluated {sum(e['split'] == split for e in distinct)} times in this study, by "
        f"{len({e['config'] for e in distinct if e['split'] == split})} configurations."
        for split in splits
    ]


# Fits.


def _fits(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """For every axis along which a size varies, with the other axes fixed: a law, or why there is none."""
    found = []
    axes = list(lines[0].levels) if lines else []
    # The last iteration of each arm stays.
    last = {(tuple(line.levels.items()), line.row.arm): line for line in lines if line.sizes}
    for axis in axes:
        groups: dict[tuple[Any, ...], list[Line]] = {}
        for (levels, arm), line in last.items():
            fixed = tuple(level for level in levels if level[0] != axis)
            groups.setdefault((arm, fixed), []).append(line)
        for (arm, fixed), members in groups.items():
            for size in SIZES:
                if len({line.sizes[size] for line in members}) > 1:
                    about = {"arm": arm, "axis": axis, "size": size, "fixed": dict(fixed)}
                    found += [about | _fit(members, size, k) for k in members[0].row.estimates]
    return found


def _fit(members: Sequence[Line], size: str, k: int) -> dict[str, Any]:
    tables = [value_table(line.row.evaluations, k) for line in members]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    points = [
        [line.sizes[size], line.row.estimates[k].estimate] for line in members if k in line.row.estimates
    ]
    result: dict[str, Any] = {"k": k, "points": sorted(points)}
    if not shared:
        return result | {"law": None, "why": "the runs were measured on different problems"}
    values = [[[table[name][s] for name in shared] for s in range(len(table[shared[0]]))] for table in tables]
    try:
        law = scaling.fit([line.sizes[size] for line in members], values, seed=0)
    except scaling.NotSupported as error:
        return result | {"law": None, "why": str(error)}
    return result | {"law": law.as_dict(), "why": ""}


# Tables.


def table_csv(study: Study) -> str:
    """One line for each configuration, arm, iteration and k."""
    axes = list(study.lines[0].levels) if study.lines else []
    head = [
        *axes, "arm", "iteration", "seeds", "problems", "k", "pass_at_k", "low", "high", "difference",
        "difference_low", "difference_high", "ratio", "ratio_low", "ratio_high", "p_value", "p_holm", "claim",
        "solved", *SIZES, "runs",
    ]  # fmt: skip
    body: list[list[Any]] = [head]
    for line in study.lines:
        row = line.row
        for k, interval in row.estimates.items():
            versus = row.versus_base.get(k)
            compared: list[Any] = [""] * 8
            if versus is not None:
                ends = [
                    getattr(i, end)
                    for i in (versus.difference, versus.ratio)
                    for end in ("estimate", "low", "high")
                ]
                compared = [*ends, versus.p_value, line.adjusted.get(k, "")]
            body.append(
                [
                    *line.levels.values(), row.arm, "" if line.iteration is None else line.iteration,
                    len(row.evaluations), len(row.evaluations[0]["problems"]), k, interval.estimate, interval.low,
                    interval.high, *compared, row.claims.get(k, ""), row.solved("all"),
                    *(line.sizes.get(size, "") for size in SIZES), " ".join(line.runs),
                ]
            )  # fmt: skip
    return _csv(body)


def _csv(body: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(body)
    return text.getvalue()


def table_markdown(study: Study) -> str:
    """Every line at every k; differences and claims at the largest."""
    if not study.lines:
        return "No run of this study is finished yet.\n"
    axes, k = list(study.lines[0].levels), study.k
    ks = sorted({k for line in study.lines for k in line.row.estimates})
    head = [*axes, "arm", *(f"Pass@{k}" for k in ks), "solved", "claim"]
    body = []
    for line in study.lines:
        row = line.row
        said = "(no model)" if row.arm == ENUMERATOR else row.claims.get(k, "")
        cells = [*line.levels.values(), row.label, *(_share(row, k) for k in ks), row.solved("all")]
        body.append([*cells, said])
    versus = [[*levels.values(), contrast.name, *contrast.cells(k)] for levels, contrast in study.contrasts]
    models: dict[tuple[str, ...], list[int]] = {}
    for line in study.lines:
        models.setdefault(tuple(line.levels.values()), []).append(models_of(line.row.evaluations))
    notes = [
        "Pass@k in %, 95% intervals over problems and seeds (xN: N seeds). "
        f"{contrasts.EXPLANATION} {family_sizes([contrast for _, contrast in study.contrasts])}",
        *dict.fromkeys(note for counts in models.values() for note in contrasts.about_seeds(counts)),
        *study.looks,
        *(_fit_sentence(fit) for fit in study.fits if fit["k"] == k),
    ]
    if study.missing:
        notes.append(f"Not finished, and in no line above: {', '.join(study.missing)}.")
    parts = [_markdown(head, body)]
    if versus:
        parts += [f"Pass@{k}, one against another:\n", _markdown([*axes, *contrasts.HEAD], versus)]
    return "\n".join(parts) + "\n" + "".join(f"{note}  \n" for note in notes)


def _fit_sentence(fit: Mapping[str, Any]) -> str:
    fixed = ", ".join(f"{axis} {label}" for axis, label in fit["fixed"].items())
    what = f"Pass@{fit['k']} of {fit['arm']} against {fit['size']}" + (f" ({fixed})" if fixed else "")
    if fit["law"] is None:
        return f"{what}: no law; {fit['why']}."
    exponent, limit = fit["law"]["exponent"], fit["law"]["limit"]
    end = f"limit {_percents(limit)}" if limit else "no limit in sight"
    return (
        f"{what}: exponent {exponent['estimate']:.2f} [{exponent['low']:.2f}, {exponent['high']:.2f}], {end}."
    )


def _percents(interval: Mapping[str, float]) -> str:
    return f"{percent(interval['estimate'])} [{percent(interval['low'])}–{percent(interval['high'])}]"


def transfer_matrix(study: Study) -> list[list[str]]:
    """Head and rows: generator by student, at the headline's k. Other axes stay at the first line's levels."""
    axis = study.transfer
    labels = list(dict.fromkeys(line.levels[axis] for line in study.lines))
    first = (
        {name: level for name, level in study.lines[0].levels.items() if name != axis} if study.lines else {}
    )
    cell: dict[tuple[str, str], str] = {}
    for line in study.lines:
        if {name: level for name, level in line.levels.items() if name != axis} != first:
            continue
        student = line.levels[axis]
        generator = student if line.row.arm == "verified" else line.row.arm.removeprefix("from_")
        if line.row.arm == "verified" or line.row.arm.startswith("from_"):
            cell[generator, student] = _share(line.row, study.k)  # of verified, the last iteration stays
    head = ["generator \\ student", *labels]
    return [head, *([generator, *(cell.get((generator, s), "-") for s in labels)] for generator in labels)]


def transfer_markdown(study: Study) -> str:
    head, *body = transfer_matrix(study)
    return f"Pass@{study.k} in %, 95% intervals: rows wrote the pairs, columns learned them.\n\n" + _markdown(
        head, body
    )


def _share(row: Row, k: int) -> str:
    if k not in row.estimates:
        return "-"
    interval = row.estimates[k]
    return f"{percent(interval.estimate)} [{percent(interval.low)}–{percent(interval.high)}]"


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )
