"""The command line: `python -m verifier COMMAND`. Imports only what each command needs."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from verifier.cli_options import make_parser
from verifier.errors import UserError
from verifier.tally import Tally, print_histogram


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with status 0, or 2 and one line on stderr for what the user can put right."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "command"):
        parser.print_help()
        sys.exit(2)
    try:
        _COMMANDS[options.command](options)
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


_COMMANDS = {
    "judge": _judge,
    "filter": _filter,
    "serve": _serve,
    "follow": _follow,
    "tests": _tests,
    "http": _http,
    "doctor": _doctor,
}

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
