"""Models that do not fit are refused before a weight is read, with what they take and what there is."""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np
import pytest

import gin
from t5x_selfprog.main import main
from t5x_selfprog.model import device_room, hf, hf_import, network, store
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.device_room import free_host_bytes, loaded, trained
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.puzzles.prompts import SolvePrompt
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.room import sampled
from t5x_selfprog.sampling.weights import prepare
from t5x_selfprog.stages import finetune, grpo, policy_room, sample_puzzles, selfplay
from t5x_selfprog.stages.attempts import Solving, sample_attempts
from t5x_selfprog.stages.context import Context, Experiment
from t5x_selfprog.stages.policy_settings import Attempting, PolicyTraining, Proposing
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.optimizers import OptimizerConfig, make_optimizer
from tests.model.tiny_models import copy_golden
from tests.sampling.byte_model import random_params, tiny_config
from verifier.errors import UserError
from verifier.storage.records import PUZZLE, VERDICT

GIB = 2**30
HUGE = ModelConfig(4096, 1024, 1 << 15, 200, 256, 256, 128, 1 << 17)  # 4e12 weights
REFUSED = (
    r"huge: a model of [0-9,]{15,} weights does not fit: it takes [0-9.]+ GiB.*and this machine's free memory"
)


@pytest.fixture(autouse=True)
def _no_bindings_left():
    """What the command line is given here would be the base of whatever test comes next."""
    yield
    gin.clear_config()


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """A folder that says it holds a model of a trillion weights, and would fail differently were one of them read."""
    folder = tmp_path_factory.mktemp("models") / "huge"
    folder.mkdir()
    store.describe(str(folder), HUGE, store.resolve("base"))
    (folder / "weights.safetensors").write_bytes(b"not read")
    return str(folder)


def adamw(config):
    return make_optimizer(OptimizerConfig(), lambda step: 0.0, network.logical_axes(config))


def test_every_door_refuses_a_model_that_does_not_fit(huge, tmp_path):
    context = Context(open_run(tmp_path / "run", {}), Experiment(base=huge, shards=1))
    small = SamplingConfig(prompts_in_flight=1, rows_per_prompt=1, max_new_tokens=8, prompt_buckets=(64,))
    own = dataclasses.replace(small, temperature=1.0)
    kept = context.ledger(context.run.stage(0, "kept"), "kept", PUZZLE)
    verdicts = context.ledger(context.run.stage(0, "verdicts"), "verdicts", VERDICT)
    kept.commit(0, [{"puzzle_id": "p", "source": "def f(x: int):\n    return x == 1"}])
    verdicts.commit(0, [])
    kept.finish()
    verdicts.finish()
    doors = {
        "weights in float32 ": lambda: store.load(huge),
        "that decoding reads": lambda: sample_attempts(
            context, [("p", "def f(x: int):\n    return x == 1")], str(tmp_path / "3"),
            Solving(1, small, SolvePrompt("none")), model=huge, key=jax.random.key(0), label="0.3",
        ),
        "caches in float32": lambda: sample_puzzles.run(
            context, 0, sample_puzzles.Settings(small, prompts=1, attempts=1, prompt_tokens=8)
        ),
        "the optimizer's state": lambda: finetune.run(context, [], huge, str(tmp_path / "6")),
        "the newest weights": lambda: grpo.run(context, 0, huge, str(tmp_path / "6"), Attempting(sampling=own)),
        "PolicyTraining.lora": lambda: selfplay.run(
            context, 0, huge, str(tmp_path / "6"), Attempting(sampling=own), Proposing(sampling=own, prompt_tokens=8)
        ),
    }  # fmt: skip
    for part, door in doors.items():
        with pytest.raises(UserError, match=REFUSED) as refused:
            door()
        assert part in str(refused.value), part
        assert "selfprog models" in str(refused.value)


def test_the_command_line_refuses_it_in_one_sentence(huge, tmp_path, capsys):
    problems = f"--gin.Experiment.base={huge!r}"
    arguments = [
        "evaluate",
        "--gin_file=quickstart",
        f"--run_dir={tmp_path / 'run'}",
        f"--model={huge}",
        problems,
    ]
    assert main([*arguments, "--quiet"]) == UserError.EXIT_CODE
    said = capsys.readouterr().err
    assert "does not fit: it takes" in said and "Traceback" not in said


