"""Compiling for a slice, with the results cached on disk: the same program is compiled once, however often one plans.

A program is identified by its text before compilation, its devices, the compiler's options and the versions of JAX and
its compilers. Cached are its memory and its compiled text, not what the plan makes of them, so that a better reading of
the text needs no compilation.
"""

import gzip
import hashlib
import importlib.metadata
import json
import os
import sys
import time
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax

from verifier.storage import files

FOLDER = os.path.join("~", ".cache", "selfprog", "plans")
VARIABLE = "SELFPROG_PLAN_CACHE"  # another folder; empty for no cache


class Compiled(NamedTuple):
    """text: of the optimised program; empty where it does not fit, and `error` holds the compiler's message.

    compile_s: how long compilation took, even if cached; held: bytes by what they hold.
    """

    text: str
    held: dict[str, float]
    compile_s: float
    error: str = ""


def compiled(lowered: Any, options: Mapping[str, Any] | None, devices: Iterable[Any]) -> Compiled:
    """The compilation of a lowered program for these devices, from the cache where it is there."""
    path = _path(lowered.as_text(), options, devices)
    if path and (kept := _kept(path)):
        return kept
    found = _compile(lowered, options)
    if path:
        files.makedirs(os.path.dirname(path))
        files.write_atomic(path, gzip.compress(json.dumps(found._asdict()).encode(), 5))
    return found


def _kept(path: str) -> Compiled | None:
    """What the cache has; None where that is nothing, or damaged: it will be written anew."""
    try:
        return Compiled(**json.loads(gzip.decompress(files.read_bytes(path))))
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, TypeError, zlib.error) as error:
        print(f"plan: {path} is damaged ({error}): compiling again", file=sys.stderr)
        return None


def _compile(lowered: Any, options: Mapping[str, Any] | None) -> Compiled:
    begin = time.perf_counter()
    try:
        executable = lowered.compile(options)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Compiled("", {}, time.perf_counter() - begin, str(error))
    memory = executable.memory_analysis()
    held = {
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "results": max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes),
        "code": memory.generated_code_size_in_bytes,
    }
    return Compiled(executable.as_text(), held, time.perf_counter() - begin)


def _path(text: str, options: Mapping[str, Any] | None, devices: Iterable[Any]) -> str:
    folder = os.environ.get(VARIABLE, FOLDER)
    if not folder:
        return ""
    versions = [jax.__version__]
    for package in ("jaxlib", "libtpu"):
        try:
            versions.append(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            versions.append("none")
    places = [(device.device_kind, list(getattr(device, "coords", ()))) for device in devices]
    key = hashlib.sha256(json.dumps([versions, options, places, text]).encode()).hexdigest()[:32]
    return os.path.join(os.path.expanduser(folder), f"{key}.json.gz")
