"""The command line: `python -m verifier judge|filter|doctor`. Imports only what each command needs."""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from verifier.errors import UserError

_ABOUT = """Judge candidate solutions of puzzles in sandboxed processes.

A puzzle is the source of `def f(answer: T, a=..., b=...)`, a solution that of `def g(a=..., b=...)`.
A solution is accepted if g() returns an answer of exactly type T and f(answer) is True, within limits.

  python -m verifier judge --input attempts.jsonl --output verdicts.jsonl --workers 8 --timeout_s 1
  python -m verifier filter --input puzzles.jsonl --output reports.jsonl
  python -m verifier doctor
"""

_JUDGE = """Judge attempts.

A line of the input:
  {"puzzle": "def f(x: int, n=3):\\n    return x == n", "solution": "def g(n=3):\\n    return n"}
and of the output, in the same order: the same object and
  outcome, detail, cpu_s, peak_mb, answer, isolation, verifier_version

Outcomes: accepted; wrong (f returned something else or raised); wrong_type; bad_answer (no plain value);
error:<class> (g raised it); syntax; cpu_limit; wall_limit; memory_limit; output_limit; killed (the process died);
and infrastructure (our fault, never the attempt's; retried once).
A file whose name ends in .tfrecord holds attempt and verdict records instead of lines.
"""

_FILTER = """Screen puzzles: are they well formed, and does no trivial answer solve them?

A line of the input:
  {"puzzle": "def f(x: int):\\n    return x > 5"}
and of the output, in the same order: the same object and
  ok, reason, detail, answer_type, cpu_s, tried, raised, plain

Reasons: no_parse, bad_signature, bad_type, no_return, answer_unused, trivial (detail is the answer that solved it),
broken (an undefined name), timeout, killed, too_large, infrastructure.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit status: 0, or 2 for what the user can put right, which is said in one line on stderr."""
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "command"):
        parser.print_help()
        sys.exit(2)
    try:
        options.command(options)
    except UserError as e:
        print(f"python -m verifier: {e}", file=sys.stderr)
        sys.exit(2)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as e:
        print(f"python -m verifier: {e.filename}: {e.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away; keep the interpreter from saying so again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _make_parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m verifier", description=_ABOUT, formatter_class=raw)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    judge = commands.add_parser("judge", help="judge attempts", description=_JUDGE, formatter_class=raw)
    judge.set_defaults(command=_judge)
    screen = commands.add_parser("filter", help="screen puzzles", description=_FILTER, formatter_class=raw)
    screen.set_defaults(command=_filter)
    for command in (judge, screen):
        _add_options(command)
    doctor = commands.add_parser("doctor", help="say which layers of isolation this host allows")
    doctor.set_defaults(command=_doctor)
    doctor.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--input", required=True, metavar="FILE", help="JSON lines, or .tfrecord; - is standard input")
    add("--output", required=True, metavar="FILE", help="JSON lines, or .tfrecord; - is standard output")
    add("--workers", type=int, metavar="N", help="processes at work (default: one for each CPU)")
    add("--timeout_s", type=float, default=1.0, metavar="S", help="CPU seconds an attempt may use (1)")
    add("--wall_s", type=float, metavar="S", help="seconds on the clock (30 x timeout_s, at least 10)")
    add("--memory_mb", type=int, default=1024, metavar="MB", help="address space of a process (1024)")
    add(
        "--output_mb",
        type=float,
        default=64,
        metavar="MB",
        help="size of an answer, and of printed text (64)",
    )
    add("--isolation", default="auto", help="auto (all the host allows), namespaces, landlock or rlimits")
    add("--require", default="rlimits", metavar="LEVEL", help="refuse to start below this level (rlimits)")
    add("--imports", default="wide", help="modules programs may import: wide or paper (see policy.py)")
    add("--hash_seed", type=int, default=0, metavar="N", help="PYTHONHASHSEED of the programs (0)")
    add("--quiet", action="store_true", help="no progress bar and no histogram")
    add("--json", action="store_true", help="figures as one JSON object on the last line of standard output")


