"""The command line: `python -m verifier COMMAND`. Imports only what each command needs."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from verifier.errors import UserError
from verifier.tally import Tally, print_histogram

_ABOUT = """Judge candidate solutions of puzzles in sandboxed processes.

A puzzle is the source of `def f(answer: T, a=..., b=...)`, a solution that of `def g(a=..., b=...)`.
A solution is accepted if g() returns an answer of exactly type T and f(answer) is True, within limits.

  python -m verifier judge --input attempts.jsonl --output verdicts.jsonl --workers 8 --timeout_s 1
  python -m verifier filter --input puzzles.jsonl --output reports.jsonl
  python -m verifier serve attempts/ --output verdicts/ --metrics verifier.prom
  python -m verifier follow gs://bucket/runs/p3
  python -m verifier tests --tasks HumanEval.jsonl --samples samples.jsonl --output results.jsonl
  python -m verifier http --port 8000
  python -m verifier doctor
"""

_JUDGE = """Judge attempts.

A line of the input:
  {"puzzle": "def f(x: int, n=3):\\n    return x == n", "solution": "def g(n=3):\\n    return n"}
and of the output, in the same order: the same object and
  outcome, detail, cpu_s, peak_mb, answer, isolation, verifier_version
(a field of yours that has one of these names becomes input_NAME, unless the row is a verdict already).

Outcomes: accepted; wrong (f returned something else or raised); wrong_type; bad_answer (no plain value);
error:<class> (g raised it); syntax; cpu_limit; wall_limit; memory_limit; output_limit; killed (the process died);
unstable (with --certify: accepted, but not again); and infrastructure (our fault, never the attempt's; retried once).
A file whose name ends in .tfrecord holds attempt and verdict records instead of lines.
"""

_SERVE = """Follow a folder of attempt shards and write verdict shards, together with any number of other hosts.

DIR is a stage of attempts as `selfprog` writes it (done when its last shard is judged), or any folder into which
*.tfrecord files of attempts are renamed (done when a file COMPLETE is there too and all are judged). Hosts that are
given the same DIR and --output share the work by claims that expire: kill any of them at any time, start more.
Paths may have a scheme, as gs://bucket/attempts.
"""

_FOLLOW = """A member of a fleet: judge what a run of `selfprog` samples, in all its stages, until the run is over.

Start as many as you like, on any machines that see the run's folder, before the run or at any time; kill any of them.
They need this package alone: no accelerator, no model. What they judge under (limits, second looks) stands in the run.
The run's hosts judge too, unless it was started with --gin.Experiment.judges="'fleet'".
"""

_TESTS = """Judge programs by unit tests.

--tasks has a task on every line, in the form of HumanEval (entry_point, test), MBPP (test_list), HumanEval+ and MBPP+
(base_input, plus_input, canonical_solution), or
  {"task_id": "add", "entry_point": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]}
  {"task_id": "sum", "inputs": ["1 2\\n"], "outputs": ["3\\n"]}                   (standard input and output)
--samples has a program on every line:
  {"task_id": "add", "solution": "def add(a, b):\\n    return a + b"}       (or "completion", what follows the prompt)
and --output has the same in the same order, with passed and the fields of a verdict. The limit is in CPU seconds, for
all tests of a task together. No expected output is ever in a process in which a sample runs.
"""

_HTTP = """Judge over HTTP.

  POST /judge   {"attempts": [{"puzzle": "def f...", "solution": "def g..."}, {"task": {...}, "solution": "..."}]}
                answers {"verdicts": [{"outcome": "accepted", ...}, ...]}, in order; a task is one of `tests`
  GET /health   200 while attempts can be judged
  GET /metrics  Prometheus text
429 says that the queue is full: ask again later. There is no authentication: listen where only friends are.
"""

_FILTER = """Screen puzzles: are they well formed, and does no trivial answer solve them?

A line of the input:
  {"puzzle": "def f(x: int):\\n    return x > 5"}
and of the output, in the same order: the same object and
  ok, reason, detail, answer_type, cpu_s, tried, raised, plain
(a field of yours that has one of these names becomes input_NAME, unless the row is a report already).

