"""Brings pools into the form that spikes can compute (docs/semantics.md §2).

Average pool: the divisor at output position p is d_p; with L the least common multiple of all d_p it is
a sum pool of multiplicity L/d_p and a factor 1/L, exactly. Max pool commutes with any
non-decreasing activation, so MaxPool → σ becomes σ → MaxPool and its operand is non-negative.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np

from snnc.ir.constants import Constant
from snnc.ir.context import Context
from snnc.ir.network import Network
from snnc.ir.ops import AveragePool, Clip, Level, MaxPool, Relu, Scale, SumPool
from snnc.passes.base import Pass, Promise
from snnc.passes.rewriting import rewrite, sole_user


@dataclasses.dataclass(frozen=True)
class LowerPooling(Pass):
    """Average pools to sum pools and a factor; activations before max pools."""

    name: ClassVar[str] = "lower-pooling"
    promise: ClassVar[Promise] = Promise.SAME_FUNCTION
    level: ClassVar[Level] = "ann"

    def apply(self, network: Network, context: Context) -> Network:
        """The network without average pools."""
        self.require_level(network)
        return rewrite(network, (average_to_sum, activation_before_max))


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


def activation_before_max(network: Network, node: int) -> bool:
    """σ(MaxPool(x)) = MaxPool(σ(x)) for σ a ReLU or clip."""
    activation = network.op(node)
    if not isinstance(activation, Relu | Clip):
        return False
    (source,) = network.operands(node)
    pool = network.op(source)
    if not isinstance(pool, MaxPool) or sole_user(network, source) is None:
        return False
    inner = network.add(activation.replace(source=f"{activation.source}#unpooled"), *network.operands(source))
    network.set(node, pool.replace(source=activation.source), [inner])
    return True
