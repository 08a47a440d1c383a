"""Reads pairs from the paper's released text files, another run, any ledger of pairs, or our own exports.

The paper's files (`125M_PAPER_1M_iter_2.txt.gz` and others, in the folder ICLR2023/data of P3's repository,
arXiv:2207.14502) are concatenated pairs, each ending with the line `assert f(g())`. They were not decontaminated
against the test problems; do so before training on them (`stages/build_dataset` does).
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from t5x_selfprog.puzzles.prompts import pair_text, puzzle_of_pair
from t5x_selfprog.puzzles.source import SourceError, parse, puzzle_id, short_hash
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import Ledger, is_finished

CHECK = "assert f(g())"
_MOST_CHECKS = 20  # check-like lines inside the string literals of one pair
_LEDGER = "ledger.json"

Pair = dict[str, Any]


def read_pairs(source: str) -> Iterator[Pair]:
    """Pair records of a source.

    A source is a run directory (all its iterations), a folder of pair records, or a file `.txt`, `.txt.gz` (the
    paper's) or `.jsonl` (our export).

    Raises UserError if it is none of these, or, naming the place, if a file holds something that is not a pair.
    """
    if source.endswith((".txt", ".txt.gz")):
        return _from_text(source)
    if source.endswith(".jsonl"):
        return _from_json_lines(source)
    if files.exists(files.join(source, _LEDGER)):
        return iter(Ledger.open(source))
    datasets = run_datasets(source)
    if not datasets:
        raise UserError(
            f"{source}: no pairs here; give a run directory with a finished 5_dataset, a folder of pair records, "
            "or a file .txt, .txt.gz (the paper's) or .jsonl (made by `selfprog export-data`)"
        )
    return (pair for ledger in datasets.values() for pair in ledger)


def run_datasets(run_dir: str) -> dict[int, Ledger]:
    """The finished datasets of a run's iterations, by iteration."""
    run = RunDir(run_dir)
    paths = {number: run.stage(number, "dataset") for number in run.iterations()}
    return {n: Ledger.open(path) for n, path in paths.items() if is_finished(path)}


def split_pair(text: str) -> tuple[str, str] | None:
    """Puzzle and solution of a pair's text; None for a document of another kind (a list of puzzles, say)."""
    puzzle = puzzle_of_pair(text)
    if puzzle is None:
        return None
    return puzzle, text[len(puzzle) : -len(CHECK)].strip("\n")


def pair_record(puzzle: str, solution: str, iteration: int = 0) -> Pair:
    try:
        identity = puzzle_id(puzzle)
    except SourceError:  # the paper's judge used an older Python
        identity = short_hash(puzzle)
    text = pair_text(puzzle, solution)
    return {"puzzle_id": identity, "text": text, "weight": 1.0, "iteration": iteration}


def _from_text(path: str) -> Iterator[Pair]:
    number = 0
    for first_line, document in _documents(_lines(path)):
        pair = split_pair(f"{document}\n\n{CHECK}")
        if pair is None:
            raise UserError(
                f"{path}, line {first_line}: {document[:60]!r}... is not a pair of `def f` and `def g`"
            )
        number += 1
        yield pair_record(*pair)
    if not number:
        raise UserError(f"{path}: has no line {CHECK!r}, and therefore no pairs")


def _documents(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of each document, that is, up to a line `assert f(g())` outside any literal."""
    first, kept, inside = 1, list[str](), list[int]()  # `inside`: positions of checks within literals
    for number, line in enumerate(lines, start=1):
        if line.rstrip() != CHECK:
            kept.append(line)
        elif len(inside) < _MOST_CHECKS and _is_open("".join(kept)):
            inside.append(len(kept))
            kept.append(line)
        else:
            yield from _pieces(first, kept, inside if len(inside) == _MOST_CHECKS else [])
            first, kept, inside = number + 1, [], []
    if inside:  # that literal never ended, so those checks did end documents
        yield from _pieces(first, kept[: inside[-1]], inside[:-1])


def _pieces(first: int, lines: list[str], cuts: list[int]) -> Iterator[tuple[int, str]]:
    """The document, or the documents between the lines at `cuts`, with the numbers of their first lines."""
    start = 0
    for end in [*cuts, len(lines)]:
        yield first + start, "".join(lines[start:end]).strip("\n")
        start = end + 1


def _is_open(document: str) -> bool:
    """Whether a document ends inside a triple-quoted string."""
    if not any(document.count(quotes) % 2 for quotes in ('"""', "'''")):
        return False
    try:
        parse(document)
    except SourceError as error:
        return str(error).startswith("unterminated triple-quoted string")
    return False


def _lines(path: str) -> Iterator[str]:
    try:
        with files.open_read(path) as raw:
            stream = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw
            # A carriage return or a form feed inside a string does not end a line.
            yield from io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="\n")  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"{path}: not a complete gzip file ({error}); fetch it again") from error


def _from_json_lines(path: str) -> Iterator[Pair]:
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = json.loads(line)
            yield pair_record(row["puzzle"], row["solution"], int(row.get("iteration", 0)))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}, line {number}: needs a puzzle and a solution ({error!r})") from error
