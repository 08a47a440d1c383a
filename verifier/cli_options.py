"""The options and help texts of `python -m verifier`; cli.py has what its commands do."""

import argparse

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


def make_parser() -> argparse.ArgumentParser:
    """Its result has the name of the command asked for as `command`; none without one."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m verifier", description=_ABOUT, formatter_class=raw)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    judge = commands.add_parser("judge", help="judge attempts", description=_JUDGE, formatter_class=raw)
    judge.set_defaults(command="judge")
    screen = commands.add_parser("filter", help="screen puzzles", description=_FILTER, formatter_class=raw)
    screen.set_defaults(command="filter")
    serve = commands.add_parser(
        "serve", help="judge shards as they appear", description=_SERVE, formatter_class=raw
    )
    serve.set_defaults(command="serve")
    serve.add_argument("attempts", metavar="DIR", help="folder of attempts")
    serve.add_argument("--output", required=True, metavar="DIR", help="folder of verdicts")
    follow = commands.add_parser(
        "follow",
        help="judge for a run, beside any number of others",
        description=_FOLLOW,
        formatter_class=raw,
    )
    follow.set_defaults(command="follow")
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
    tests.set_defaults(command="tests")
    for name, about in (
        ("--tasks", "tests, as JSON lines or .gz"),
        ("--samples", "programs, as evalplus' JSON lines"),
        ("--output", "the samples with their verdicts, as JSON lines; - is stdout"),
    ):
        tests.add_argument(name, required=True, metavar="FILE", help=about)
    tests.add_argument("--accepted", metavar="FILE", help="write what passed here, as evalplus' samples")
    tests.add_argument("--certify", action="store_true", help="run what passed again under another hash seed")
    web = commands.add_parser("http", help="judge over HTTP", description=_HTTP, formatter_class=raw)
    web.set_defaults(command="http")
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
    doctor.set_defaults(command="doctor")
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


def _port(word: str) -> int:
    if not word.isdigit() or int(word) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, not {word!r}")
    return int(word)
