"""One projection into a population, and what is proved of it before anything runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.backends.reference.drive import Clock
from snnc.ir.network import Network
from snnc.ir.ops import Conv2d, Delay, IfNeuron, Input, MaxGate, Op, Scale, SumPool, Weighted
from snnc.ir.projections import incoming
from snnc.ir.types import Real, Shape

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Part:
    """A weighted op whose operand [C, H, W] or [C] holds integers within ``low`` and ``high``, or reals.

    With a ``pool`` between them, a sum of windows that do not overlap, the operand is what enters the pool.
    """

    op: Weighted
    shape: Shape
    low: int
    high: int
    timed: bool
    pool: SumPool | None = None

    @classmethod
    def of(cls, network: Network, node: int, source: int, clock: Clock, timed: set[int]) -> Part:
        """What ``node`` makes of the value of ``source``; ``timed`` are the nodes not constant in time."""
        op = network.op(node)
        assert isinstance(op, Weighted)
        (operand,) = network.operands(node)
        pool = network.op(operand) if operand != source else None
        assert pool is None or isinstance(pool, SumPool)
        kind = network.type(source)
        if isinstance(kind.element, Real):
            return cls(op, kind.shape, 0, 0, False)
        gain = clock.gain if source in timed else 1
        low, high = kind.element.lo * gain, kind.element.hi * gain
        return cls(op, kind.shape, low, high, source in timed, pool)

    @property
    def peak(self) -> int:
        """The largest magnitude of the operand."""
        return max(-self.low, self.high)

    @property
    def depthwise(self) -> bool:
        """Whether every channel feeds itself alone."""
        op = self.op
        if isinstance(op, Conv2d):
            return op.groups == op.weight.shape[0] == self.shape[0]
        return isinstance(op, Scale)

    @property
    def dense(self) -> bool:
        """Whether every channel feeds every channel."""
        return not isinstance(self.op, Scale) and getattr(self.op, "groups", 1) == 1

    @property
    def fits_bytes(self) -> bool:
        """Whether unsigned times signed bytes are exact on every processor.

        Those without a dot product of bytes add two neighbouring products in 16 bits and saturate there.
        """
        if not self.dense or self.low < 0 or self.high > np.iinfo(np.uint8).max:
            return False
        most = largest(self.op.weight.array)
        return most <= np.iinfo(np.int8).max and 2 * self.high * most <= np.iinfo(np.int16).max

    def pooled(self) -> Part:
        """The part behind the pool."""
        if self.pool is None:
            return self
        area = math.prod(self.pool.kernel)
        shape = (self.shape[0], *self.pool.extent(self.shape))
        return Part(self.op, shape, self.low * area, self.high * area, self.timed)

    def range(self) -> fixedpoint.Range:
        """The least and the largest sum of one entry, per channel or for all, before the shift."""
        weight = self.op.weight.array
        matrix = weight.reshape(weight.shape[0] if weight.ndim else 1, -1)
        seen = self.pooled()
        return fixedpoint.Range(*fixedpoint.product_range(matrix, seen.low, seen.high))

    def matrix(self) -> Array:
        """The weights of a dense part as [kh, kw, C, M], those of a diagonal one as [kh, kw, C]."""
        weight = self.op.weight.array
        if isinstance(self.op, Conv2d):
            return weight[:, 0].transpose(1, 2, 0) if self.depthwise else weight.transpose(2, 3, 1, 0)
        if isinstance(self.op, Scale):
            return np.broadcast_to(weight, self.shape[:1])[None, None]
        return weight.T[None, None]


def largest(weights: Array) -> int:
    """The largest magnitude, without a copy in wider integers."""
    return max(int(weights.max()), -int(weights.min()))


def joined_range(parts: Sequence[Part], unit: int) -> tuple[int, int]:
    """The least and the largest sum of all parts, in units of 2^``unit``."""
    ranges = [(part.range(), part.op.shift - unit) for part in parts]
    low = sum((r.low.astype(object) << shift for r, shift in ranges), np.zeros(1, object))
    high = sum((r.high.astype(object) << shift for r, shift in ranges), np.zeros(1, object))
    return int(low.min()), int(high.max())


def timed_nodes(network: Network) -> set[int]:
    """The nodes whose value is not constant in time: events, and what stands below a population."""
    timed: set[int] = set()
    for node in network.nodes:
        op = network.op(node)
        varies = isinstance(op, IfNeuron | MaxGate | Delay) or (
            isinstance(op, Input) and op.coding == "events"
        )
        if varies or any(source in timed for source in network.operands(node)):
            timed.add(node)
    return timed


def parts_of(network: Network, node: int, clock: Clock, timed: set[int]) -> tuple[tuple[int, Part], ...]:
    """The parts of a population or readout, each with the node whose value it weighs."""
    found = []
    for weighted in incoming(network, node):
        (source,) = network.operands(weighted)
        if source in timed and _by_address(network.op(source)):
            (source,) = network.operands(source)
        found.append((source, Part.of(network, weighted, source, clock, timed)))
    return tuple(found)


def _by_address(op: Op) -> bool:
    """Whether it is a pool that a spike can pass by its address: every input is in one window at most."""
    return isinstance(op, SumPool) and op.kernel == op.strides and not any(op.pads) and not op.multiplicity
