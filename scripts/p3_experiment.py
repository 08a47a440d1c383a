#!/usr/bin/env python3
"""Makes the most of a stretch of accelerator time: self-play on P3 from a published model, measured before it ends.

  scripts/p3_experiment.py --gin_file=claim_smollm2_135m --model=smollm2-135m-instruct.gguf --seeds=0,1,2 \
      --budget_s=780 --output=out                 # packs in out/, small enough to copy home
  scripts/p3_experiment.py ... --model='pieces/q.gguf.*' --pieces=9       # waits until nine pieces have arrived
  scripts/p3_experiment.py ... --from=out            # continues from the packs of an earlier stretch, on any machine
  scripts/p3_experiment.py ... --from=run.pack --seeds=0        # from one pack, whatever its name
  scripts/p3_experiment.py ... --cache=out/xla.tar   # begins with compiled programs, if that is there, and leaves them

In this order: compiled programs are unpacked, the model is imported (once), every seed's run is started, the first one
alone until its base is measured, so that the others find its programs compiled. Each run is given what is left of the
budget, less what packing takes, and ends by measuring base and arms (`loop.run.budget`). What is not done by then, or
when this process is asked to end (SIGTERM), is stopped, and everything is packed: the same command with --from goes on.
If it is killed outright, its runs end with it (on Linux), and the same command with the same --work goes on.
A run that has a pack keeps the configuration saved in it; --gin_file is for seeds that have none. out/status.jsonl has
a line every few seconds.

Needs no TensorFlow and no network. --seeds run side by side: as many as the device and the cores bear. Further
arguments (--gin.NAME=VALUE) go to `selfprog run`.
"""

import argparse
import contextlib
import functools
import glob
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
if Path(sys.prefix) != REPOSITORY / ".venv" and _PYTHON.exists():
    os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])

PACKING_S = 25.0  # kept back at the end, for stopping and packing
STARTING_S = 15.0  # until a run's own budget begins to count: imports, and finding the device
LEAST_S = 120.0  # under this no evaluation can end, on any device we know
STATUS_S = 3.0
PATHS = (
    "model",
    "output",
    "work",
    "earlier",
    "cache",
)  # made absolute, since the runs start in the repository
SELFPROG = [sys.executable, "-m", "t5x_selfprog.main"]


def main() -> int:
    args, further = arguments()
    deadline = time.monotonic() + args.budget_s
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    os.chdir(REPOSITORY)
    sys.path.insert(0, str(REPOSITORY))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH")))),
        "JAX_COMPILATION_CACHE_DIR": str(Path(args.work) / "xla"),
        "PYTHONUNBUFFERED": "1",
    }
    if args.device:
        environment["JAX_PLATFORMS"] = args.device
    say = Status(output / "status.jsonl", deadline)
    if args.cache:
        unpack_compiled(args.cache, environment["JAX_COMPILATION_CACHE_DIR"], output)
    base = imported(args, environment, deadline, say)
    names = [run_name(base, seed) for seed in args.seeds]
    if args.earlier and not any(packs_of(name, args.earlier) for name in names):
        sys.exit(f"p3_experiment: --from={args.earlier} has a pack of none of these runs: {', '.join(names)}")
    runs = [Run(args, seed, base, further, environment) for seed in args.seeds]
    try:
        with ended_by_request():
            carry_out(runs, deadline, output, args.pack_every_s, say)
    finally:
        stop(runs)
    for run in runs:
        if refused := run.refused():
            print(f"p3_experiment: {run.name} was refused: {refused}", file=sys.stderr)
        say(packed=run.pack(output))
    compiled = Path(environment["JAX_COMPILATION_CACHE_DIR"])
    if args.cache and compiled.exists():
        with tarfile.open(output / "xla.tar.part", "w") as archive:
            archive.add(compiled, ".")
        (output / "xla.tar.part").replace(output / "xla.tar")
    print(json.dumps({run.name: run.measured() for run in runs}, sort_keys=True))
    return 0 if all(run.finished() for run in runs) else 3


