"""Brings everything between two populations into projections (docs/semantics.md §3).

Afterwards a population's operand is one weighted op or a sum of weighted ops, each with one user; a path
without weights has an identity projection; and all biases are summed into the population's own.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from snnc.diagnostics import CompileError
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import ONE, Add, IfNeuron, Level, Readout, Scale, Weighted, has_time, merge_origins
from snnc.ir.projections import SOURCES, paths
from snnc.passes.base import Pass, Promise

Array = npt.NDArray[Any]

MOST_PROJECTIONS = 1 << 15
"""Sums of sums without activations between them multiply projections without end."""


@dataclasses.dataclass(frozen=True)
class FormProjections(Pass):
    """One weighted op on every path into a population, biases in the population."""

    name: ClassVar[str] = "form-projections"
    promise: ClassVar[Promise] = Promise.SAME_FUNCTION
    level: ClassVar[Level] = "snn"

    def apply(self, network: Network, context: Context) -> Network:
        """The network in projection form."""
        self.require_level(network)
        result = network.copy()
        projections = 0
        for population in list(result.of(IfNeuron, Readout)):
            projections += _form(result, population)
            if projections > MOST_PROJECTIONS:
                raise CompileError.of(
                    "SNNC0104",
                    f"the network has more than {MOST_PROJECTIONS} projections",
                    where=result.op(population).origin,
                    remedy="put activations on sums that many later sums take up",
                )
        result.prune()
        return result


def _form(network: Network, population: int) -> int:
    """Bring one population into projection form; returns how many projections it has."""
    op = network.op(population)
    assert isinstance(op, IfNeuron | Readout)
    (operand,) = network.operands(population)
    shape = network.type(operand).shape
    if len(shape) not in (1, 3):
        what = "an output" if isinstance(op, Readout) else "a population"
        raise CompileError.of(
            "SNNC0120",
            f"{what} of shape {list(shape)} is neither [C] nor [C, H, W]",
            where=op.origin,
            remedy="flatten the tensor or give it two spatial axes",
        )
    join = network.op(operand)
    # an identity skip belongs to the join, not to the population that it comes from
    place = join.origin if isinstance(join, Add) else op.origin
    bias = op.bias.array
    projections = []
    for term, times in _terms(network, operand).items():
        weighted = network.op(term)
        if not isinstance(weighted, Weighted):
            projections.append(network.add(Scale(weight=_times(ONE, times), origin=place), term))
            continue
        if weighted.bias is not None:
            bias = np.add(*aligned(bias, float(times) * weighted.bias.array))
        _require_source(network, term)
        weight = _times(weighted.weight, times)
        projections.append(network.add(weighted.replace(weight=weight, bias=None), *network.operands(term)))
    joined = projections[0]
    if len(projections) > 1:
        joined = network.add(Add(origin=place), *projections)
    origin = merge_origins(*(network.op(p) for p in projections), op)
    network.set(population, op.replace(bias=Constant(bias), origin=origin), [joined])
    return sum(len(paths(network, p)) for p in projections)


def _require_source(network: Network, term: int) -> None:
    """Raise CompileError unless only address maps lie between a weighted op and its sources."""
    ends = (*SOURCES, Weighted, Add)
    for operand in network.operands(term):
        for node in network.upstream(operand, lambda n: isinstance(network.op(n), ends)):
            op = network.op(node)
            if isinstance(op, Weighted | Add):
                raise CompileError.of(
                    "SNNC0120",
                    "weights follow weights without a population between them",
                    where=merge_origins(op, network.op(term)),
                    remedy="put neurons between them, or multiply them into one",
                )


def _terms(network: Network, node: int) -> dict[int, int]:
    """The summands of a possibly nested sum, in order, and how often each is added: x + x is 2·x."""
    reached = network.upstream(node, lambda n: not isinstance(network.op(n), Add))
    times = dict.fromkeys(reached, 0) | {node: 1}
    for join in reversed(reached):
        if isinstance(network.op(join), Add):
            for source in network.operands(join):
                times[source] += times[join]
    return {n: count for n, count in times.items() if not isinstance(network.op(n), Add)}


def _times(weight: Constant, times: int) -> Constant:
    return weight if times == 1 else Constant(weight.array * float(times))


def aligned(a: Array, b: Array) -> tuple[Array, Array]:
    """Two parameters, each [], [C] or [C, H, W] and perhaps with a time axis, made to broadcast."""
    rank = max(_own_rank(a), _own_rank(b))
    return _widen(a, rank), _widen(b, rank)


def _own_rank(value: Array) -> int:
    """How many of the population's axes a parameter has; rank 2 and 4 hold a time axis."""
    return value.ndim - 1 if has_time(value) else value.ndim


def _widen(value: Array, rank: int) -> Array:
    missing = rank - _own_rank(value)
    return value.reshape(value.shape + (1,) * missing) if value.ndim else value