def _judge(options: argparse.Namespace) -> None:
    from verifier.rows import STANDARD, read_rows, write_rows

    needed = ("puzzle", "solution")
    total = None if options.input == STANDARD else sum(1 for _ in read_rows(options.input, needed))
    with _pool(options) as pool, _Tally(options, total, "verdicts") as tally:

        def judged() -> Iterator[dict[str, Any]]:
            for row, verdict in _alongside(read_rows(options.input, needed), pool.judge):
                tally.add(verdict.outcome)
                yield verdict.as_record(row)

        write_rows(options.output, judged())
        tally.isolation = pool.isolation


def _filter(options: argparse.Namespace) -> None:
    from verifier.rows import STANDARD, BadRow, is_tfrecord, read_rows, write_rows

    if is_tfrecord(options.output):
        raise BadRow(f"--output={options.output}: reports are written as JSON lines")
    name = "source" if is_tfrecord(options.input) else "puzzle"
    total = None if options.input == STANDARD else sum(1 for _ in read_rows(options.input, (name,)))
    with _pool(options) as pool, _Tally(options, total, "puzzles") as tally:

        def screen(rows: Iterable[dict[str, Any]]) -> Iterator[Any]:
            return pool.screen_puzzles(row[name] for row in rows)

        def screened() -> Iterator[dict[str, Any]]:
            for row, report in _alongside(read_rows(options.input, (name,)), screen):
                tally.add(report.reason or "ok")
                yield report.as_record(row)

        write_rows(options.output, screened())
        tally.isolation = pool.isolation


def _doctor(options: argparse.Namespace) -> None:
    from verifier.doctor import examine, render

    found = examine()
    print(json.dumps(found) if options.json else render(found))


def _pool(options: argparse.Namespace) -> Any:
    from verifier.pool import Pool
    from verifier.verdict import Limits

    try:
        limits = Limits(
            options.timeout_s, options.wall_s, options.memory_mb, int(options.output_mb * (1 << 20))
        )
        return Pool(
            options.workers,
            limits,
            isolation=options.isolation,
            require=options.require,
            imports=options.imports,
            hash_seed=options.hash_seed,
        )
    except ValueError as e:
        raise UserError(str(e)) from e


def _alongside(rows: Iterable[dict[str, Any]], work: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Each row with what `work` made of it; rows are kept only while they are on their way."""
    from collections import deque

    held: deque[dict[str, Any]] = deque()

    def holding() -> Iterator[dict[str, Any]]:
        for row in rows:
            held.append(row)
            yield row

    for result in work(holding()):
        yield held.popleft(), result


class _Tally:
    """Counts outcomes; shows progress while it goes, the histogram and the JSON object at the end."""

    def __init__(self, options: argparse.Namespace, total: int | None, unit: str):
        self._options, self._unit, self._total = options, unit, total
        self._counts: dict[str, int] = {}
        self._bar: Any = None
        self.isolation = ""

    def __enter__(self) -> "_Tally":
        self._start = time.monotonic()
        if sys.stderr.isatty() and not self._options.quiet:
            with contextlib.suppress(ImportError):  # the bar is a courtesy
                from tqdm import tqdm

                self._bar = tqdm(total=self._total, unit=f" {self._unit}", smoothing=0.1, mininterval=0.3)
        return self

    def add(self, outcome: str) -> None:
        self._counts[outcome] = self._counts.get(outcome, 0) + 1
        if self._bar is not None:
            self._bar.set_postfix_str(f"accepted {self._counts.get('accepted', 0)}", refresh=False)
            self._bar.update()

    def __exit__(self, kind: object, *rest: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is not None:
            return
        count, wall_s = sum(self._counts.values()), time.monotonic() - self._start
        counts = dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))
        if not self._options.quiet:
            print(f"{count} {self._unit} in {wall_s:.1f} s, isolation {self.isolation}", file=sys.stderr)
            for outcome, number in counts.items():
                print(f"  {outcome:<28} {number:>8}  {100 * number / count:5.1f}%", file=sys.stderr)
        if self._options.json:
            figures = {
                self._unit: count,
                "outcomes": counts,
                "wall_s": round(wall_s, 3),
                "per_s": round(count / wall_s, 1),
                "isolation": self.isolation,
            }
            print(json.dumps(figures), flush=True)
