"""A cloud that is not there: gcloud, ssh, buckets and systemd as the scripts of scripts/tpu use them, on folders.

`Cloud(folder, hosts)` has a folder of stubs for PATH, a home for the user, one for each worker (so many of them
whatever the slice's type, of which v5e_8 has one), and a copy of the tree in a repository of its own;
`Cloud(folder, like=other)` is a copy of another one in which nothing runs. A worker's Python is 3.10 until uv
brings another, as on Ubuntu 22.04; what is installed as `selfprog` there does what the file `behaviour` in the
cloud's folder says: a shell script that gets the run's arguments. The user's own Python says that a run reads
nothing (or what the file `needs` lists), unless `reads_configurations`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
WHERE = "SLICE=v5e_8 ZONE=z1 RUN_DIR=gs://b/runs/p"

GCLOUD = r"""
import fcntl, json, os, re, subprocess, sys
from pathlib import Path
cloud = Path(os.environ["CLOUD"])
words = sys.argv[1:]
line = " ".join(words)
with open(cloud / "gcloud.log", "a") as log:
    log.write(line + "\n")
faults = json.loads((cloud / "faults.json").read_text()) if (cloud / "faults.json").exists() else []
for fault in faults:
    if fault["times"] and re.search(fault["command"], line):
        fault["times"] -= 1
        (cloud / "faults.json").write_text(json.dumps(faults))
        sys.exit(f"ERROR: (gcloud) {fault['says']}")
flags = dict(w.removeprefix("--").partition("=")[::2] for w in words if w.startswith("--"))
plain = [w for w in words if not w.startswith("-")]
state = cloud / "state"

def bucket(url):
    return str(cloud / "buckets" / url.removeprefix("gs://")) if url.startswith("gs://") else url

def generation(url):
    # 0 where there is no object; every write makes another one.
    return str(os.stat(bucket(url)).st_mtime_ns) if os.path.exists(bucket(url)) else "0"

def workers():
    found = sorted((cloud / "workers").iterdir())
    return found if flags["worker"] == "all" else [found[int(flags["worker"])]]

def need_slice():
    if not state.exists() or state.read_text() != "ACTIVE":
        sys.exit("ERROR: (gcloud.compute.tpus.tpu-vm) NOT_FOUND: no such node")