def test_what_is_counted_is_what_is_there(huge):
    config = tiny_config()
    params, whole = random_params(config), 4 * network.num_params(config)
    assert loaded(config, None).num_bytes == sum(x.nbytes for x in jax.tree.leaves(params)) == whole
    for dtype in ("float32", "bfloat16", "int8"):
        copy, caches = sampled(config, SamplingConfig(weights_dtype=dtype, prompt_buckets=(32,)), None)
        made = prepare(config, params, dtype, None)
        assert copy.num_bytes == sum(x.nbytes for x in jax.tree.leaves(made))
        assert dtype in copy.what and caches.num_bytes > 0
    weights, gradients, state = trained(config, None, adamw(config))
    assert weights.num_bytes == gradients.num_bytes == whole
    own = SamplingConfig(prompts_in_flight=1, rows_per_prompt=1, prompt_buckets=(32,))
    one = Partitioner(MeshConfig(1, 1, 1).make(jax.devices()[:1]))
    plain = policy_room.phases(config, PolicyTraining(), [own], one, one, False)
    beside = policy_room.phases(config, PolicyTraining(lora=Lora(rank=2)), [own], one, one, True)
    held = [[sum(part.num_bytes for part in parts) for parts in each] for each in (plain, beside)]
    assert all(parts[0].num_bytes == whole for parts in (*plain, *beside)), "what training began from stays"
    # A step: those, the newest weights, their gradients and two moments. With adapters: those and the base's.
    assert held[0][1] == pytest.approx(5 * whole, rel=1e-3) and 2 * whole < held[1][1] < 3 * whole
    # Sampling: those, the newest with two moments, a copy that decoding reads, caches; with adapters those, the base's,
    # the merged ones, a copy and caches.
    reading = sum(part.num_bytes for part in sampled(config, own, one))
    assert held[0][0] == pytest.approx(4 * whole + reading, rel=1e-3)
    assert 3 * whole + reading < held[1][0] < 4 * whole + reading
    assert state.num_bytes == pytest.approx(
        sum(x.nbytes for x in jax.tree.leaves(adamw(config).init(params))), rel=1e-3
    )


def test_weights_that_are_split_count_by_their_part():
    config = tiny_config(embed_dim=64)
    split = Partitioner(MeshConfig(data=1, fsdp=8).make())
    part, whole = loaded(config, split).num_bytes, loaded(config, None).num_bytes
    assert whole / 8 <= part < whole / 4
    assert sum(p.num_bytes for p in trained(config, split, adamw(config))) < 4.1 * part
    replicated = Partitioner(MeshConfig(data=8).make())
    assert loaded(config, replicated).num_bytes == whole
    there_is, where = device_room.device_bytes(jax.devices())
    alone, _ = device_room.device_bytes(jax.devices()[:1])
    assert (
        there_is is not None and alone is not None and 6 * there_is < alone and "shared by 8 devices" in where
    )


def machine(root: Path, available_kb: int, groups: dict[str, str], membership: str) -> str:
    """A machine's files under `root`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 999999999 kB\nMemAvailable: {available_kb} kB\n")
    (root / "proc/self/cgroup").write_text(membership)
    for path, text in groups.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(root)


def test_free_memory_is_the_least_that_machine_and_groups_leave(tmp_path):
    plenty = 64 * GIB // 1024
    assert free_host_bytes(machine(tmp_path / "bare", plenty, {}, "")) == 64 * GIB
    unlimited = {"memory.max": "max\n", "a/memory.max": "max\n"}
    assert free_host_bytes(machine(tmp_path / "v2", plenty, unlimited, "0::/a\n")) == 64 * GIB
    limited = {
        "a/memory.max": f"{8 * GIB}\n", "a/memory.stat": f"anon {3 * GIB}\nfile {5 * GIB}\n",
        "a/b/memory.max": f"{6 * GIB}\n", "a/b/memory.stat": f"anon {2 * GIB}\nfile {GIB}\n",
    }  # fmt: skip
    assert free_host_bytes(machine(tmp_path / "v2-limited", plenty, limited, "0::/a/b\n")) == 4 * GIB
    first = {
        "memory/docker/x/memory.limit_in_bytes": f"{10 * GIB}\n",
        "memory/docker/x/memory.stat": f"cache {8 * GIB}\nrss {GIB}\ntotal_rss {4 * GIB}\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    membership = "12:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n"
    assert free_host_bytes(machine(tmp_path / "v1", plenty, first, membership)) == 6 * GIB
    assert free_host_bytes(machine(tmp_path / "v1-full", 2 * GIB // 1024, first, membership)) == 2 * GIB
    assert free_host_bytes(str(tmp_path / "nothing")) is None


def test_importing_asks_for_its_largest_tensor_alone(tmp_path, monkeypatch):
    published = copy_golden("llama3", tmp_path / "published")
    tensors = hf.open_published(str(published)).tensors.values()
    largest = 2 * max(4 * math.prod(tensor.shape) for tensor in tensors)
    for free, fits in ((largest - 1, False), (largest, True)):
        monkeypatch.setattr(hf_import, "free_host_bytes", lambda free=free: free)
        if fits:
            hf_import.import_model(str(published), str(tmp_path / "ours"))
        else:
            with pytest.raises(UserError, match=r"importing it takes .* for its largest tensor \(embed"):
                hf_import.import_model(str(published), str(tmp_path / "ours"))
            assert not (tmp_path / "ours").exists()


def test_a_model_that_fits_is_loaded(tmp_path):
    config = tiny_config(vocab_size=4096)
    params = network.init(config, jax.random.key(0))
    store.save(str(tmp_path / "m"), config, params, store.resolve("base"), "float32")
    found = store.load(str(tmp_path / "m"))
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(params), strict=True)
    )