def unpack_compiled(cache: str, folder: str, output: Path) -> None:
    """Programs of an earlier stretch. The first stretch has none, and leaves its own."""
    if not os.path.exists(cache):
        said = f"--cache={cache} is not there: programs are compiled anew, and left in {output / 'xla.tar'}"
        print(f"p3_experiment: {said}", file=sys.stderr)
        return
    try:
        with tarfile.open(cache) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        sys.exit(f"p3_experiment: --cache={cache}: not a whole tar file ({error}); leave it out")


def arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--gin_file", required=True, action="append", help="of the run; may be repeated")
    parser.add_argument(
        "--model", required=True, help="a GGUF file, its pieces (a pattern), or an imported model"
    )
    parser.add_argument("--pieces", type=int, default=1, help="how many files --model names; waits for all")
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0])
    parser.add_argument("--budget_s", type=float, required=True, help="of wall time, for all of it")
    parser.add_argument("--output", required=True, help="packs and status go here")
    parser.add_argument("--work", default="runs/p3_experiment", help="models, runs, compiled programs")
    parser.add_argument("--device", help="cuda, tpu or cpu, as JAX_PLATFORMS")
    parser.add_argument(
        "--from", dest="earlier", metavar="DIR", help="packs of an earlier stretch, or one pack for one seed"
    )
    parser.add_argument(
        "--cache",
        metavar="FILE",
        help="a tar file of compiled programs to begin with, if it is there; this stretch's go to OUTPUT/xla.tar",
    )
    parser.add_argument(
        "--pack_every_s", type=float, default=0, help="also pack while it runs; 0: at the end"
    )
    args, further = parser.parse_known_args()
    bad = [flag for flag in further if not flag.startswith("--gin.")]
    if bad:
        parser.error(f"{bad[0]}: not known here, and only --gin.NAME=VALUE is passed on")
    if not LEAST_S <= args.budget_s < math.inf:
        parser.error(
            f"--budget_s={args.budget_s:g}: too short for one evaluation; {LEAST_S:g} is the least, and a whole "
            "experiment on an H200 takes about 600"
        )
    if len(set(args.seeds)) < len(args.seeds):
        parser.error(f"--seeds={','.join(map(str, args.seeds))}: each seed once, since it is one run")
    if args.pieces < 1:
        parser.error(f"--pieces={args.pieces}: at least 1")
    if args.earlier and not os.path.exists(args.earlier):
        parser.error(f"{args.earlier}: there is no such file")
    for name in PATHS:
        if getattr(args, name):
            setattr(args, name, os.path.abspath(getattr(args, name)))
    folder = os.path.dirname(args.cache or "")
    if not (os.path.isdir(folder) or folder in ("", args.output)):
        parser.error(
            f"--cache={args.cache}: there is no folder {folder}; the first stretch needs no such file, and leaves it "
            f"as {os.path.join(args.output, 'xla.tar')}"
        )
    args.gin_file = [os.path.abspath(name) if os.path.exists(name) else name for name in args.gin_file]
    if args.earlier and os.path.isfile(args.earlier) and len(args.seeds) != 1:
        parser.error(f"--from={args.earlier}: one pack is one run; name its seed alone in --seeds")
    return args, further


def imported(args: argparse.Namespace, environment: dict[str, str], deadline: float, say: "Status") -> str:
    """The model's folder in our layout, made once."""
    if os.path.exists(os.path.join(args.model, "model.json")):
        return args.model
    name = os.path.basename(args.model.removesuffix(".*").rstrip("/")).removesuffix(".gguf")
    folder = Path(args.work) / "models" / name
    if not (folder / "model.json").exists():
        said = False
        while len(found := sorted(glob.glob(args.model))) < args.pieces:
            if time.monotonic() > deadline - LEAST_S:
                sys.exit(
                    f"p3_experiment: {len(found)} of {args.pieces} pieces of {args.model} have arrived; no time is left"
                )
            if not said:
                print(
                    f"p3_experiment: waits for {args.model}: {len(found)} of {args.pieces} files are there",
                    file=sys.stderr,
                )
            said = True
            say(waiting=f"{len(found)} of {args.pieces} pieces")
            time.sleep(1)
        say(importing=found)
        do([*SELFPROG, "import", "--model", *found, f"--output={folder}"], environment)
    return str(folder)


def run_name(base: str, seed: int) -> str:
    return f"{os.path.basename(base)}-seed-{seed}"