match plain[:4]:
    case ["compute", "tpus", "queued-resources", "create"]:
        if "spott" in flags:
            print("ERROR: (gcloud) unrecognized arguments: --spott", file=sys.stderr)
            sys.exit(2)
        if state.exists():
            sys.exit("ERROR: (gcloud) ALREADY_EXISTS: the request is there")
        for i in range(int((cloud / "hosts").read_text())):
            (cloud / "workers" / f"w{i}").mkdir(parents=True)
        (cloud / "type").write_text(flags["accelerator-type"])
        state.write_text("ACTIVE")
    case ["compute", "tpus", "queued-resources", "describe"]:
        if not state.exists():
            sys.exit("ERROR: (gcloud) NOT_FOUND: no such request")
        print(state.read_text() if "state.state" in flags["format"] else (cloud / "type").read_text())
    case ["compute", "tpus", "tpu-vm", "describe"]:
        print((cloud / "node").read_text() if (cloud / "node").exists() else "READY")
    case ["compute", "tpus", "queued-resources", "delete"]:
        subprocess.run([sys.executable, str(cloud / "lose.py")], check=True)
        state.unlink(missing_ok=True)
        (cloud / "node").unlink(missing_ok=True)
    case ["compute", "tpus", "tpu-vm", "ssh"]:
        need_slice()
        runs = []
        for home in workers():
            # Nothing of this machine's comes along: above all not where its virtual environment is.
            environment = {"CLOUD": str(cloud), "HOME": str(home), "UNIT": str(home / "selfprog.service")}
            environment |= {"PAUSE_S": "0.2", "GRACE_S": "5", "PATH": f"{cloud}/worker_bin:/usr/bin:/bin"}
            runs.append(subprocess.Popen(["bash", "-c", flags["command"]], cwd=home, env=environment))
        sys.exit(max(run.wait() for run in runs))
    case ["compute", "tpus", "tpu-vm", "scp"]:
        need_slice()
        source, target = plain[4:6]
        for home in workers():
            if ":" in source:
                subprocess.run(["cp", home / source.partition(":")[2], target], check=True)
            else:
                subprocess.run(["cp", source, home / (target.partition(":")[2] or ".")], check=True)
    case ["storage", "rsync", source, target]:
        if not Path(bucket(source)).is_dir():
            sys.exit("ERROR: (gcloud.storage.rsync) no such folder")
        os.makedirs(bucket(target), exist_ok=True)
        for path in Path(bucket(source)).rglob("*"):
            name = str(path.relative_to(bucket(source)))
            if path.is_file() and not ("exclude" in flags and re.search(flags["exclude"], name)):
                place = Path(bucket(target)) / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
        if "delete-unmatched-destination-objects" in flags:
            for path in [path for path in Path(bucket(target)).rglob("*") if path.is_file()]:
                if not (Path(bucket(source)) / path.relative_to(bucket(target))).exists():
                    path.unlink()
    case ["storage", "cat", url]:
        if not Path(bucket(url)).is_file():
            sys.exit("ERROR: (gcloud.storage.cat) no such file")
        print(Path(bucket(url)).read_text(), end="")
    case ["storage", "rm", url]:
        Path(bucket(url)).unlink()
    case ["storage", "cp", source, target]:
        if not Path(bucket(source)).is_file():
            sys.exit("ERROR: (gcloud.storage.cp) no such file")
        os.makedirs(os.path.dirname(bucket(target)), exist_ok=True)
        with open(cloud / "bucket.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if flags.get("if-generation-match", generation(target)) != generation(target):
                sys.exit("ERROR: HTTPError 412: At least one of the pre-conditions you specified did not hold.")
            subprocess.run(["cp", bucket(source), bucket(target) + ".new"], check=True)
            os.replace(bucket(target) + ".new", bucket(target))
    case ["storage", "objects", "describe", url]:
        if generation(url) == "0":
            sys.exit("ERROR: (gcloud.storage.objects.describe) NOT_FOUND")
        print(generation(url))
    case _:
        sys.exit(f"ERROR: the stub knows no {' '.join(plain)}")
"""

# Of a unit, what `worker start` writes: ExecStart as the main process, which alone is told to stop, then all killed.
SYSTEMCTL = r"""
import os, signal, subprocess, sys, time
unit = dict(l.partition("=")[::2] for l in open(os.environ["UNIT"]) if "=" in l)
pid_file = os.environ["UNIT"] + ".pid"

def alive():
    try:
        pid = int(open(pid_file).read())
        state = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
        return 0 if state == "Z" else pid  # where nobody collects the dead
    except (FileNotFoundError, ProcessLookupError):
        return 0

verb = next(w for w in sys.argv[1:] if not w.startswith("-"))
if verb == "start":
    key, _, value = unit["Environment"].strip().partition("=")
    log = open(unit["StandardOutput"].strip().removeprefix("append:"), "a")
    command = unit["ExecStart"].split()
    directory = unit["WorkingDirectory"].strip()
    shell = 'echo $$ >"$0"; exec "$@"'
    subprocess.Popen(["setsid", "bash", "-c", shell, pid_file, *command], cwd=directory, stdin=subprocess.DEVNULL,
                     env={**os.environ, key: value}, stdout=log, stderr=log)
    while not os.path.exists(pid_file):
        time.sleep(0.02)
elif verb == "stop":
    if pid := alive():
        os.kill(pid, signal.SIGTERM)
        end = time.time() + float(unit["TimeoutStopSec"])
        while alive() and time.time() < end:
            time.sleep(0.02)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if os.path.exists(pid_file):
        os.remove(pid_file)
elif verb == "is-active":
    sys.exit(0 if alive() else 3)
"""

SUDO = r"""
while [[ "$1" == *=* ]]; do shift; done
[[ "$1" != apt-get ]] || { echo "$@" >>"$HOME/apt.log"; exit 0; }
exec "$@"
"""
UV = '[[ "$2" == install ]] || echo "$CLOUD/python/python3.11"\n'
# An interpreter that makes an environment in which pip installs `selfprog` as the cloud has it behave.
PYTHON311 = r"""
if [[ "$1 $2" == "-m venv" ]]; then
  mkdir -p "$3/bin" && cp "$CLOUD/python/venv_python" "$3/bin/python"
elif [[ "$1" == --version ]]; then echo Python 3.11.9
elif [[ "$1" == -c ]]; then exit 0
fi
"""
VENV_PYTHON = r"""
case "$2" in
  pip)
    echo "$@" >>"$HOME/pip.log"
    { echo '#!/bin/bash'; echo 'exec bash "$CLOUD/behaviour" "$@"'; } >"$(dirname "$0")/selfprog"
    chmod +x "$(dirname "$0")/selfprog"
    ;;
  verifier) echo "isolation: full" ;;
