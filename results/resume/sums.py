#!/usr/bin/env python3
"""Are sums over eight virtual CPU devices the same bits in one process, in one connected to itself, in two, in four?

python results/resume/sums.py          a minute on two cores; prints a line for each sum, then how many are equal
"""

import hashlib
import json
import os
import socket
import subprocess
import sys

MESHES = ((8,), (4, 2), (2, 4), (2, 2, 2))
SIZES = (1, 1000, 200_000)


def sums(processes: int, index: int, address: str) -> None:
    """One process's part; the first prints a digest of each sum."""
    os.environ |= {"JAX_NUM_CPU_DEVICES": str(8 // processes), "JAX_PLATFORMS": "cpu"}
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    if address:
        jax.distributed.initialize(address, num_processes=processes, process_id=index)
    found = {}
    for shape in MESHES:
        names = tuple("abc"[: len(shape)])
        mesh = Mesh(np.array(jax.devices()).reshape(shape), names)
        for size in SIZES:
            x = np.random.default_rng(0).standard_normal((8, size)).astype(np.float32)
            placed = jax.make_array_from_callback(
                x.shape, NamedSharding(mesh, P(names)), lambda part, x=x: x[part]
            )
            for axes in [names[:k] for k in range(1, len(names) + 1)] + [(name,) for name in names[1:]]:
                left = tuple(name for name in names if name not in axes)
                add = jax.shard_map(
                    lambda v, axes=axes: jax.lax.psum(v, axes),
                    mesh=mesh,
                    in_specs=P(names),
                    out_specs=P(left or None),
                )
                part = np.asarray(jax.jit(add)(placed).addressable_shards[0].data)
                found[f"{shape} {size} {''.join(axes)}"] = hashlib.md5(part.tobytes()).hexdigest()
    if index == 0:
        print(json.dumps(found))


def run(processes: int, joined: bool) -> dict[str, str]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}" if joined else ""
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(processes), str(i), address],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for i in range(processes)
    ]  # fmt: skip
    said = [process.communicate()[0] for process in started]
    return json.loads(next(line for line in said[0].splitlines() if line.startswith("{")))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sums(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
        sys.exit()
    alone, one, two, four = run(1, False), run(1, True), run(2, True), run(4, True)
    for name, digest in two.items():
        print(
            name,
            *(
                f"{who}: {found[name] == digest}"
                for who, found in (("alone", alone), ("one", one), ("four", four))
            ),
        )
    for who, found in (("one process", alone), ("one that joined itself", one), ("four", four)):
        print(
            f"{who}: {sum(found[name] == two[name] for name in two)} of {len(two)} sums equal those of two processes"
        )
