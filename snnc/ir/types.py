"""Tensor types. A tensor has no batch axis, and time is implicit.

An element is ``f32`` (an activation of the ANN), ``current`` (a real current or membrane
potential), ``spike<lo,hi>`` (an integer number of spikes per step; ``spike<0,4>`` is what a 2×2 sum
pool of single spikes carries) or an integer ``i8``, ``u8``, ``i19`` … of any width.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Real:
    """A real number: an ANN activation (``f32``) or a current (``current``)."""

    name: Literal["f32", "current"]

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Spike:
    """An integer number of spikes per step, within ``lo`` and ``hi``."""

    lo: int = 0
    hi: int = 1

    def __str__(self) -> str:
        return f"spike<{self.lo},{self.hi}>"


@dataclasses.dataclass(frozen=True)
class Int:
    """A two's-complement (``i``) or unsigned (``u``) integer of ``bits`` bits."""

    bits: int
    signed: bool = True

    @property
    def lo(self) -> int:
        """The smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        """The largest value."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    def __str__(self) -> str:
        return f"{'i' if self.signed else 'u'}{self.bits}"


Element = Real | Spike | Int

F32 = Real("f32")
CURRENT = Real("current")


@dataclasses.dataclass(frozen=True)
class TensorType:
    """An element and a shape without batch axis: ``spike<0,1>[16, 28, 28]``."""

    element: Element
    shape: Shape

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def with_shape(self, shape: Shape) -> TensorType:
        """The same element with another shape."""
        return TensorType(self.element, shape)

    def __str__(self) -> str:
        return f"{self.element}[{', '.join(map(str, self.shape))}]"
