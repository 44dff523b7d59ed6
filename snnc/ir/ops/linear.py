"""Weighted linear ops and their sum, shared by all three levels.

At the int level the weight is an integer array and ``shift`` moves the exact sum left by that many
bits into the membrane's fraction (docs/semantics.md §7); elsewhere ``shift`` is 0.
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


def weighted_element(element: Element, rows: Constant, shift: int) -> Element:
    """The element of a weighted sum: ``rows`` is viewed as one row of weights per output channel."""
    if not rows.is_integer:
        return F32 if element == F32 else CURRENT
    assert not isinstance(element, Real)
    matrix = rows.array.reshape(rows.shape[0] if rows.shape else 1, -1)
    low, high = fixedpoint.product_range(matrix, element.lo, element.hi)
    return Int(fixedpoint.signed_bits(int(low.min()) << shift, int(high.max()) << shift))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weighted(Op):
    """A linear map with weights: y = (W·x)·2^shift + b."""

    weight: Constant
    bias: Constant | None = None
    shift: int = 0

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
        element = weighted_element(x.element, self.weight, self.shift)
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
        element = weighted_element(operands[0].element, self.weight, self.shift)
        return TensorType(element, self.weight.shape[:1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale(Weighted):
    """A diagonal map y[c, …] = w[c]·x[c, …] + b[c]; ``weight`` and ``bias`` are [] or [C].

    With weight 1 it is an identity projection: the skip of a residual block.
    """

    mnemonic: ClassVar[str] = "scale"

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """Weight and bias are scalars or have one value per channel."""
        x = operands[0]
        allowed = ((), x.shape[:1])
        for label, constant in (("weight", self.weight), ("bias", self.bias)):
            if constant is not None and constant.shape not in allowed:
                yield f"the {label} of shape {constant.shape} is neither a scalar nor one per channel of {x}"
        yield from self.check_weight(x.element)

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The operand's shape."""
        element = weighted_element(operands[0].element, self.weight, self.shift)
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
        """The common shape; integer ranges add up."""
        elements = [x.element for x in operands]
        if all(isinstance(e, Real) for e in elements):
            return operands[0]
        if any(isinstance(e, Real) for e in elements):
            return TensorType(CURRENT, operands[0].shape)
        low = sum(e.lo for e in elements if not isinstance(e, Real))
        high = sum(e.hi for e in elements if not isinstance(e, Real))
        return TensorType(Int(fixedpoint.signed_bits(low, high)), operands[0].shape)
