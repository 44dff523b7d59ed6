"""Brings pools into the form that spikes can compute (docs/semantics.md §2).

Average pool: the divisor at output position p is d_p; with L the least common multiple of all d_p it is
a sum pool of multiplicity L/d_p and a factor 1/L, exactly. Max pool commutes with any
non-decreasing activation, so MaxPool → σ becomes σ → MaxPool and its operand is non-negative.

Its spiking form counts spikes exactly (``count-max``) or, under the schedule ``rate``, lets those of the
input through that leads so far (``leading``, Rueckauer 2017 §2.2.4), which passes too many. For hardware
that cannot pass the busiest of several inputs, ``average`` puts the mean in its place.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal

import numpy as np

from snnc.ir.address import sum_pool
from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Clip,
    Conv2d,
    Dense,
    FakeQuant,
    Input,
    Level,
    MaxPool,
    Op,
    Relu,
    Scale,
    SumPool,
    Weighted,
)
from snnc.passes.base import Pass, Promise
from snnc.passes.rewriting import rewrite, sole_user


@dataclasses.dataclass(frozen=True)
class LowerPooling(Pass):
    """Average pools to sum pools and a factor; activations before max pools, or averages for them."""

    name: ClassVar[str] = "lower-pooling"
    promise: ClassVar[Promise] = Promise.SAME_FUNCTION
    level: ClassVar[Level] = "ann"

    max: Literal["count-max", "leading", "average"] = "count-max"

    def guarantee(self) -> Promise:
        """An average in the place of a maximum is an approximation."""
        return Promise.APPROXIMATE if self.max == "average" else self.promise

    def apply(self, network: Network, context: Context) -> Network:
        """The network without average pools, and without max pools if they become averages."""
        self.require_level(network)
        result = rewrite(network, (average_to_sum, activation_before_max))
        if self.max == "average":
            return rewrite(result, (max_to_average, average_to_sum))
        for node in list(result.of(MaxPool)):
            result.set(node, result.op(node).replace(gate=self.max))
            if rectify_before_max(result, node):
                context.diagnostics.warning(
                    "SNNC0126",
                    "a population stands in for a linear edge before a max pool; the loss is in the report",
                    where=result.op(node).origin,
                )
        return result


def average_to_sum(network: Network, node: int) -> bool:
    """AveragePool(x) = (1/L)·SumPool(x) with multiplicity L/d_p."""
    op = network.op(node)
    if not isinstance(op, AveragePool):
        return False
    divisors = op.divisors.array
    common = math.lcm(*map(int, np.unique(divisors)))
    multiplicity = None if (divisors == common).all() else Constant(common // divisors)
    pool = SumPool(
        kernel=op.kernel,
        strides=op.strides,
        pads=op.pads,
        multiplicity=multiplicity,
        origin=op.origin,
    )
    total = network.add(pool, *network.operands(node))
    network.set(node, Scale(weight=Constant(1.0 / common), origin=op.origin, source=op.source), [total])
    return True


def max_to_average(network: Network, node: int) -> bool:
    """The mean over the elements that MaxPool would compare."""
    op = network.op(node)
    if not isinstance(op, MaxPool):
        return False
    window = SumPool(kernel=op.kernel, strides=op.strides, pads=op.pads)
    elements = sum_pool(window, np.ones((1, *network.operand_types(node)[0].shape[1:]), np.int64))
    mean = AveragePool(
        kernel=op.kernel,
        strides=op.strides,
        pads=op.pads,
        divisors=Constant(np.maximum(elements[0], 1)),
        origin=op.origin,
        source=op.source,
    )
    network.set(node, mean)
    return True


def rectify_before_max(network: Network, node: int) -> bool:
    """MaxPool(x) = MaxPool(max(0, x)) for an x ≥ 0: a gate takes spikes, which only an activation emits."""
    (source,) = network.operands(node)
    ends = (Relu, Clip, FakeQuant, Conv2d, Dense, Input)
    reached = network.upstream(source, lambda n: isinstance(network.op(n), ends))
    least: dict[int, bool] = {}
    for n in reached:
        least[n] = _never_negative(network.op(n), [least[s] for s in network.operands(n) if s in least])
    linear = any(isinstance(network.op(n), Weighted | Add | SumPool) for n in reached)
    if not linear or not least[source]:
        return False
    op = network.op(source)
    rectified = network.add(Relu(origin=op.origin, source=f"{op.source}#rectified"), source)
    network.set(node, network.op(node), [rectified])
    return True


def _never_negative(op: Op, operands: list[bool]) -> bool:
    """Whether a result has no negative element, given that of the operands."""
    if isinstance(op, Relu | Clip):
        return True
    if isinstance(op, FakeQuant):
        return op.low >= 0
    if isinstance(op, Scale):
        parameters = [op.weight] if op.bias is None else [op.weight, op.bias]
        return all(operands) and all((p.array >= 0).all() for p in parameters)
    return not isinstance(op, Weighted | Input | BatchNorm) and all(operands)


def activation_before_max(network: Network, node: int) -> bool:
    """σ(MaxPool(x)) = MaxPool(σ(x)) for σ a ReLU, a clip or a quantization."""
    activation = network.op(node)
    if not isinstance(activation, Relu | Clip | FakeQuant):
        return False
    (source,) = network.operands(node)
    pool = network.op(source)
    if not isinstance(pool, MaxPool) or sole_user(network, source) is None:
        return False
    inner = network.add(activation.replace(source=f"{activation.source}#unpooled"), *network.operands(source))
    network.set(node, pool.replace(source=activation.source), [inner])
    return True
