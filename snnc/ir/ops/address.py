"""Address maps: ops that only say which element goes where, and sum pooling.

They have no weights of their own, so a spike passes through them by address (docs/semantics.md §3).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from snnc import fixedpoint
from snnc.ir.constants import Constant
from snnc.ir.ops.base import SPIKING, Level, Op
from snnc.ir.ops.linear import window_count
from snnc.ir.types import Int, Shape, Spike, TensorType


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reshape(Op):
    """The same elements, in row-major order, under another shape; Flatten is Reshape to [n]."""

    mnemonic: ClassVar[str] = "reshape"

    shape: tuple[int, ...]

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """The number of elements stays."""
        if min(self.shape, default=1) < 1 or math.prod(self.shape) != operands[0].size:
            yield f"{operands[0]} does not fit into {list(self.shape)}"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The new shape."""
        return operands[0].with_shape(self.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transpose(Op):
    """Axis k of the result is axis ``perm[k]`` of the operand."""

    mnemonic: ClassVar[str] = "transpose"

    perm: tuple[int, ...]

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """``perm`` is a permutation of the axes."""
        if sorted(self.perm) != list(range(len(operands[0].shape))):
            yield f"{self.perm} does not permute the axes of {operands[0]}"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The permuted shape."""
        return operands[0].with_shape(tuple(operands[0].shape[a] for a in self.perm))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice(Op):
    """y = x[start:stop:step] on every axis; one entry of each field per axis, steps positive."""

    mnemonic: ClassVar[str] = "slice"

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """Bounds inside the operand and a result that is not empty."""
        shape = operands[0].shape
        if not len(shape) == len(self.starts) == len(self.stops) == len(self.steps):
            yield f"needs one start, stop and step per axis of {operands[0]}"
            return
        for axis, size in enumerate(shape):
            if not (0 <= self.starts[axis] < self.stops[axis] <= size and self.steps[axis] > 0):
                yield f"axis {axis} of {operands[0]} cannot be sliced that way"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The sliced shape."""
        bounds = zip(self.starts, self.stops, self.steps, strict=True)
        return operands[0].with_shape(tuple(len(range(*b)) for b in bounds))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pad(Op):
    """Zeros around the operand: ``before[k]`` and ``after[k]`` elements on axis k."""

    mnemonic: ClassVar[str] = "pad"

    before: tuple[int, ...]
    after: tuple[int, ...]

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """One non-negative pair per axis."""
        rank = len(operands[0].shape)
        if len(self.before) != rank or len(self.after) != rank:
            yield f"needs one pair of pads per axis of {operands[0]}"
        elif min((*self.before, *self.after), default=0) < 0:
            yield "pads must not be negative"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The padded shape."""
        sizes = zip(self.before, operands[0].shape, self.after, strict=True)
        return operands[0].with_shape(tuple(map(sum, sizes)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Concat(Op):
    """The operands one after the other along ``axis``."""

    mnemonic: ClassVar[str] = "concat"
    arity: ClassVar[tuple[int, int | None]] = (1, None)

    axis: int = 0

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """Equal extents on all other axes, elements of one kind."""
        if not 0 <= self.axis < len(operands[0].shape):
            yield f"{operands[0]} has no axis {self.axis}"
            return
        others = {x.shape[: self.axis] + x.shape[self.axis + 1 :] for x in operands}
        if len(others) > 1 or len({len(x.shape) for x in operands}) > 1:
            yield f"operands do not fit: {', '.join(map(str, operands))}"
        if len({type(x.element) for x in operands}) > 1:
            yield f"operands differ in kind: {', '.join(map(str, operands))}"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The joined shape; spike ranges widen to hold all operands."""
        shape = list(operands[0].shape)
        shape[self.axis] = sum(x.shape[self.axis] for x in operands)
        elements = [x.element for x in operands]
        element = elements[0]
        if isinstance(element, Spike):
            spikes = [e for e in elements if isinstance(e, Spike)]
            element = Spike(min(e.lo for e in spikes), max(e.hi for e in spikes))
        elif isinstance(element, Int):
            ints = [e for e in elements if isinstance(e, Int)]
            element = Int(fixedpoint.signed_bits(min(e.lo for e in ints), max(e.hi for e in ints)))
        return TensorType(element, tuple(shape))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool(Op):
    """A window over the two spatial axes; ``pads`` are top, left, bottom, right.

    The frontend resolves ceil_mode into ``pads``, so windows are counted by rounding down.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """A [C, H, W] operand that holds a window."""
        x = operands[0]
        if len(x.shape) != 3:
            yield f"needs a [C, H, W] operand, not {x}"
        elif min(*self.kernel, *self.strides) < 1 or min(self.pads) < 0:
            yield "kernel and strides must be positive and pads not negative"
        elif min(self.extent(x.shape)) < 1:
            yield f"the window {self.kernel} does not fit into {x}"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """[C, H', W']."""
        x = operands[0]
        return x.with_shape((x.shape[0], *self.extent(x.shape)))

    def fits_output(self, constant: Constant, x: TensorType) -> bool:
        """Whether ``constant`` is integer with one value for each output position.

        True where the window is faulty, which is an error of its own.
        """
        if list(Pool.check(self, [x])):
            return True
        return constant.is_integer and constant.shape == self.extent(x.shape)

    def extent(self, shape: Shape) -> tuple[int, int]:
        """H' and W'."""
        height, width = (
            window_count(shape[1 + a], self.pads[a] + self.pads[a + 2], self.kernel[a], self.strides[a])
            for a in (0, 1)
        )
        return height, width


Gate = Literal["count-max", "leading"]
"""Which spikes a max gate passes (docs/semantics.md §2)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SumPool(Pool):
    """y[c, p] = m[p] · Σ_{q in window p} x[c, q].

    ``multiplicity`` is an integer array [H', W'], all 1 if absent: L/d_p where average pooling divides
    by d_p and L is the least common multiple of the divisors (docs/semantics.md §2).
    """

    mnemonic: ClassVar[str] = "sum_pool"

    multiplicity: Constant | None = None

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """As every pool; the multiplicity is integer and fits."""
        yield from super().check(operands)
        m = self.multiplicity
        if m is not None and not self.fits_output(m, operands[0]):
            yield f"the multiplicity {m} must be integer, one for each output position"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """[C, H', W']; integer ranges are multiplied by the window's size."""
        pooled = super().result(operands)
        most = int(self.multiplicity.array.max()) if self.multiplicity is not None else 1
        gain = most * math.prod(self.kernel)
        element = pooled.element
        if isinstance(element, Spike):
            element = Spike(element.lo * gain, element.hi * gain)
        elif isinstance(element, Int):
            element = Int(fixedpoint.signed_bits(element.lo * gain, element.hi * gain))
        return TensorType(element, pooled.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delay(Op):
    """y(t) = x(t − steps), nothing before: the transmission delay of a projection."""

    mnemonic: ClassVar[str] = "delay"
    levels: ClassVar[frozenset[Level]] = SPIKING
    stateful: ClassVar[bool] = True

    steps: int = 1

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """At least one step, of spikes."""
        if self.steps < 1:
            yield "the delay must be at least one step"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The operand's type."""
        return operands[0]
