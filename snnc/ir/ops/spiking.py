"""Where a network begins and ends, and the ops that hold state between steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.ir.constants import Constant
from snnc.ir.ops.address import Gate, Pool
from snnc.ir.ops.base import SPIKING, Level, Op
from snnc.ir.types import CURRENT, F32, Int, Real, Shape, Spike, TensorType

ZERO = Constant(0.0)
ONE = Constant(1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Input(Op):
    """One of the user's arrays, of ``shape`` without batch axis, with axes permuted by ``perm``.

    ``coding`` is empty in the ANN and, once spiking, ``current``, a constant current, or ``events``: at each
    of T steps up to ``max_count`` events, of which each injects ``amplitude``. At the int level a current
    is quantised first, x_q = clip(floor(x/scale + ½), lo, hi) for an integer of ``bits`` bits
    (docs/semantics.md §5); ``bits`` is 0 before. ``codes`` are the least and the greatest x_q of a model
    that quantizes its input itself, with ``scale``.
    """

    mnemonic: ClassVar[str] = "input"
    arity: ClassVar[tuple[int, int | None]] = (0, 0)

    name: str
    shape: tuple[int, ...]
    perm: tuple[int, ...] = ()
    dtype: str = "float32"
    coding: Literal["", "current", "events"] = ""
    max_count: int = 0
    amplitude: float = 1.0
    bits: int = 0
    signed: bool = False
    scale: float = 1.0
    codes: tuple[int, ...] = ()

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """A permutation, a positive scale, and bits only with a coding."""
        if self.perm and sorted(self.perm) != list(range(len(self.shape))):
            yield f"{self.perm} does not permute the axes of {self.shape}"
        if min(self.shape, default=1) < 1:
            yield f"the shape {self.shape} is empty"
        if not (0 < self.scale < float("inf")):
            yield f"the scale {self.scale} must be positive and finite"
        if self.codes and not (len(self.codes) == 2 and self.codes[0] <= 0 < self.codes[1]):
            yield f"the codes {self.codes} are not a least and a greatest one around 0"
        if self.bits and not self.coding:
            yield "an input is quantised only in a spiking network"
        if not 0 <= self.bits <= 32:
            yield f"an input has at most 32 bits, not {self.bits}"
        if (self.max_count > 0) != (self.coding == "events"):
            yield "an input has a largest count exactly when it is coded in events"

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The permuted shape; f32, current or an integer by level."""
        shape = tuple(self.shape[a] for a in self.perm) if self.perm else self.shape
        if not self.coding:
            return TensorType(F32, shape)
        if self.coding == "events":
            return TensorType(Spike(0, self.max_count), shape)
        return TensorType(Int(self.bits, self.signed) if self.bits else CURRENT, shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output(Op):
    """A named result for the host, which applies ``activation`` to it if it wants to."""

    mnemonic: ClassVar[str] = "output"

    name: str
    activation: str = ""

    def result(self, operands: Sequence[TensorType]) -> None:
        """Nothing in the network uses an output."""
        return


def has_time(value: Constant | npt.NDArray[Any]) -> bool:
    """Whether a parameter's leading axis is time: populations have rank 1 or 3, so rank 2 and 4 say so."""
    return len(value.shape) in (2, 4)


def run_total(value: npt.NDArray[Any], full: int) -> npt.NDArray[Any]:
    """What a bias adds over a run: Σ b(t), or N·b of a constant one, with N = ``full``."""
    return np.asarray(value.sum(axis=0) if has_time(value) else value * full)


def _fits(constant: Constant, shape: Shape, *, time: bool) -> bool:
    """Whether a parameter is [], [C] or full, with a leading time axis where allowed.

    Populations have rank 1 or 3, so that rank 2 and 4 can only mean a time axis.
    """
    allowed = [(), shape[:1], shape]
    if constant.shape in allowed:
        return True
    return time and has_time(constant) and constant.shape[1:] in (*allowed[1:], (1,))


def _saturation_faults(op: IfNeuron | Readout, *starts: Constant) -> Iterator[str]:
    """A membrane saturates at a width, which holds ``starts``: all that it is set to or compared with."""
    if not op.saturates:
        return
    if not 2 <= op.acc_bits <= fixedpoint.WIDEST_BITS:
        yield f"a membrane of {op.acc_bits} bits cannot saturate"
        return
    limit = fixedpoint.symmetric_limit(op.acc_bits)
    if any(np.abs(start.array).max(initial=0) > limit for start in starts):
        yield f"threshold and v_init must lie within the membrane's limits of ±{limit}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class IfNeuron(Op):
    """A population of integrate-and-fire neurons with soft reset (ECC Eq. 2-4).

    u = V(t−1) + Z(t) + b(t);  s(t) = [u ≥ θ];  V(t) = u − θ·s(t);  V(0) = v_init.

    ``threshold`` is [] or [C], ``bias`` [], [C] or [C, H, W]; both may have a leading time axis.
    ``v_init`` is [] or [C]. Variants: reset to zero, strict comparison, and ``signed``, where s = −1 if
    u < 0; those that are ``rectified`` take back spikes of their own: s = −1 if u < −θ/2 and
    Σ_{k<t} s(k) > 0. ``amplitude`` is the value one spike injects downstream, ``unit`` the activation λ that
    N spikes stand for (a = unit·n/N); both are [] or [C]. At the int level ``scale`` is the weight scale
    s, membranes count in s·2^−fraction_bits and ``acc_bits`` is their width: the proven one, or a
    narrower one at which u ``saturates``, u = clip(V(t−1) + Z(t) + b(t), ±(2^(acc_bits−1) − 1)).
    Every ``members`` channels stand for one of the model's together: a group neuron (Lv 2024), which says the
    mean of what they say.
    """

    mnemonic: ClassVar[str] = "if_neuron"
    levels: ClassVar[frozenset[Level]] = SPIKING
    stateful: ClassVar[bool] = True

    threshold: Constant
    bias: Constant = ZERO
    v_init: Constant = ZERO
    amplitude: Constant = ONE
    unit: Constant = ONE
    reset: Literal["subtract", "zero"] = "subtract"
    compare: Literal["ge", "gt"] = "ge"
    signed: bool = False
    rectified: bool = False
    scale: Constant = ONE
    fraction_bits: int = 0
    acc_bits: int = 0
    saturates: bool = False
    members: int = 1

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """Shapes of the parameters and positive thresholds."""
        x = operands[0]
        if len(x.shape) not in (1, 3):
            yield f"a population is [C] or [C, H, W], not {x}"
            return
        for name in ("threshold", "bias", "v_init", "amplitude", "unit", "scale"):
            constant: Constant = getattr(self, name)
            if not _fits(constant, x.shape, time=name in ("threshold", "bias")):
                yield f"{name} of shape {constant.shape} does not fit {x}"
            elif not np.isfinite(constant.array).all():
                yield f"{name} holds NaN or infinite values"
        if self.threshold.size and self.threshold.array.min() <= 0:
            yield "thresholds must be positive"
        if self.members < 1 or x.shape[0] % self.members:
            yield f"{x.shape[0]} channels are not groups of {self.members}"
        if self.rectified and not (self.signed and self.reset == "subtract"):
            yield "rectified spikes must be signed, and a membrane that takes one back has no reset to zero"
        if isinstance(x.element, Int):
            loose = [n for n in ("threshold", "bias", "v_init") if not getattr(self, n).is_integer]
            if loose:
                yield f"{', '.join(loose)} must be integer where the current is {x.element}"
        yield from _saturation_faults(self, self.threshold, self.v_init)

    @property
    def negative(self) -> bool:
        """Whether its counts, and so the activations it stands for, may be negative."""
        return self.signed and not self.rectified

    def shares(self, eta: float, channels: int) -> npt.NDArray[np.float64]:
        """η, or (i + η)/r for member i of r, [] or [C]: these shares of θ make members fire in turn."""
        if self.members == 1:
            return np.asarray(eta)
        return np.tile((np.arange(self.members) + eta) / self.members, channels // self.members)

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """Spikes of the operand's shape."""
        return TensorType(Spike(-1 if self.signed else 0, 1), operands[0].shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxGate(Pool):
    """A population that passes the spikes of the busiest input of each window (docs/semantics.md §2).

    ``count-max``: s(t) = M(t) − M(t−1), M = max(0, max_j N_j), where N_j counts input j's spikes up to and
    including t; exact in every schedule. ``leading``: s(t) = s_k(t) with k the first input of the largest
    N_k(t) > 0 (Rueckauer 2017), which passes too many. Complete codes have one maximum, whatever the gate.
    ``unit`` as in :class:`IfNeuron`.
    """

    mnemonic: ClassVar[str] = "max_gate"
    levels: ClassVar[frozenset[Level]] = SPIKING
    stateful: ClassVar[bool] = True

    gate: Gate = "count-max"
    amplitude: Constant = ONE
    unit: Constant = ONE

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """Single spikes."""
        yield from super().check(operands)
        if operands[0].element not in (Spike(0, 1), Spike(-1, 1)):
            yield f"a max gate takes spike<0,1> or spike<-1,1>, not {operands[0]}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Readout(Op):
    """Integrates without firing: V(t) = V(t−1) + Z(t) + b(t), V(0) = 0.

    The answer is V(t)·unit/t under ``rate`` and V·unit/N at the end under integrate-then-fire; ``unit``
    is one scalar for the whole output, so that the argmax is that of the integers. ``acc_bits`` and
    ``saturates`` as in :class:`IfNeuron`.
    """

    mnemonic: ClassVar[str] = "readout"
    levels: ClassVar[frozenset[Level]] = SPIKING
    stateful: ClassVar[bool] = True

    bias: Constant = ZERO
    unit: float = 1.0
    scale: float = 1.0
    fraction_bits: int = 0
    acc_bits: int = 0
    saturates: bool = False

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """The bias fits and is integer where the current is."""
        x = operands[0]
        if not _fits(self.bias, x.shape, time=True):
            yield f"bias of shape {self.bias.shape} does not fit {x}"
        if isinstance(x.element, Int) and not self.bias.is_integer:
            yield f"bias must be integer where the current is {x.element}"
        yield from _saturation_faults(self)

    def result(self, operands: Sequence[TensorType]) -> TensorType:
        """The membrane: a current, or an integer of ``acc_bits``."""
        x = operands[0]
        if isinstance(x.element, Real):
            return TensorType(CURRENT, x.shape)
        return x if not self.acc_bits else TensorType(Int(self.acc_bits), x.shape)
