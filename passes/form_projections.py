"""Brings everything between two populations into projections (docs/semantics.md §3).

Afterwards a population's operand is one weighted op or a sum of weighted ops, each with one user; a path
without weights has an identity projection; and all biases are summed into the population's own.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import ONE, Add, IfNeuron, Level, Readout, Scale, Weighted, has_time, merge_origins
from snnc.passes.base import Pass, Promise


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
        for population in list(result.of(IfNeuron, Readout)):
            _form(result, population)
        result.prune()
        return result


def _form(network: Network, population: int) -> None:
    op = network.op(population)
    assert isinstance(op, IfNeuron | Readout)
    (operand,) = network.operands(population)
    shape = network.type(operand).shape
    if len(shape) not in (1, 3):
        raise CompileError.of(
            "SNNC0120",
            f"a population of shape {list(shape)} is neither [C] nor [C, H, W]",
            where=op.origin,
            remedy="flatten the tensor or give it two spatial axes",
        )
    join = network.op(operand)
    # an identity skip belongs to the join, not to the population that it comes from
    place = join.origin if isinstance(join, Add) else op.origin
    bias = op.bias.array
    projections = []
    for term in _terms(network, operand):
        weighted = network.op(term)
        if not isinstance(weighted, Weighted):
            projections.append(network.add(Scale(weight=ONE, origin=place), term))
            continue
        if weighted.bias is not None:
            bias = np.add(*aligned(bias, weighted.bias.array))
        projections.append(network.add(weighted.replace(bias=None), *network.operands(term)))
    joined = projections[0]
    if len(projections) > 1:
        joined = network.add(Add(origin=place), *projections)
    origin = merge_origins(*(network.op(p) for p in projections), op)
    network.set(population, op.replace(bias=Constant(bias), origin=origin), [joined])


def _terms(network: Network, node: int) -> list[int]:
    """The summands of a possibly nested sum, in order."""
    if not isinstance(network.op(node), Add):
        return [node]
    return [term for source in network.operands(node) for term in _terms(network, source)]


def aligned(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Two parameters, each [], [C] or [C, H, W] and perhaps with a time axis, made to broadcast."""
    rank = max(_own_rank(a), _own_rank(b))
    return _widen(a, rank), _widen(b, rank)


def _own_rank(value: Floats) -> int:
    """How many of the population's axes a parameter has; rank 2 and 4 hold a time axis."""
    return value.ndim - 1 if has_time(value) else value.ndim


def _widen(value: Floats, rank: int) -> Floats:
    missing = rank - _own_rank(value)
    return value.reshape(value.shape + (1,) * missing) if value.ndim else value
