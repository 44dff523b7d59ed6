"""`fire`: the populations, which alone have state. The only loops over time are here."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.diagnostics import CompileError
from snnc.ir.address import windows
from snnc.ir.constants import Constant
from snnc.ir.ops import IfNeuron, MaxGate, Readout, has_time
from snnc.ir.types import Shape

Array = npt.NDArray[Any]


def over_time(constant: Constant, shape: Shape, steps: int) -> Array:
    """A parameter as [T, *shape], or [1, *shape] if it has no time axis, widened to 64 bits.

    Raises CompileError if its time axis is not T long.
    """
    wide = np.int64 if constant.is_integer else np.float64
    value = constant.array.astype(wide)
    if not has_time(constant):
        value = value[None]
    elif len(value) != steps:
        raise CompileError.of("SNNC0151", f"a parameter has {len(value)} steps, the network {steps}")
    value = value.reshape(value.shape + (1,) * (1 + len(shape) - value.ndim))
    return np.broadcast_to(value, (value.shape[0], *shape))


def total_bias(constant: Constant, shape: Shape, steps: int) -> Array:
    """B = Σ_t b(t), or N·b of a constant bias; of the population's shape."""
    bias = over_time(constant, shape, steps)
    return np.asarray(bias.sum(axis=0) if has_time(constant) else bias[0] * steps)


def fire(op: IfNeuron, current: Array, *, record: bool = False) -> tuple[Array, Array | None]:
    """Spikes (int8) and, if asked for, membranes of a population, both [N, T, …] (ECC Eq. 2-4).

    u = V(t−1) + Z(t) + b(t);  s = [u ≥ θ], or −1 if signed and u < 0;  V(t) = u − θ·s.
    """
    steps, shape = current.shape[1], current.shape[2:]
    threshold = over_time(op.threshold, shape, steps)
    bias = over_time(op.bias, shape, steps)
    v = _initial(op, shape)
    spikes = np.empty(current.shape, np.int8)
    membranes = np.empty(current.shape, np.result_type(current, v)) if record else None
    for t in range(steps):
        theta = threshold[t % len(threshold)]
        u = v + current[:, t] + bias[t % len(bias)]
        s = (u >= theta if op.compare == "ge" else u > theta).astype(np.int8)
        if op.signed:
            s -= u < 0
        v = u - theta * s if op.reset == "subtract" else np.where(s != 0, 0, u)
        spikes[:, t] = s
        if membranes is not None:
            membranes[:, t] = v
    return spikes, membranes


def integrate_then_fire(op: IfNeuron, total: Array, steps: int) -> tuple[Array, Array]:
    """The code n = clip(⌊V/θ⌋, 0, N) of a population and V, for Σ_t Z(t) = ``total`` [N, …].

    V = v_init + ΣZ + B; codes are int64 and reach down to −N if signed. Raises CompileError for
    variants that this schedule does not have.
    """
    if op.reset != "subtract" or op.compare != "ge" or has_time(op.threshold):
        raise CompileError.of(
            "SNNC0154",
            "integrate-then-fire needs soft reset, comparison by ≥ and a constant threshold",
            where=op.origin,
            remedy="use the rate schedule",
        )
    shape = total.shape[1:]
    v = _initial(op, shape) + total + total_bias(op.bias, shape, steps)
    codes = np.clip(v // over_time(op.threshold, shape, steps)[0], -steps if op.signed else 0, steps)
    return codes.astype(np.int64), v


def unroll(op: IfNeuron, codes: Array, v: Array, steps: int) -> tuple[Array, Array]:
    """Spikes and membranes at step k of a code: s_k = sign(n)·[k ≤ |n|], V_k = V − θ·sign(n)·min(k, |n|)."""
    k = np.arange(1, steps + 1).reshape(1, -1, *(1,) * (codes.ndim - 1))
    sign, size = np.sign(codes)[:, None], np.abs(codes)[:, None]
    theta = over_time(op.threshold, codes.shape[1:], steps)
    return (sign * (k <= size)).astype(np.int8), v[:, None] - theta * sign * np.minimum(k, size)


def gate(op: MaxGate, spikes: Array) -> Array:
    """s(t) = max_j N_j(t) − max_j N_j(t−1) of [N, T, C, H, W], N_j the running count of input j."""
    counts = np.cumsum(spikes, axis=1, dtype=np.int64)
    busiest = windows(op, counts).max(axis=(-2, -1))
    return np.asarray(np.diff(busiest, axis=1, prepend=0), np.int8)


def read_out(op: Readout, current: Array, steps: int) -> Array:
    """The membrane [N, A, …] of a readout that integrates ``current``, [N, A, …] with A = T or 1."""
    shape = current.shape[2:]
    if current.shape[1] == steps:
        return np.asarray(np.cumsum(current + over_time(op.bias, shape, steps), axis=1))
    return np.asarray(current + total_bias(op.bias, shape, steps))


def _initial(op: IfNeuron, shape: Shape) -> Array:
    return np.asarray(over_time(op.v_init, shape, 1)[0])
