"""Bytes that a compiled TPU program moves, counted in its text. Every loop counts as often as it runs.

Counted are arrays in HBM that an instruction reads or writes, and bytes that collectives receive from other chips.
Arrays in the chip's vector memory (S(1) in a layout) are free. An operand that is only sliced counts as its slice, such
as stacked weights in a scan over layers.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from math import prod

from mobile_r1_jax.planning.flops import Loops

BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "f64": 8, "s64": 8}
NOTHING_MOVES = {
    *(
        "parameter",
        "constant",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "partition-id",
        "replica-id",
        "after-all",
        "iota",
    ),
    *("while", "conditional", "call", "opt-barrier", "add-dependency"),
}
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
SLICES = ("dynamic-slice", "slice", "gather")


@dataclass(frozen=True)
class Traffic:
    """Bytes of one chip in one call: memory traffic, and bytes received from other chips."""

    memory: float
    links: float


@dataclass(frozen=True)
class Instruction:
    name: str
    shape: str  # as in the text, with layouts; for a tuple: all its arrays
    opcode: str
    operands: tuple[str, ...]
    attributes: str

    @cached_property
    def hbm(self) -> float:
        """Bytes of the result in HBM."""
        return sum(size for size, in_hbm in _arrays(self.shape) if in_hbm)

    @cached_property
    def size(self) -> float:
        return sum(size for size, _ in _arrays(self.shape))

    def called(self, attribute: str) -> list[str]:
        """Return the computations that an attribute names, such as `body=%b` or `branch_computations={%a, %b}`."""
        found = re.search(attribute + r"=(\{[^}]*\}|%[\w.-]+)", self.attributes)
        return re.findall(r"%([\w.-]+)", found.group(1)) if found else []


Computations = dict[str, dict[str, Instruction]]


def count_traffic(text: str, loops: Loops) -> Traffic:
    """Return the traffic of the program `text` (`compiled.as_text()`).

    loops: as in flops.py. A loop with a data-dependent condition runs `loops.trips` times; any other loop runs as often
    as its condition states.
    """
    computations, entry = parse(text)
    collectives: dict[str, float] = {}
    memory = _count_memory(computations, entry, 1.0, loops, collectives)
    return Traffic(memory, sum(collectives.values()))


def parse(text: str) -> tuple[Computations, str]:
    """Return computation name -> instruction name -> instruction, and the name of the entry computation."""
    computations: Computations = {}
    current: dict[str, Instruction] = {}
    entry = ""
    for line in text.splitlines():
        if header := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\) -> .* \{$", line):
            current = computations.setdefault(header.group(2), {})
            entry = header.group(2) if header.group(1) else entry
        elif found := re.match(r"\s+(?:ROOT )?%([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)$", line):
            name, shape, opcode, rest = found.groups()
            inside, _, attributes = rest.partition(")")
            operands = (inside,) if opcode == "constant" else tuple(re.findall(r"%([\w.-]+)", inside))
            if opcode == "parameter":
                operands = (inside,)
            current[name] = Instruction(name, shape, opcode, operands, attributes)
    return computations, entry


def trip_count(condition: dict[str, Instruction]) -> int | None:
    """Return the trip count of a loop that counts from 0 to a constant; None for any other condition."""
    *_, root = condition.values()
    if root.opcode != "compare" or "direction=LT" not in root.attributes:
        return None
    limits = [condition[name] for name in root.operands if condition[name].opcode == "constant"]
    return int(limits[0].operands[0]) if limits else None


def _count_memory(
    computations: Computations, name: str, times: float, loops: Loops, collectives: dict[str, float], moves: bool = True
) -> float:
    """Return the memory traffic of `times` runs of a computation; add the bytes of its collectives to `collectives`.

    Each channel counts once, because the text of an asynchronous collective is repeated in several fusions.
    """
    memory = 0.0
    within = computations[name]
    for one in within.values():
        if one.opcode == "while":
            (condition,), (body,) = one.called("condition"), one.called("body")
            known = trip_count(computations[condition])
            runs = times * (loops.trips if known is None else known)
            memory += _count_memory(computations, body, runs, loops, collectives, moves)
        elif one.opcode == "conditional":
            *others, last = one.called("branch_computations") or (
                one.called("false_computation") + one.called("true_computation")
            )
            for branch in others:
                share = (1 - loops.last_branch) / len(others)
                memory += _count_memory(computations, branch, times * share, loops, collectives, moves)
            memory += _count_memory(computations, last, times * loops.last_branch, loops, collectives, moves)
        elif one.opcode in ("call", "async-start"):
            for callee in one.called("to_apply") + one.called("calls"):
                memory += _count_memory(computations, callee, times, loops, collectives, moves)
        elif one.opcode == "fusion":
            _count_memory(computations, *one.called("calls"), times, loops, collectives, moves=False)
        if one.opcode.removesuffix("-start") in COLLECTIVES:
            channel = re.search(r"channel_id=(\d+)", one.attributes)
            key = channel.group(1) if channel else one.name
            collectives[key] = max(collectives.get(key, 0.0), times * _received_bytes(one))
        if moves:
            memory += times * _moved_bytes(one, within, computations)
    return memory


def _received_bytes(one: Instruction) -> float:
    """Return the bytes that a chip receives in a ring collective; its own share, 1 / chips, is included."""
    sizes = [size for size, _ in _arrays(one.shape)]
    if one.opcode.endswith("-start"):  # (operand, result, ...): the larger of the two is moved
        return max(sizes)
    return sum(sizes) * (2 if one.opcode == "all-reduce" else 1)


def _moved_bytes(one: Instruction, within: dict[str, Instruction], computations: Computations) -> float:
    """Return the bytes that one run of an instruction reads from HBM and writes to it."""
    if one.opcode in NOTHING_MOVES or one.opcode.endswith(("-done", "-update")) or one.opcode == "async-start":
        return 0.0
    operands = [within[name] for name in one.operands if name in within]
    if one.opcode.endswith("-start"):
        sizes = [size for size, _ in _arrays(one.shape)]
        if "slice" in one.opcode:  # (operands, slice, ...)
            return min(size for size in sizes if size > 4)
        return one.hbm  # (operand, result, ...)
    if one.opcode in SLICES:
        return one.size * (operands[0].hbm > 0) + one.hbm
    if one.opcode == "dynamic-update-slice":
        return operands[1].hbm + operands[1].size * (one.hbm > 0)
    if one.opcode != "fusion":
        return sum(operand.hbm for operand in operands) + one.hbm
    body = computations[one.called("calls")[0]]
    return _fusion_read_bytes(operands, body, computations) + _fusion_written_bytes(one, body)


def _fusion_read_bytes(operands: list[Instruction], body: dict[str, Instruction], computations: Computations) -> float:
    parameters, total = _parameters(body), 0.0
    for number, operand in enumerate(operands):
        read = _sliced_bytes(parameters[number].name, body, computations)
        total += operand.hbm if read is None else min(operand.hbm, read)
    return total


def _sliced_bytes(name: str, body: dict[str, Instruction], computations: Computations) -> float | None:
    """Return the bytes that a fusion reads of a value if it only reads slices of it; None if it reads all of it.

    Fusions within the fusion are included. An operand that is updated in place is not read.
    """
    if name == next(reversed(body)):  # the result
        return None
    total = 0.0
    for user in (each for each in body.values() if each.opcode != "parameter" and name in each.operands):
        if user.opcode in SLICES:
            total += user.size
            continue
        if user.opcode == "dynamic-update-slice":
            continue
        read = None
        if user.opcode == "bitcast":
            read = _sliced_bytes(user.name, body, computations)
        elif user.opcode == "fusion":
            within = computations[user.called("calls")[0]]
            parameter = _parameters(within)[user.operands.index(name)].name
            is_bitcast = {each.opcode for each in within.values()} == {"parameter", "bitcast"}
            read = (
                _sliced_bytes(user.name, body, computations)
                if is_bitcast
                else _sliced_bytes(parameter, within, computations)
            )
        if read is None:
            return None
        total += read
    return total


def _parameters(body: dict[str, Instruction]) -> dict[int, Instruction]:
    return {int(each.operands[0]): each for each in body.values() if each.opcode == "parameter"}


def _fusion_written_bytes(one: Instruction, body: dict[str, Instruction]) -> float:
    updates = [each for each in body.values() if each.opcode == "dynamic-update-slice" and each.size == one.size]
    if updates:  # the result is its operand, updated in place
        return sum(body[each.operands[1]].size for each in updates) * (one.hbm > 0)
    return one.hbm


def _arrays(shape: str) -> list[tuple[float, bool]]:
    """Return (bytes, is in HBM) of every array in the text of a shape."""
    found = re.findall(r"([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?", shape)
    return [
        (BYTES.get(kind, 4) * prod(int(size) for size in sizes.split(",") if size), "S(" not in layout)
        for kind, sizes, layout in found
    ]