esac
"""
PYTHON310 = r"""
if [[ "$1" == -c ]]; then exit 1
elif [[ "$*" == *"pip install"* ]]; then mkdir -p "$HOME/.local/bin" && cp "$CLOUD/python/uv" "$HOME/.local/bin/uv"
fi
"""
USER_PYTHON = '[[ ! -f "$CLOUD/needs" ]] || cat "$CLOUD/needs"\n'
LOSE = r"""
import os, shutil, signal
cloud = os.environ["CLOUD"]
for name in os.listdir(f"{cloud}/workers"):
    try:
        os.killpg(int(open(f"{cloud}/workers/{name}/selfprog.service.pid").read()), signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass
    while os.path.exists(f"{cloud}/workers/{name}"):  # the last words of what was killed may still come in
        shutil.rmtree(f"{cloud}/workers/{name}", ignore_errors=True)
"""


class Cloud:
    """Stubs and folders. `close` ends what still runs on the workers."""

    def __init__(self, folder: Path, hosts: int = 2, like: "Cloud | None" = None):
        self.folder, self.tree = folder, folder / "tree"
        self.reads_configurations = False
        if like is not None:  # with the times of its files, so that Python's compiled modules still hold
            shutil.copytree(like.folder, folder, symlinks=True)
            return
        for name in ("bin", "worker_bin", "python", "workers", "buckets", "home", "venv/bin"):
            (folder / name).mkdir(parents=True)
        (folder / "hosts").write_text(str(hosts))
        (folder / "lose.py").write_text(LOSE)
        python = f"#!{sys.executable}\n"
        self._executable("bin/gcloud", python + GCLOUD)
        shutil.copy(folder / "bin" / "gcloud", folder / "worker_bin" / "gcloud")
        self._executable("worker_bin/systemctl", python + SYSTEMCTL)
        bash = "#!/bin/bash\n"
        self._executable("worker_bin/sudo", bash + SUDO)
        for name in ("python3", "python", "python3.11", "python3.12"):  # whatever this machine has
            self._executable(f"worker_bin/{name}", bash + PYTHON310)
        self._executable("venv/bin/python", bash + USER_PYTHON)
        self._executable("python/uv", bash + UV)
        self._executable("python/python3.11", bash + PYTHON311)
        self._executable("python/venv_python", bash + VENV_PYTHON)
        self.behave("exit 0")
        parts = ["gin", "scripts", "t5x_selfprog", "verifier"]
        ignore = shutil.ignore_patterns("__pycache__")
        for part in parts:
            shutil.copytree(REPOSITORY / part, self.tree / part, ignore=ignore)
        for file in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", ".gitignore"):
            shutil.copy(REPOSITORY / file, self.tree / file)
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
            identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
            subprocess.run(["git", *identity, *words], cwd=self.tree, check=True)

    def _executable(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def behave(self, script: str) -> None:
        """What a run on a worker does from now on; "$CLOUD" is this folder, "$HOME" the worker's."""
        new = self.folder / "behaviour.new"
        new.write_text(f'echo "$@" >>"$HOME/runs.log"\n{script}\n')
        new.replace(self.folder / "behaviour")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "CLOUD": str(self.folder),
            "SELFPROG_VENV": str(Path(sys.prefix) if self.reads_configurations else self.folder / "venv"),
            "POLL_S": "0.2",
        }

    def run(self, command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """A command line as the user types it, in the tree."""
        return subprocess.run(
            ["bash", "-c", command], cwd=self.tree, env=self.environment, capture_output=True, text=True,
            timeout=timeout,
        )  # fmt: skip

    def start(self, command: str) -> subprocess.Popen:
        log = open(self.folder / "started.log", "a")  # noqa: SIM115 (the process owns it)
        return subprocess.Popen(
            ["bash", "-c", command], cwd=self.tree, env=self.environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip

    def worker(self, index: int) -> Path:
        return self.folder / "workers" / f"w{index}"

    def runs(self, index: int) -> list[str]:
        """The arguments of every time the worker's run was started."""
        log = self.worker(index) / "runs.log"
        return log.read_text().splitlines() if log.exists() else []

    def status(self, index: int) -> str:
        file = self.worker(index) / "selfprog" / "run.status"
        return file.read_text() if file.exists() else ""

    def wait(self, condition, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain; workers say {[self.status(i) for i in range(2)]}"
            time.sleep(0.05)

    def fault(self, command: str, says: str = "UNAVAILABLE: try again", times: int = 1) -> None:
        """From now on, gcloud fails so many times when asked for what this expression matches."""
        (self.folder / "faults.json").write_text(
            json.dumps([{"command": command, "says": says, "times": times}])
        )

    def take_away(self) -> None:
        """What becomes of spot capacity: the machines are gone, the request is left behind."""
        (self.folder / "state").write_text("SUSPENDED")
        self._lose()

    def _lose(self) -> None:
        subprocess.run([sys.executable, self.folder / "lose.py"], env=self.environment, check=True)

    def close(self) -> None:
        self._lose()

    def end(self, process: subprocess.Popen) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
