"""Learning from verdicts on two hosts: the same attempts and weights as on one host with equally many devices."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from t5x_selfprog.model import network, store
from t5x_selfprog.model.config import ModelConfig

DEVICES = 4


def finish(root: Path, learner: str, base: str, hosts: int, repository: Path, environment: dict) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    more = {"JAX_NUM_CPU_DEVICES": str(DEVICES // hosts), "PYTHONPATH": str(repository)}
    processes = []
    for i in range(hosts):
        spec = f"127.0.0.1:{port},{hosts},{i}"
        command = [sys.executable, "tests/stages/learn_on_hosts.py", learner, str(root), base, spec]
        processes.append(
            subprocess.Popen(
                command, env=environment | more, cwd=repository, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
            )
        )  # fmt: skip
    try:
        for process in processes:
            said, _ = process.communicate(timeout=1200)
            assert process.returncode == 0, said[-3000:]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["grpo", "selfplay"])
def test_two_hosts_learn_what_one_does(learner, tmp_path, repository, user_environment):
    base = str(tmp_path / "base")
    config = ModelConfig(4096, 256, 16, 1, 2, 2, 8, 32)
    store.save(base, config, network.init(config, jax.random.key(0)), store.resolve("base"))
    environment = user_environment | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla")}
    roots = [tmp_path / "alone", tmp_path / "together"]
    for hosts, root in enumerate(roots, start=1):
        finish(root, learner, base, hosts, repository, environment)
    found = [
        sorted(path.relative_to(root) for path in root.rglob("rollouts/**/*.tfrecord")) for root in roots
    ]
    assert found[0] == found[1] and len(found[0]) >= 4
    for path in (*found[0], Path("iter_000/6_checkpoints/done.json")):
        assert (roots[0] / path).read_bytes() == (roots[1] / path).read_bytes(), path
    assert os.path.exists(roots[1] / "iter_000/6_checkpoints/model.json")