Reasons: no_parse, bad_signature, bad_type, no_return, answer_unused, trivial (detail is the answer that solved it),
broken (an undefined name), timeout, killed, too_large, infrastructure.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with status 0, or 2 and one line on stderr for what the user can put right."""
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
    serve = commands.add_parser(
        "serve", help="judge shards as they appear", description=_SERVE, formatter_class=raw
    )
    serve.set_defaults(command=_serve)
    serve.add_argument("attempts", metavar="DIR", help="folder of attempts")
    serve.add_argument("--output", required=True, metavar="DIR", help="folder of verdicts")
    follow = commands.add_parser(
        "follow",
        help="judge for a run, beside any number of others",
        description=_FOLLOW,
        formatter_class=raw,
    )
    follow.set_defaults(command=_follow)
    follow.add_argument("run", metavar="RUN", help="the run's folder")
    follow.add_argument(
        "--until", default="summary.json", metavar="FILE", help="file in RUN that ends it (summary.json)"
    )
    for command in (serve, follow):
        _add_service_options(command)
    for command in (judge, screen):
        command.add_argument(
            "--input", required=True, metavar="FILE", help="JSON lines, or .tfrecord; - is stdin"
        )
        command.add_argument(
            "--output", required=True, metavar="FILE", help="JSON lines, or .tfrecord; - is stdout"
        )
    judge.add_argument(
        "--generality",
        type=int,
        default=0,
        metavar="N",
        help="run what is accepted on N variants of its puzzle",
    )
    for command in (judge, serve):
        _add_judging_options(command)
    for command in (judge, screen, serve):
        _add_limits(command)
        _add_options(command)
    _add_options(follow)
    for command in (serve, follow):  # they judge other people's programs, unattended
        command.set_defaults(require=None)
    tests = commands.add_parser(
        "tests", help="judge samples by unit tests", description=_TESTS, formatter_class=raw
    )
    tests.set_defaults(command=_tests)
    for name, about in (
        ("--tasks", "tests, as JSON lines or .gz"),
        ("--samples", "programs, as evalplus' JSON lines"),
        ("--output", "the samples with their verdicts, as JSON lines; - is stdout"),
    ):
        tests.add_argument(name, required=True, metavar="FILE", help=about)
    tests.add_argument("--accepted", metavar="FILE", help="write what passed here, as evalplus' samples")
    tests.add_argument("--certify", action="store_true", help="run what passed again under another hash seed")
    web = commands.add_parser("http", help="judge over HTTP", description=_HTTP, formatter_class=raw)
    web.set_defaults(command=_http)
    web.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1: this host only)")
    web.add_argument("--port", type=_port, default=8000, metavar="N", help="0 is any that is free (8000)")
    web.add_argument("--queue", type=int, default=4096, metavar="N", help="attempts that may wait (4096)")
    for command, timeout_s in ((tests, 10.0), (web, 1.0)):
        command.add_argument(
            "--no_reuse", action="store_true", help="judge identical attempts each by itself"
        )
        _add_limits(command, timeout_s)
        _add_options(command)
    doctor = commands.add_parser(
        "doctor",
        help="say which layers of isolation this host allows",
        description="Say which layers of isolation this host allows, and how to get the others. Exit status 2 where "
        "nothing can be judged here: a hard limit of the host's own is below what judging needs.",
    )
    doctor.set_defaults(command=_doctor)
    doctor.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser


def _add_service_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--once", action="store_true", help="judge what is there and stop")
    add("--poll_s", type=float, default=2.0, metavar="S", help="how often to look (2)")
    add("--claim_s", type=float, default=120.0, metavar="S", help="until a claim runs out (120)")
    add("--metrics", metavar="FILE", help="counters, every 5 s: JSON, or Prometheus text (*.prom)")


def _add_judging_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--first_tier_s",
        type=float,
        metavar="S",
        help="CPU seconds for everyone; timeout_s then only for a few attempts at puzzles still unsolved. For "
        "generating data, not for measuring (see tiers.py)",
    )
    add(
        "--candidates", type=int, default=4, metavar="N", help="attempts a puzzle that get timeout_s then (4)"
    )
    add("--certify", action="store_true", help="run what is accepted again under another hash seed")
    add("--no_reuse", action="store_true", help="judge identical attempts each by itself")


def _add_limits(parser: argparse.ArgumentParser, timeout_s: float = 1.0) -> None:
    add = parser.add_argument
    about = f"CPU seconds an attempt may use ({timeout_s:g})"
    add("--timeout_s", type=float, default=timeout_s, metavar="S", help=about)
    add("--wall_s", type=float, metavar="S", help="seconds on the clock (30 x timeout_s, at least 10)")
    add("--memory_mb", type=int, default=1024, metavar="MB", help="address space of a process (1024)")
    add(
        "--output_mb",
        type=float,
        default=64,
        metavar="MB",
        help="size of an answer, and of printed text (64)",
    )
    add("--imports", default="wide", help="modules programs may import: wide or paper (see policy.py)")
    add("--hash_seed", type=int, default=0, metavar="N", help="PYTHONHASHSEED of the programs (0)")


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--workers", type=int, metavar="N", help="processes at work (default: one for each CPU)")
    add("--isolation", default="auto", help="auto (all the host allows), namespaces, landlock or rlimits")
    add(
        "--require",
        default="rlimits",
        metavar="LEVEL",
        help="refuse to start below this level (rlimits; serve and follow: seccomp, unless told rlimits)",
    )
    add("--quiet", action="store_true", help="no progress bar and no histogram")
    add("--json", action="store_true", help="figures as one JSON object on the last line of standard output")


def _required(options: argparse.Namespace) -> str:
    """The level asked for; without one, as for unattended services, a level that contains hostile programs."""
    if options.require is not None:
        return str(options.require)
    return "rlimits" if options.isolation == "rlimits" else "seccomp"


def _judge(options: argparse.Namespace) -> None:
    from verifier.storage.rows import JUDGED, STANDARD, read_beside, write_rows

    ours = JUDGED | {"generality"} if options.generality else JUDGED

    def read() -> Iterator[dict[str, Any]]:
        return read_beside(options.input, ("puzzle", "solution"), ours, options.output)

    total = None if options.input == STANDARD else sum(1 for _ in read())
    with _judging(options) as (pool, judge), Tally(options, total, "verdicts") as tally:

        def judged() -> Iterator[dict[str, Any]]:
            for row, verdict in _alongside(read(), judge):
                tally.add(verdict.outcome)
                yield verdict.as_record(row)

        rows = judged()
        write_rows(
            options.output, _with_generality(rows, pool, options.generality) if options.generality else rows
        )
        tally.isolation, tally.counters = pool.isolation, pool.counters


def _with_generality(rows: Iterable[dict[str, Any]], pool: Any, trials: int) -> Iterator[dict[str, Any]]:
    """The rows, a window at a time; accepted ones gain the share of variants they pass."""
    from verifier.generality import measure_generality
    from verifier.windows import take_window

    source = iter(rows)
    while window := take_window(source, 1024):
        accepted = [row for row in window if row["outcome"] == "accepted"]
        for row, share in zip(accepted, measure_generality(pool, accepted, trials), strict=True):
            row["generality"] = share
        yield from window


def _serve(options: argparse.Namespace) -> None:
    from verifier.calibration import calibrate
    from verifier.fleet.metrics import Metrics
    from verifier.fleet.service import find_work, recording, serve

    _require_folder(options.attempts, "")
    _require_folder(options.output, "--output=")
    work = find_work(options.attempts, options.output)
    speed_s = round(calibrate(), 5)
    with _judging(options) as (pool, judge):
        facts = {"isolation": pool.isolation, "calibration_cpu_s": speed_s, "limit_cpu_s": options.timeout_s}
        metrics = Metrics(options.metrics, facts)
        serve(
            work,
            recording(judge),
            metrics,
            facts={"calibration_cpu_s": speed_s},
            poll_s=options.poll_s,
            claim_s=options.claim_s,
            once=options.once,
        )
        metrics.counters.update(pool.counters)
        metrics.write(now=True)
    _print_figures(options, metrics.figures())


def _follow(options: argparse.Namespace) -> None:
    import signal

    from verifier.calibration import calibrate
    from verifier.fleet.follow import follow
    from verifier.fleet.metrics import Metrics
    from verifier.pool import Pool
    from verifier.verdict import Limits

    _require_folder(options.run, "")

    def make_pool(limits: Limits, hash_seed: int) -> Pool:
        return Pool(
            options.workers,
            limits,
            isolation=options.isolation,
            require=_required(options),
            hash_seed=hash_seed,
        )

    # Spot machines get SIGTERM: exiting gives claims up, so that others need not wait until they expire.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        trial = make_pool(Limits(), 0)  # an isolation that this host lacks is refused before there is work
    except ValueError as e:
        raise UserError(str(e)) from e
    with trial as pool:
        facts = {"isolation": pool.isolation, "calibration_cpu_s": round(calibrate(), 5)}
    metrics = Metrics(options.metrics, facts)
    follow(
        options.run,
        make_pool,
        metrics,
        until=options.until,
        poll_s=options.poll_s,
        claim_s=options.claim_s,
        once=options.once,
    )
    _print_figures(options, metrics.figures())


def _print_figures(options: argparse.Namespace, figures: dict[str, Any]) -> None:
    if not options.quiet:
        print_histogram(
            figures["verdicts"], "verdicts", figures["wall_s"], figures["isolation"], figures["outcomes"]
        )
    if options.json:
        print(json.dumps(figures), flush=True)


def _filter(options: argparse.Namespace) -> None:
    from verifier.storage.rows import SCREENED, STANDARD, BadRow, is_tfrecord, read_beside, write_rows

    if is_tfrecord(options.output):
        raise BadRow(f"--output={options.output}: reports are written as JSON lines")
    name = "source" if is_tfrecord(options.input) else "puzzle"

    def read() -> Iterator[dict[str, Any]]:
        return read_beside(options.input, (name,), SCREENED, options.output)

    total = None if options.input == STANDARD else sum(1 for _ in read())
    with _pool(options) as pool, Tally(options, total, "puzzles") as tally:

        def screen(rows: Iterable[dict[str, Any]]) -> Iterator[Any]:
            return pool.screen_puzzles(row[name] for row in rows)

        def screened() -> Iterator[dict[str, Any]]:
            for row, report in _alongside(read(), screen):
                tally.add(report.reason or "ok")
                yield report.as_record(row)

        write_rows(options.output, screened())
        tally.isolation = pool.isolation


def _tests(options: argparse.Namespace) -> None:
    from verifier.storage.rows import write_rows
    from verifier.unit_tests.suite_command import judge_samples, pass_at
    from verifier.unit_tests.suite_files import read_samples, read_tasks, write_samples

    tasks = read_tasks(options.tasks)
    samples = list(read_samples(options.samples, tasks))
    short: list[dict[str, Any]] = []  # the fields of each row that the figures need
    with _judging(options) as (pool, judge), Tally(options, len(samples), "samples") as tally:

        def judged() -> Iterator[dict[str, Any]]:
            for row in judge_samples(samples, tasks, judge):
                tally.add(row["outcome"])
                short.append({name: row[name] for name in ("task_id", "outcome", "passed", "cpu_s")})
                yield row

        write_rows(options.output, judged())
        if options.accepted:
            passed = (sample for sample, row in zip(samples, short, strict=True) if row["passed"])
            write_samples(options.accepted, passed)
        figures = {
            "tasks": len(tasks),
            **pass_at(short),
            "cpu_s": round(sum(row["cpu_s"] for row in short), 3),
        }
        tally.isolation, tally.counters = pool.isolation, {**pool.counters, **figures}
    if not options.quiet:
        print(", ".join(f"{name} {value}" for name, value in figures.items()), file=sys.stderr)


def _http(options: argparse.Namespace) -> None:
    from verifier.http_server import serve_http

    with _pool(options) as pool:
        serve_http(pool, options.host, options.port, options.queue)


def _doctor(options: argparse.Namespace) -> None:
    from verifier.doctor import examine, render

    found = examine()
    print(json.dumps(found) if options.json else render(found))
    if not found["judges"]:
        sys.exit(2)


@contextlib.contextmanager
def _judging(options: argparse.Namespace) -> Iterator[tuple[Any, Any]]:
    """The pool and a judging function: the pool's own or, to certify, one with a second pool of another hash seed."""
    from functools import partial

    from verifier.certify import judge_and_certify

    with contextlib.ExitStack() as pools:
        pool = pools.enter_context(_pool(options))
        judge = pool.judge
        if options.certify:
            other = pools.enter_context(_pool(options, options.hash_seed + 1))
            judge = partial(judge_and_certify, pool=pool, other=other)
        yield pool, judge


