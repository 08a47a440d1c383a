"""Several processes as one run: how they connect, which one decides, which one writes.

Every process runs the same stages in the same order, and the same device programs on one mesh. Host 0 looks at the run
directory and tells the others what is left to do, so that all act on the same view of it. Each host writes and judges
its own shards (shard number modulo hosts). With one process all of this costs nothing.

`agree`, `barrier` and `gather` are collective: every process calls them, in the same order, from its main thread.
"""

import contextlib
import functools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils

from verifier.errors import UserError

T = TypeVar("T")
LAST_WORDS_S = 4.0  # from one host's end to that of the others


def connect(spec: str) -> None:
    """Connects to the other processes; must be called before anything touches a device.

    A single process may connect too, as ADDRESS:PORT,1,0. Its CPU devices then sum in the same order as several
    processes (Gloo's) and give the same bits; otherwise XLA sums over four or more devices in another order.

    Args:
      spec: "auto" if the environment describes the processes (Cloud TPU, SLURM, GKE), or ADDRESS:PORT,COUNT,INDEX.

    Raises UserError for a spec of another form.
    """
    if spec == "auto":
        try:
            jax.distributed.initialize()
        except ValueError as error:
            if "coordinator_address" not in str(error):
                raise
            raise UserError(
                "--hosts=auto: nothing here says which processes belong together, as Cloud TPU, GKE and SLURM do; give "
                "ADDRESS:PORT,COUNT,INDEX such as 10.0.0.2:8476,4,0, or leave --hosts out for one process."
            ) from error
        return
    parts = spec.split(",")
    port = parts[0].rpartition(":")[2]
    if len(parts) != 3 or ":" not in parts[0] or not all(n.isdecimal() for n in (port, *parts[1:])):
        raise UserError(f"--hosts={spec}: give auto, or ADDRESS:PORT,COUNT,INDEX such as 10.0.0.2:8476,4,0.")
    count, index = int(parts[1]), int(parts[2])
    if count < 1:
        raise UserError(f"--hosts={spec}: COUNT must be at least 1.")
    if index >= count:
        raise UserError(f"--hosts={spec}: INDEX counts from 0 to {count - 1}, as COUNT is {count}.")
    jax.distributed.initialize(parts[0], num_processes=count, process_id=index)


def require_same(facts: dict[str, Any]) -> None:
    """Raises UserError on all hosts if any host's facts (versions, configuration) differ from host 0's. Collective.

    The host that differs names both values; the others name that host.
    """
    theirs = agree(facts)
    differing = [
        f"{name}: host 0 has {theirs.get(name)!r}, host {index()} has {facts.get(name)!r}"
        for name in sorted(theirs.keys() | facts.keys())
        if theirs.get(name) != facts.get(name)
    ]
    flags = multihost_utils.process_allgather(np.int32(bool(differing)))
    others = ", ".join(map(str, np.flatnonzero(flags)))
    if differing:
        raise UserError("hosts of one run must be alike:\n  " + "\n  ".join(differing))
    if others:
        raise UserError(
            f"hosts of one run must be alike, and {others} differs from host 0: see what it says."
        )