def packs_of(name: str, earlier: str | None) -> list[str]:
    """The pieces of this run's pack in the folder `earlier`; `earlier` itself if it is a pack.

    A stretch that was killed while it put a new pack in the place of the old one has left the new one whole beside it.
    """
    if earlier is None:
        return []
    if os.path.isfile(earlier):
        return [earlier]
    whole = os.path.join(earlier, f"{name}.packed")
    folder = whole if os.path.isdir(whole) else earlier
    found = (os.path.join(folder, found) for found in os.listdir(folder))
    return sorted(
        path for path in found if re.fullmatch(rf"{re.escape(name)}\.pack(\.\d+)?", os.path.basename(path))
    )


def put_pack(fresh: Path, name: str, output: Path) -> None:
    """Puts the pieces in the folder `fresh` in the place of an older pack. Killed anywhere, `packs_of` finds a pack."""
    whole = output / f"{name}.packed"
    if whole.exists():  # of a stretch that was killed here
        _take_place(whole, name, output)
    fresh.rename(whole)
    _take_place(whole, name, output)


def _take_place(whole: Path, name: str, output: Path) -> None:
    for old in output.glob(f"{name}.pack.*"):
        old.unlink()
    for piece in whole.glob(f"{name}.pack.*"):
        shutil.copy(piece, output / piece.name)
    over = output / f"{name}.packing"
    whole.rename(over)
    shutil.rmtree(over)


def do(command: list[str], environment: dict[str, str]) -> None:
    """Runs a command on CPUs; where it fails, having said why, this ends too."""
    if subprocess.run(command, env=environment | {"JAX_PLATFORMS": "cpu"}, **ends_with_us()).returncode:
        sys.exit(f"p3_experiment: `{' '.join(['selfprog', *command[len(SELFPROG) :]])}` failed, see above")


def ends_with_us() -> dict[str, Any]:
    """For `subprocess`: the process is killed when this one dies, whatever of.

    Nobody would be left to see that it heeds a request; whatever a run has on disk, it goes on from.
    """
    if sys.platform != "linux":
        return {}
    from verifier.sandbox.linux import die_with_parent

    return {"preexec_fn": functools.partial(die_with_parent, os.getpid())}


class Ended(Exception):
    """Somebody asked this process to end (SIGTERM)."""


