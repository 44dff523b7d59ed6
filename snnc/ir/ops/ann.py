"""Ops of the ANN alone: no later level has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from snnc.ir.constants import Constant
from snnc.ir.ops.address import Gate, Pool
from snnc.ir.ops.base import ANN_ONLY, Level, Op
from snnc.ir.types import TensorType


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNorm(Op):
    """y[c] = γ[c]·(x[c] − μ[c])/√(σ²[c] + ε) + β[c]; all four parameters are [C]."""

    mnemonic: ClassVar[str] = "batch_norm"
    levels: ClassVar[frozenset[Level]] = ANN_ONLY

    gamma: Constant
    beta: Constant
    mean: Constant
    variance: Constant
    epsilon: float

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """One parameter per channel, and a positive denominator."""
        channels = operands[0].shape[:1]
        for name in ("gamma", "beta", "mean", "variance"):
            constant: Constant = getattr(self, name)
            if constant.shape != channels:
                yield f"{name} has shape {constant.shape}, the operand is {operands[0]}"
            elif not np.isfinite(constant.array).all():
                yield f"{name} holds NaN or infinite values"
        if self.variance.size and float(self.variance.array.min()) + self.epsilon <= 0:
            yield "variance + epsilon must be positive"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The operand's type."""
        return operands[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relu(Op):
    """y = max(0, x). Every ``members`` channels stand for one of the model's (:class:`IfNeuron`)."""

    mnemonic: ClassVar[str] = "relu"
    levels: ClassVar[frozenset[Level]] = ANN_ONLY

    members: int = 1

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The operand's type."""
        return operands[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip(Op):
    """y = min(max(0, x), c), with c = ``maximum``; ``members`` as of :class:`Relu`."""

    mnemonic: ClassVar[str] = "clip"
    levels: ClassVar[frozenset[Level]] = ANN_ONLY

    maximum: float
    members: int = 1

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """A positive maximum."""
        if not 0 < self.maximum < float("inf"):
            yield f"the maximum {self.maximum} must be positive and finite"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The operand's type."""
        return operands[0]


UNBOUNDED = 1 << 31
"""The codes of a rounding that no clip bounds reach so far both ways."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FakeQuant(Op):
    """y = s·clip(⌊x/s⌉, low, high): a tensor that was quantized and dequantized, or rounded in the model.

    ``scale`` is [] or [C]. With low = 0 it is a clip to high + 1 levels, with low < 0 signed. Values half-way
    between two codes go to the even one, or ``up``: ⌊x/s + ½⌋.
    """

    mnemonic: ClassVar[str] = "fake_quant"
    levels: ClassVar[frozenset[Level]] = ANN_ONLY

    scale: Constant
    low: int
    high: int
    ties: Literal["even", "up"] = "even"

    @property
    def bounded(self) -> bool:
        """Whether there is a greatest code."""
        return self.high < UNBOUNDED

    def codes(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """clip(⌊x/s⌉, low, high), given x/s."""
        rounded = np.floor(x + 0.5) if self.ties == "up" else np.rint(x)
        return np.asarray(np.clip(rounded, self.low, self.high))

    @property
    def top(self) -> npt.NDArray[np.float64]:
        """λ: the value of the greatest code of either sign."""
        return np.asarray(self.scale.array * max(-self.low, self.high), np.float64)

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """Positive scales, and codes around zero."""
        if self.scale.shape not in ((), operands[0].shape[:1]):
            yield f"the scale of shape {self.scale.shape} does not fit {operands[0]}"
        if not (np.isfinite(self.scale.array) & (self.scale.array > 0)).all():
            yield "scales must be positive and finite"
        if not self.low <= 0 < self.high:
            yield f"the codes {self.low} to {self.high} must hold 0 and a positive one"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The operand's type."""
        return operands[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AveragePool(Pool):
    """y[c, p] = Σ_{q in window p} x[c, q] / d_p.

    ``divisors`` is an integer array [H', W']: the window's size, or where padding is not counted the
    number of real elements under it.
    """

    mnemonic: ClassVar[str] = "average_pool"
    levels: ClassVar[frozenset[Level]] = ANN_ONLY

    divisors: Constant

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """As every pool; the divisors are positive integers and fit."""
        yield from super().check(operands)
        d = self.divisors
        if not self.fits_output(d, operands[0]):
            yield f"the divisors {d} must be integer, one for each output position"
        elif int(d.array.min(initial=1)) < 1:
            yield "divisors must be positive"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxPool(Pool):
    """y[c, p] = max_{q in window p} x[c, q]; padding never wins. ``gate`` is its form in spikes."""

    mnemonic: ClassVar[str] = "max_pool"
    levels: ClassVar[frozenset[Level]] = ANN_ONLY

    gate: Gate = "count-max"
