"""Weighted linear ops and their sum, shared by all three levels.

At the int level the weight is an integer array and ``shift`` moves the exact sum left by that many
bits into the membrane's fraction (docs/semantics.md §7); elsewhere ``shift`` is 0. A current that the
host writes into a chip's register is rounded there, if ``register_limit`` is not 0 (docs/loihi.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from snnc import fixedpoint
from snnc.ir.constants import Constant
from snnc.ir.ops.base import Op
from snnc.ir.types import CURRENT, F32, Element, Int, Real, Shape, TensorType


def window_count(size: int, pad: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """How many windows fit along one axis: floor((size + pad − extent)/stride) + 1."""
    return (size + pad - ((kernel - 1) * dilation + 1)) // stride + 1


def weighted_element(op: Weighted, element: Element) -> Element:
    """The element of a weighted sum; the weight is viewed as one row per output channel."""
    if not op.weight.is_integer:
        return F32 if element == F32 else CURRENT
    assert not isinstance(element, Real)
    matrix = op.weight.array.reshape(op.weight.shape[0] if op.weight.shape else 1, -1)
    ends = fixedpoint.product_range(matrix, element.lo, element.hi)
    low, high = int(ends[0].min()) << op.shift, int(ends[1].max()) << op.shift
    if op.register_limit:
        low, high = (int(fixedpoint.in_register(end, *op.register)) for end in (low, high))
    return Int(fixedpoint.signed_bits(low, high))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weighted(Op):
    """A linear map with weights: y = (W·x)·2^shift + b.

    With a ``register_limit`` L the sum is rounded to clip(⌊y/2^e + ½⌋, ±L)·2^e, e = ``register_exponent``.
    """

    weight: Constant
    bias: Constant | None = None
    shift: int = 0
    register_exponent: int = 0
    register_limit: int = 0

    @property
    def register(self) -> tuple[int, int]:
        """Exponent and limit of the register that holds the sum; the limit is 0 if there is none."""
        return self.register_exponent, self.register_limit

    def check_weight(self, element: Element) -> Iterator[str]:
        """What must hold of weight, bias and shift whatever the map."""
        if isinstance(element, Real) and self.weight.is_integer:
            yield f"integer weights cannot be applied to {element}"
        if isinstance(element, Int) and not self.weight.is_integer:
            yield f"real weights cannot be applied to {element}"
        if self.shift and not self.weight.is_integer:
            yield "a shift needs integer weights"
        if not 0 <= self.shift <= fixedpoint.WIDEST_BITS:
            yield f"the shift must lie within 0 and {fixedpoint.WIDEST_BITS}, not {self.shift}"
        if self.weight.size == 0:
            yield "the weight is empty"
        if self.bias is not None and self.weight.is_integer:
            yield "at the int level the bias belongs to the population"
        for label, constant in (("weight", self.weight), ("bias", self.bias)):
            if constant is not None and not np.isfinite(constant.array).all():
                yield f"the {label} holds NaN or infinite values"
        yield from self._check_register()

    def _check_register(self) -> Iterator[str]:
        if self.register_limit and not self.weight.is_integer:
            yield "a register needs integer weights"
        if not 0 <= self.register_exponent <= 16 or not 0 <= self.register_limit < 1 << 24:
            yield "a register has an exponent of 0 to 16 and a limit below 2^24"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conv2d(Weighted):
    """y[m, i, j] = Σ_{c,u,v} W[m, c, u, v] · x[c, i·s₀ + u·d₀ − p₀, j·s₁ + v·d₁ − p₁] + b[m].

    ``weight`` is [M, C/groups, kh, kw] (cross-correlation, as in ONNX Conv); ``bias`` is [M] or, where
    an affine before the zero padding was folded, [M, H, W]; ``pads`` are top, left, bottom, right.
    """

    mnemonic: ClassVar[str] = "conv2d"

    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """Shapes, groups and window sizes."""
        x = operands[0]
        if len(x.shape) != 3 or len(self.weight.shape) != 4:
            yield f"needs a [C, H, W] operand and [M, C, kh, kw] weights, not {x} and {self.weight}"
            return
        m, c = self.weight.shape[:2]
        if self.groups < 1 or m % self.groups or c * self.groups != x.shape[0]:
            yield f"{self.groups} groups do not divide {x.shape[0]} inputs and {m} outputs into {c}"
        if min(*self.strides, *self.dilations) < 1 or min(self.pads) < 0:
            yield "strides and dilations must be positive and pads not negative"
        elif min(self._extent(x.shape)) < 1:
            yield f"the kernel {self.weight.shape[2:]} does not fit into {x}"
        elif self.bias is not None and self.bias.shape not in ((m,), (m, *self._extent(x.shape))):
            yield f"the bias of shape {self.bias.shape} does not fit {m} output channels"
        yield from self.check_weight(x.element)

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """[M, H', W']."""
        x = operands[0]
        element = weighted_element(self, x.element)
        return TensorType(element, (self.weight.shape[0], *self._extent(x.shape)))

    def _extent(self, shape: Shape) -> tuple[int, int]:
        kernel = self.weight.shape[2:]
        height, width = (
            window_count(
                shape[1 + a],
                self.pads[a] + self.pads[a + 2],
                kernel[a],
                self.strides[a],
                self.dilations[a],
            )
            for a in (0, 1)
        )
        return height, width


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dense(Weighted):
    """y = W·x + b with ``weight`` [M, K] and ``bias`` [M]."""

    mnemonic: ClassVar[str] = "dense"

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """A vector operand of the weight's second extent."""
        x = operands[0]
        if len(self.weight.shape) != 2 or x.shape != self.weight.shape[1:]:
            yield f"needs [M, K] weights and a [K] operand, not {self.weight} and {x}"
            return
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            yield f"the bias of shape {self.bias.shape} does not fit {self.weight.shape[0]} outputs"
        yield from self.check_weight(x.element)

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """[M]."""
        element = weighted_element(self, operands[0].element)
        return TensorType(element, self.weight.shape[:1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale(Weighted):
    """A diagonal map y[c, …] = w[c]·x[c, …] + b[c].

    ``weight`` is [] or [C]; ``bias`` is [], [C] or one value for each element. With weight 1 it is an
    identity projection: the skip of a residual block.
    """

    mnemonic: ClassVar[str] = "scale"

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """Weight and bias are scalars or have one value per channel; the bias may have all."""
        x = operands[0]
        if self.weight.shape not in ((), x.shape[:1]):
            yield f"the weight of shape {self.weight.shape} is neither a scalar nor one per channel of {x}"
        if self.bias is not None and self.bias.shape not in ((), x.shape[:1], x.shape):
            yield f"the bias of shape {self.bias.shape} does not fit {x}"
        yield from self.check_weight(x.element)

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The operand's shape."""
        element = weighted_element(self, operands[0].element)
        return TensorType(element, operands[0].shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Add(Op):
    """y = x₁ + x₂ + …, all of one shape: the joins of a residual network."""

    mnemonic: ClassVar[str] = "add"
    arity: ClassVar[tuple[int, int | None]] = (2, None)

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """Equal shapes."""
        if len({x.shape for x in operands}) > 1:
            yield f"operands differ in shape: {', '.join(map(str, operands))}"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The common shape; integer ranges add up, spikes of their amplitudes make a current."""
        elements = [x.element for x in operands]
        if all(isinstance(e, Real) for e in elements):
            return operands[0]
        ranges = [e for e in elements if isinstance(e, Int)]
        if len(ranges) < len(elements):
            return TensorType(CURRENT, operands[0].shape)
        low, high = sum(e.lo for e in ranges), sum(e.hi for e in ranges)
        return TensorType(Int(fixedpoint.signed_bits(low, high)), operands[0].shape)
