"""Programs for an NVIDIA GPU compiled without one, and counts of their kernels and bytes.

Needs CUDA's compiler plugin and nothing else of CUDA: `pip install jax-cuda12-plugin jax-cuda12-pjrt` of JAX's own
version, or those two unpacked into a folder that $SELFPROG_CUDA_COMPILER names. The choice between a library's and the
compiler's own matrix products (autotuning) needs a GPU, so counts may differ by a few there.
"""

import dataclasses
import functools
import os
import re
import sys

import jax

from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.sampling.blueprint import Blueprint
from t5x_selfprog.sampling.interface import SamplingConfig
from verifier.errors import UserError

VARIABLE = "SELFPROG_CUDA_COMPILER"
H200 = """
gpu_device_info {
  name: "NVIDIA H200 141GB HBM3e" device_vendor: "NVIDIA Corporation"
  platform_version: "Compute Capability 9.0a"
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 device_memory_size: 151397597184
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  device_address_bits: 64 pcie_bandwidth: 34359738368 ecc_enabled: true
  driver_version: "13.0.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0" dnn_version: "9.10.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H200 141GB HBM3e"
"""  # what the compiler asks of a device: NVIDIA's data sheet and compute capability 9.0


@functools.cache
def device() -> jax.Device:
    """An abstract H200 to compile for.

    Raises UserError where the compiler is missing.
    """
    folder = os.environ.get(VARIABLE)
    if folder and folder not in sys.path:
        sys.path.append(folder)
    from jax.experimental import topologies

    try:
        there = topologies.get_topology_desc("1x1x1", "cuda", target_config=H200, topology="1x1x1")
    except NotImplementedError as error:
        raise UserError(
            f"No CUDA compiler: `pip install jax-cuda12-plugin=={jax.__version__} jax-cuda12-pjrt=={jax.__version__}`, "
            f"or unpack these two (`pip download --no-deps`) into a folder and name it in ${VARIABLE}."
        ) from error
    return there.devices[0]


def program(what: str, model: ModelConfig, sampling: SamplingConfig, prefix_tokens: int = 0) -> DeviceProgram:
    """One of a sampler's programs on one GPU, prompts in the largest bucket.

    what: "decode", a chunk of steps, or "load", which computes prompts.

    Raises UserError where the compiler is missing.
    """
    partitioner = Partitioner(MeshConfig().make([device()]))
    bucket = sampling.prompt_buckets[-1]
    plan = Blueprint(model, sampling, prefix_tokens, (bucket,), model.vocab_size, (), (0,), partitioner)
    names = {"decode": ("decode", sampling.prompts_in_flight), "load": ("load", bucket, plan.together())}
    return plan.described(names[what])


@dataclasses.dataclass(frozen=True)
class Counts:
    """Counts of a program around one loop, or of a program without one.

    Attributes:
      kernels: kernels that a step of the loop starts.
      bytes: what these read and write, each operand counted whole; of a cache updated in place, only the update.
      outside_bytes: what kernels before and after the loop write, such as copies of caches.
    """

    kernels: int
    bytes: int
    outside_bytes: int


_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$")
_LOOP = re.compile(r" while\(.*body=%?([\w.-]+)")
_SHAPE = re.compile(r"(pred|s8|u8|bf16|f16|s32|u32|f32|s64|u64|f64)\[([\d,]*)\]")
_WIDTH = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s64": 8, "u64": 8, "f64": 8}
_NO_KERNEL = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "while"}


def count(text: str) -> Counts:
    """Counts for a program by its optimised text; the loop is the one with the longest body.

    Raises ValueError where the text has no loop.
    """
    computations, entry = _computations(text)
    bodies = [found[1] for lines in computations.values() for line in lines if (found := _LOOP.search(line))]
    if not bodies:
        raise ValueError("the program has no loop whose kernels could be counted")
    body = max(bodies, key=lambda name: len(computations[name]))
    inside, outside = _kernels(computations[body]), _kernels(computations[entry])
    return Counts(
        kernels=len(inside),
        bytes=sum(written + read for written, read in inside),
        outside_bytes=sum(written for written, _ in outside),
    )


def count_straight(text: str) -> Counts:
    """Counts for a program that runs its kernels once each.

    Raises ValueError where the text has a loop.
    """
    computations, entry = _computations(text)
    if any(_LOOP.search(line) for line in computations[entry]):
        raise ValueError("the program has a loop, whose kernels run more than once")
    found = _kernels(computations[entry])
    return Counts(kernels=len(found), bytes=sum(written + read for written, read in found), outside_bytes=0)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation by name, and the name of the one that the program enters."""
    computations: dict[str, list[str]] = {}
    entry = current = ""
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if found := _COMPUTATION.match(line):
            current = found[2]
            computations[current] = []
            entry = current if found[1] else entry
        elif current:
            computations[current].append(line)
    return computations, entry


def _kernels(lines: list[str]) -> list[tuple[int, int]]:
    """Bytes that each kernel of a computation writes and reads."""
    sizes: dict[str, int] = {}
    found = []
    for line in lines:
        if not (instruction := _INSTRUCTION.match(line)):
            continue
        name, shape, operation, rest = instruction.groups()
        written = sizes[name] = _size(shape)
        if operation in _NO_KERNEL:
            continue
        operands = [sizes.get(of, 0) for of in re.findall(r"%([\w.-]+)", rest.split(")")[0])]
        if "dynamic_update_slice" in name or "dynamic-update-slice" in name:  # in place: only the update
            operands = [size for size in operands if size < written]
            written = sum(operands)
        found.append((written, sum(operands)))
    return found


def _size(shape: str) -> int:
    """Bytes of an array, or of a tuple's arrays together."""
    total = 0
    for dtype, sizes in _SHAPE.findall(shape):
        elements = 1
        for size in filter(None, sizes.split(",")):
            elements *= int(size)
        total += elements * _WIDTH.get(dtype, 4)
    return total
