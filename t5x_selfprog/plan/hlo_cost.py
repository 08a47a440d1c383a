"""What a compiled TPU program costs, read from its text: cycles of its fusions, bytes of its collectives.

`cost_analysis()` counts the body of a loop once, and its time is useless. The optimised program, however, carries the
compiler's estimate for every fusion ("estimated_cycles") and the trip count of every loop, so a sum over the call graph
gives the core's cycles. It leaves out custom calls (Pallas kernels), which the caller must add, and collectives, which
are counted here in bytes.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Sequence

from t5x_selfprog.plan.links import first_group

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.$-]+) .*\{\s*$")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r"condition=%?([\w.$-]+)")
_CONSTANT = re.compile(r"= s32\[\]\S* constant\((\d+)\)")
_COMMENT = re.compile(r"/\*.*?\*/")
_BODY = re.compile(r"body=%?([\w.$-]+)")
_CALLED = re.compile(r"(?:to_apply|called_computations|branch_computations|calls)=\{?%?([\w.$%, -]+)\}?")
_OPERATION = re.compile(r"=\s*(\([^=]*?\)|\S+)\s+([a-z][\w-]*)\(")
_SHAPE = re.compile(r"(pred|s4|u4|s8|u8|f8\w*|s16|u16|bf16|f16|s32|u32|f32|s64|u64|f64)\[([\d,]*)\]")
_WIDTH = {"pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2}
_WIDTH |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
# What a chip receives in a collective among n chips (n = 0: unknown, taken as many), in units of its result's size.
COLLECTIVES: dict[str, Callable[[int], float]] = {
    "all-gather": lambda n: _others(n),
    "all-reduce": lambda n: 2 * _others(n),  # as a reduce-scatter and an all-gather
    "reduce-scatter": lambda n: max(n - 1, 1),
    "all-to-all": lambda n: _others(n),
    "collective-permute": lambda n: 1.0,
}
_CHANNEL = re.compile(r"channel_id=(\d+)")
LinksOf = Callable[[Sequence[int]], int]


@dataclasses.dataclass
class Cost:
    """The cost of one run of a program on one chip.

    Attributes:
      cycles: of the core, by the compiler's estimate, without custom calls and collectives.
      collective_bytes: what a chip receives, by kind.
      bytes_by_links: the same, by the number of links over which it arrives.
      dcn_bytes: what a chip sends to its host and the data-centre network, in collectives between slices.
      custom_calls: how often each target is called.
      unknown_loops: loops without a known trip count, counted once.
    """

    cycles: float = 0.0
    collective_bytes: dict[str, float] = dataclasses.field(default_factory=lambda: defaultdict(float))
    bytes_by_links: dict[int, float] = dataclasses.field(default_factory=lambda: defaultdict(float))
    dcn_bytes: float = 0.0
    custom_calls: dict[str, float] = dataclasses.field(default_factory=lambda: defaultdict(float))
    unknown_loops: int = 0

    def add(self, other: "Cost", times: float = 1.0) -> None:
        self.cycles += times * other.cycles
        self.dcn_bytes += times * other.dcn_bytes
        for name, value in other.collective_bytes.items():
            self.collective_bytes[name] += times * value
        for links, value in other.bytes_by_links.items():
            self.bytes_by_links[links] += times * value
        for name, value in other.custom_calls.items():
            self.custom_calls[name] += times * value
        self.unknown_loops += other.unknown_loops


def cost_of(text: str, links_of: LinksOf = lambda group: 1) -> Cost:
    """The cost of a compiled program, from its text (`compiled.as_text()`).

    Args:
      links_of: the number of links at the worst placed chip of a group (links.Wires.links).
    """
    lines_of: dict[str, list[str]] = {}
    entry, current = "", ""
    for line in _COMMENT.sub("", text).splitlines():
        found = _COMPUTATION.match(line)
        if found and not line.startswith(" "):
            current = found[1]
            lines_of[current] = []
            if line.startswith("ENTRY"):
                entry = current
        elif current:
            lines_of[current].append(line)
    known: dict[str, Cost] = {}

    def visit(name: str) -> Cost:
        if name in known:
            return known[name]
        total = known[name] = Cost()
        # A collective may appear twice: where it starts and where it is waited for.
        channels: set[str] = set()
        for line in lines_of.get(name, ()):
            operation = _OPERATION.search(line)
            if not operation:
                continue
            shape, kind = operation.groups()
            if kind == "fusion":
                _add_fused(total, line, lines_of, channels, links_of)
            elif kind.removesuffix("-start") in COLLECTIVES:
                _add_collective(total, line, shape, kind, channels, links_of)
            _add_line(total, line, shape, kind, visit, lines_of)
        return total

    return visit(entry)


def _add_line(total: Cost, line: str, shape: str, kind: str, visit, lines_of) -> None:
    cycles = _CYCLES.search(line)
    if cycles:
        total.cycles += float(cycles[1])
    if kind == "send" and "xla_megascale" in line:
        total.dcn_bytes += _bytes(shape, started=True)
    elif kind == "custom-call":
        target = re.search(r'custom_call_target="([^"]+)"', line)
        total.custom_calls[target[1] if target else "?"] += 1
    elif kind == "while":
        body, trips = _BODY.search(line), _trips(line, lines_of)
        if body:
            total.add(visit(body[1]), trips or 1)
            total.unknown_loops += trips is None
    elif kind in ("call", "conditional", "async-start"):
        called = _CALLED.search(line)
        for name in called[1].replace("%", "").split(",") if called else ():
            if name.strip() in lines_of:
                total.add(visit(name.strip()))


def _add_fused(
    total: Cost, line: str, lines_of: dict[str, list[str]], channels: set[str], links_of: LinksOf
) -> None:
    """The collectives inside a fusion: the compiler wraps those that it overlaps with other work."""
    called = _CALLED.search(line)
    name = called[1].replace("%", "").split(",")[0].strip() if called else ""
    for inner in lines_of.get(name, ()):
        operation = _OPERATION.search(inner)
        if operation and operation[2] in COLLECTIVES:
            # A fused all-reduce of which each chip keeps only its part is half of one: the reduce-scatter.
            half = operation[2] == "all-reduce" and "all-reduce-scatter" in name
            _add_collective(
                total, inner, operation[1], operation[2], channels, links_of, 0.5 if half else 1.0
            )
        elif operation and operation[2] == "fusion":
            _add_fused(total, inner, lines_of, channels, links_of)


def _add_collective(
    total: Cost, line: str, shape: str, kind: str, channels: set[str], links_of: LinksOf, share: float = 1.0
) -> None:
    channel = _CHANNEL.search(line)
    if channel:
        if channel[1] in channels:
            return
        channels.add(channel[1])
    base = kind.removesuffix("-start")
    group = first_group(line) or []
    if base == "reduce-scatter" and not group:
        received = _operand_bytes(line)
    else:
        received = share * COLLECTIVES[base](len(group)) * _bytes(shape, started=kind != base)
    total.collective_bytes[base] += received
    total.bytes_by_links[links_of(group) if group else 1] += received


def _others(count: int) -> float:
    return (count - 1) / count if count else 1.0


def _trips(line: str, lines_of: dict[str, list[str]]) -> int | None:
    """A loop's trip count: the compiler's note, or the only bound that its condition compares with.

    JAX's loops of a fixed length count from 0 by 1.
    """
    known, condition = _TRIPS.search(line), _CONDITION.search(line)
    if known:
        return int(known[1])
    lines = lines_of.get(condition[1], []) if condition else []
    bounds = [int(found[1]) for text in lines if (found := _CONSTANT.search(text))]
    compared = any("direction=LT" in text for text in lines)
    return bounds[0] if len(bounds) == 1 and compared else None


def _bytes(shape: str, started: bool) -> float:
    """Bytes of a result; that of a `-start` is a tuple of operand and result, of which the larger counts."""
    sizes = [_size(*found) for found in _SHAPE.findall(shape)]
    if not sizes:
        return 0.0
    return max(sizes) if started else sum(sizes)


def _operand_bytes(line: str) -> float:
    """Bytes of the largest array named on the line: a reduce-scatter's operand."""
    return max((_size(*found) for found in _SHAPE.findall(line)), default=0.0)


def _size(dtype: str, dimensions: str) -> float:
    count = 1
    for dimension in dimensions.split(","):
        count *= int(dimension) if dimension else 1
    return count * _WIDTH.get(dtype, 1)