def _pool(options: argparse.Namespace, hash_seed: int | None = None) -> Any:
    from verifier.pool import KEPT, Pool
    from verifier.tiers import Tiers
    from verifier.verdict import Limits

    try:
        first_s = getattr(options, "first_tier_s", None)
        tiers = None if first_s is None else Tiers(first_s, options.candidates)
        limits = Limits(
            options.timeout_s, options.wall_s, options.memory_mb, int(options.output_mb * (1 << 20)), tiers
        )
        return Pool(
            options.workers,
            limits,
            isolation=options.isolation,
            require=_required(options),
            imports=options.imports,
            hash_seed=options.hash_seed if hash_seed is None else hash_seed,
            reuse=0 if getattr(options, "no_reuse", False) else KEPT,
        )
    except ValueError as e:
        raise UserError(_by_flag(str(e))) from e


# Errors name the fields of Limits; users typed flags.
_FLAGS = {
    "cpu_s": "--timeout_s",
    "wall_s": "--wall_s",
    "memory_mb": "--memory_mb",
    "output_bytes": "--output_mb",
    "workers": "--workers",
    "first_s": "--first_tier_s",
    "candidates": "--candidates",
}


def _by_flag(message: str) -> str:
    flag = _FLAGS.get(message.partition(" ")[0])
    return f"{flag}: {message}" if flag else message


def _require_folder(path: str, what: str) -> None:
    """Raises UserError for a file. A folder that does not exist yet may still appear."""
    from verifier.storage import files

    if not files.is_remote(path) and os.path.exists(path) and not os.path.isdir(path):
        raise UserError(f"{what}{path}: is a file; give a folder")


def _port(word: str) -> int:
    if not word.isdigit() or int(word) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, not {word!r}")
    return int(word)


def _alongside(rows: Iterable[dict[str, Any]], work: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Each row with its result from `work`; rows are held only until their results arrive."""
    from collections import deque

    held: deque[dict[str, Any]] = deque()

    def holding() -> Iterator[dict[str, Any]]:
        for row in rows:
            held.append(row)
            yield row

    for result in work(holding()):
        yield held.popleft(), result
