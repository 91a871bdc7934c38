"""Operations and live bytes of a program, counted in its jaxpr. Every loop counts as often as it runs.

XLA's own cost analysis counts the body of a loop once; a policy is a scan over its layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from jax.extend import core


@dataclass(frozen=True)
class Loops:
    """Loop and branch counts that a jaxpr does not contain.

    trips: iterations of a `while` (decoding: tokens). last_branch: share of runs in which a `cond` takes its last
    branch (vision tower: the share of layers with full attention).
    """

    trips: int = 1
    last_branch: float = 1.0


def inner_jaxprs(equation: Any, loops: Loops) -> list[tuple[Any, float]]:
    """Return the jaxprs that an equation runs, and how often."""
    parameters, name = equation.params, equation.primitive.name
    if name == "pallas_call":  # the kernel runs at every point of its grid; skipped blocks count too
        return [(parameters["jaxpr"], prod(parameters["grid_mapping"].grid))]
    if name == "shard_map":  # the body of one device, on all devices
        return [(parameters["jaxpr"], parameters["mesh"].size)]
    if name == "scan":
        return [(parameters["jaxpr"].jaxpr, parameters["length"])]
    if name == "while":
        return [(parameters[part].jaxpr, loops.trips) for part in ("cond_jaxpr", "body_jaxpr")]
    if name == "cond":
        *others, last = parameters["branches"]
        share = (1 - loops.last_branch) / max(1, len(others))
        return [*((other.jaxpr, share) for other in others), (last.jaxpr, loops.last_branch)]
    found = [_plain(value) for value in parameters.values()]
    return [(jaxpr, 1) for jaxpr in found if jaxpr is not None]


def count_flops(jaxpr: core.Jaxpr, loops: Loops) -> float:
    """Return the operations of all matrix products (two per multiply-add). Elementwise operations are not counted."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * prod(equation.outvars[0].aval.shape) * prod(left[axis] for axis in contracted)
        # The branches of a kernel choose between its blocks; `loops` does not describe them.
        within = Loops() if equation.primitive.name == "pallas_call" else loops
        for inner, times in inner_jaxprs(equation, loops):
            total += times * count_flops(inner, within)
    return total


def count_product_bytes(jaxpr: core.Jaxpr, loops: Loops, of: Callable[[Any], float]) -> float:
    """Return the bytes that matrix products read and write if everything else is fused into them.

    of: returns the bytes of an array (its aval) on one chip.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += sum(of(variable.aval) for variable in (*equation.invars, *equation.outvars))
        for inner, times in inner_jaxprs(equation, loops):
            total += times * count_product_bytes(inner, loops, of)
    return total


# These take no memory: the compiler fuses them into the operation that reads them.
FUSED = {
    *("add", "sub", "mul", "div", "neg", "exp", "log", "max", "min", "select_n", "convert_element_type", "integer_pow"),
    *("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "rsqrt", "sqrt", "logistic", "cos", "sin"),
    *(
        "slice",
        "iota",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "and",
        "or",
        "not",
        "stop_gradient",
        "copy",
        "square",
        "tanh",
    ),
    *("erf", "erfc", "sign", "abs", "pad", "rev", "sharding_constraint", "dynamic_slice", "optimization_barrier"),
    *("add_any", "mul_add", "erf_inv", "pow", "is_finite", "shift_right_logical", "xor", "shift_left", "name"),
}


def live_bytes(jaxpr: core.Jaxpr, loops: Loops, of: Callable[[Any], float]) -> float:
    """Return the peak of live bytes, without the arguments; FUSED operations take none.

    This is an estimate: the compiler may choose another order and may copy arrays.

    of: as in `count_product_bytes`.
    """
    behind: dict[Any, frozenset[Any]] = {}  # variable -> arrays in memory that it is computed from
    size: dict[Any, float] = {}
    last: dict[Any, int] = {}

    def sources(variables: Any) -> frozenset[Any]:
        known = (behind.get(variable) for variable in variables if isinstance(variable, core.Var))
        return frozenset().union(*(each for each in known if each))

    for number, equation in enumerate(jaxpr.eqns):
        read = sources(equation.invars)
        last.update(dict.fromkeys(read, number))
        for variable in equation.outvars:
            if equation.primitive.name in FUSED:
                behind[variable] = read
            else:
                behind[variable], size[variable], last[variable] = frozenset([variable]), of(variable.aval), number
    last.update(dict.fromkeys(sources(jaxpr.outvars), len(jaxpr.eqns)))

    most = now = 0.0
    ends: dict[int, list[Any]] = {}
    for variable, number in last.items():
        ends.setdefault(number, []).append(variable)
    for number, equation in enumerate(jaxpr.eqns):
        results = sum(size.get(variable, 0.0) for variable in equation.outvars)
        inside = max((live_bytes(inner, loops, of) for inner, _ in inner_jaxprs(equation, loops)), default=0.0)
        if equation.primitive.name not in ("scan", "while"):  # the results of a called jaxpr are those of the call
            inside = max(0.0, inside - results)
        now += results
        most = max(most, now + inside)
        now -= sum(size[variable] for variable in ends.get(number, ()))
    return most


def _plain(value: Any) -> core.Jaxpr | None:
    if isinstance(value, core.ClosedJaxpr):
        return value.jaxpr
    return value if isinstance(value, core.Jaxpr) else None