def leave(status: int) -> NoReturn:
    """Ends this process at once, and the others with the same status: that of the host that left first.

    A normal exit would wait for the others, which wait for this one. All share a status because an error that one host
    finds would recur in any retry, while a failed collective only shows a host that another one ended.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if connected():
        post("end", f"{place_among()[0]} {status}", once=True)
        if end := await_post("end", LAST_WORDS_S):
            status = int(end.split()[1])
        _go(status)
    os._exit(status)


def finish() -> None:
    """Ends this process with status 0 once every host has got here; returns where there is no other host.

    The interpreter's own end would unwind the threads that wait for other hosts while they are inside JAX, and that
    aborts a process whose work is done.
    """
    if not connected():
        return
    me, hosts = place_among()
    post(f"over/{me}", "1")
    for other in range(hosts):
        await_post(f"over/{other}")
    sys.stdout.flush()
    sys.stderr.flush()
    _go(0)


def _go(status: int) -> NoReturn:
    """Ends this process; host 0 is the last, since the posts live in it and vanish with it."""
    me, hosts = place_among()
    post(f"seen/{me}", "1")
    if me == 0:
        for other in range(1, hosts):
            await_post(f"seen/{other}", LAST_WORDS_S)
        time.sleep(0.5)  # otherwise JAX ends them with its own status when host 0 is gone
    os._exit(status)


def follow_the_end() -> None:
    """Waits until one host leaves, and leaves with its status. Runs in its own thread."""
    host, status = map(int, await_post("end").split())
    me, _ = place_among()
    if host == me:
        return
    print(f"selfprog: host {host} ended with status {status}, so host {me} does", file=sys.stderr)
    sys.stderr.flush()
    time.sleep(LAST_WORDS_S / 2)  # time for this host's own messages and writes
    post(f"seen/{me}", "1")
    os._exit(status)


def post(name: str, value: str, *, once: bool = False) -> None:
    """Posts a value that all hosts can read, now and later; with `once`, the first value posted stays.

    If host 0, which keeps the posts, is gone, the post is lost; but then all hosts end anyway.
    """
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _service().key_value_set(f"selfprog/{name}", value, allow_overwrite=not once)


def await_post(name: str, seconds: float = math.inf) -> str:
    """Waits for what any host posts under this name; "" after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        wait_s = min(60.0, end - time.monotonic())
        began = time.monotonic()
        try:
            return _service().blocking_key_value_get(f"selfprog/{name}", max(1, int(1000 * wait_s)))
        except jax.errors.JaxRuntimeError:  # nothing yet, or host 0 is gone
            time.sleep(max(0.0, min(1.0, wait_s) - (time.monotonic() - began)))
    return ""


def connected() -> bool:
    """Whether there are other hosts; needs no devices."""
    return distributed.global_state.client is not None and distributed.global_state.num_processes > 1


def place_among() -> tuple[int, int]:
    """`index` and `count` without devices: asking JAX would make all hosts look for their devices together."""
    return distributed.global_state.process_id, distributed.global_state.num_processes


def _service() -> Any:
    """JAX's coordination service, whose keys and values have no public interface."""
    return distributed.global_state.client


def count() -> int:
    return jax.process_count()


def index() -> int:
    return jax.process_index()


def is_first() -> bool:
    return index() == 0


def is_mine(shard: int) -> bool:
    """Whether this host writes and judges the shard."""
    return shard % count() == index()


def agree(value: T) -> T:
    """Host 0's value, on all hosts. The value must survive JSON."""
    if count() == 1:
        return value
    data = np.frombuffer(json.dumps(value).encode(), np.uint8) if is_first() else np.zeros(0, np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(data.size)))
    padded = data if is_first() else np.zeros(size, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded), np.uint8).tobytes())


def gather(value: bool) -> list[bool]:
    """Every host's value, by host index, on all hosts. Collective."""
    return [bool(one) for one in np.ravel(multihost_utils.process_allgather(np.int32(value)))]


def barrier(name: str) -> None:
    """Returns once every host has reached this barrier."""
    if count() > 1:
        multihost_utils.sync_global_devices(name)


def first_alone(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a stage without device work: host 0 runs it, and the others wait for its result on disk."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            if is_first():
                function(*args, **kwargs)
            barrier(name)

        return run

    return decorate


def whole(array: jax.Array) -> np.ndarray:
    """An array distributed over all hosts, made complete on each of them."""
    if getattr(array, "is_fully_addressable", True) or array.is_fully_replicated:
        return np.asarray(jax.device_get(array))
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def place(tree: Any, shardings: Any) -> Any:
    """Turns host arrays, equal on every host, into global arrays: each host provides its devices' parts."""
    if count() == 1:
        return jax.device_put(tree, shardings)

    def one(x: Any, sharding: jax.sharding.Sharding) -> jax.Array:
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda part: x[part])

    if isinstance(shardings, jax.sharding.Sharding):
        return jax.tree.map(lambda x: one(x, shardings), tree)
    return jax.tree.map(one, tree, shardings)