@contextlib.contextmanager
def ended_by_request() -> Iterator[None]:
    """Ends what is under way when asked to, like time that is up."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # packing is next, and takes seconds
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except Ended:
        print("p3_experiment: asked to end: what there is gets packed", file=sys.stderr)
    else:
        signal.signal(signal.SIGTERM, before)


class Run:
    """The run of one seed."""

    def __init__(
        self, args: argparse.Namespace, seed: int, base: str, further: list[str], environment: dict[str, str]
    ):
        self.name = run_name(base, seed)
        self.root = Path(args.work) / self.name
        self.log = self.root.parent / f"{self.name}.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        packs = packs_of(self.name, args.earlier)
        if args.earlier and not packs:
            print(f"p3_experiment: {args.earlier} has no {self.name}.pack: it begins anew", file=sys.stderr)
        if packs and not self.root.exists():
            do(
                [*SELFPROG, "unpack", *packs, "--go_on", f"--base={base}", f"--run_dir={self.root}"],
                environment,
            )
        # A run that was unpacked keeps what it was begun with, even if the presets have changed since.
        presets = [] if (self.root / "config.gin").exists() else args.gin_file
        self._command = [
            *SELFPROG, "run", *(f"--gin_file={name}" for name in presets), *further, "--quiet",
            f"--gin.Experiment.seed={seed}", f'--gin.Experiment.base="{base}"', f"--run_dir={self.root}",
        ]  # fmt: skip

    def start(self, seconds: float) -> None:
        self.root.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "a") as log:
            self._process = subprocess.Popen(
                [*self._command, f"--gin.Budget.seconds={seconds:.0f}"], env=self._environment,
                stdout=log, stderr=log, start_new_session=True, **ends_with_us(),
            )  # fmt: skip

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def refused(self) -> str:
        """What the user must put right (another process in its folder, say); "" where the run did not end so."""
        if self._process is None or self._process.poll() != 2:
            return ""
        return self.log.read_text(errors="replace").rpartition("selfprog: error: ")[2].strip()[-2000:]

    def base_is_measured(self) -> bool:
        return (self.root / "base" / "7_eval" / "evaluation.json").exists()

    def finished(self) -> bool:
        return (self.root / "summary.json").exists()

    def end(self, how: signal.Signals) -> None:
        """Sends a signal to the run's processes."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, how)

    def pack(self, output: Path) -> list[str]:
        """Packs what is there, as pieces of 15 MB; returns their names. The log comes along."""
        if not (self.root / "fingerprint.json").exists():
            return []
        shutil.copy(self.log, output / f"{self.name}.log")
        fresh = output / f"{self.name}.packing"  # the old pack stays until the new one is whole
        shutil.rmtree(fresh, ignore_errors=True)  # of a stretch that was killed while it packed
        command = [
            *SELFPROG,
            "pack",
            f"--run_dir={self.root}",
            f"--output={fresh / self.name}.pack",
            "--piece_mb=15",
        ]
        done = subprocess.run(
            command,
            env=self._environment | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **ends_with_us(),
        )
        if done.returncode == 0:
            put_pack(fresh, self.name, output)
        else:
            print(
                f"p3_experiment: {self.name} was not packed: {done.stderr.decode()[-2000:]}", file=sys.stderr
            )
        shutil.rmtree(fresh, ignore_errors=True)
        return sorted(path.name for path in output.glob(f"{self.name}.pack.*"))

    def measured(self) -> dict[str, dict[str, float]]:
        """Pass@k by arm and iteration, of what was evaluated so far."""
        found = {}
        for path in sorted(self.root.glob("**/7_eval/evaluation.json")):
            if "earlier" in path.parts:  # of a stretch before this one
                continue
            evaluation = json.loads(path.read_text())
            label = evaluation["arm"] + (
                "" if evaluation["iteration"] is None else f" {evaluation['iteration']}"
            )
            found[label] = {k: v["estimate"] for k, v in evaluation["pass_at_k"]["all"].items()}
        return found

    def progress(self) -> dict[str, Any]:
        """For the status: the newest stage with its age, the yield of each iteration, what was measured."""
        newest = max(
            (p for p in self.root.glob("*/*") if p.is_dir()), key=lambda p: p.stat().st_mtime, default=None
        )
        funnels = {}
        for path in sorted(self.root.glob("iter_*/funnel.json")):
            funnels[path.parent.name] = {
                s["name"]: s["count"] for s in json.loads(path.read_text())["stages"]
            }
        return {
            "running": self.is_running(), "stage": newest and str(newest.relative_to(self.root)),
            "funnels": funnels, "measured": self.measured(),
        }  # fmt: skip


def stop(runs: list[Run]) -> None:
    """Ends all runs: asked first, then killed."""
    for how, patience_s in ((signal.SIGTERM, 8.0), (signal.SIGKILL, 5.0)):
        until = time.monotonic() + patience_s
        alive = [run for run in runs if run.is_running()]
        for run in alive:
            run.end(how)
        while any(run.is_running() for run in alive) and time.monotonic() < until:
            time.sleep(0.1)


class Status:
    """Lines of JSON for whoever looks from outside."""

    def __init__(self, path: Path, deadline: float):
        self._path, self._deadline, self._began = path, deadline, time.monotonic()

    def __call__(self, **what: Any) -> None:
        now = time.monotonic()
        line = {"t": round(now - self._began, 1), "left": round(self._deadline - now, 1), **what}
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")


def carry_out(runs: list[Run], deadline: float, output: Path, pack_every_s: float, say: Status) -> None:
    """Starts the runs, the first one ahead of the others, and returns when all have ended or time is up."""
    waiting, last_status, last_pack = list(runs), 0.0, time.monotonic()
    end = deadline - PACKING_S
    while True:
        now = time.monotonic()
        while waiting and (waiting[0] is runs[0] or runs[0].base_is_measured() or not runs[0].is_running()):
            waiting.pop(0).start(max(1.0, end - now - STARTING_S))
        if now - last_status > STATUS_S:
            last_status = now
            say(**{run.name: run.progress() for run in runs})
        if pack_every_s and now - last_pack > pack_every_s:
            for run in runs:
                run.pack(output)
            last_pack = time.monotonic()
        if now > end or not (waiting or any(run.is_running() for run in runs)):
            return
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
