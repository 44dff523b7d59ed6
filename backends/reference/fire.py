"""`fire`: the populations, which alone have state. The only loops over time are here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.diagnostics import CompileError
from snnc.ir.address import windows
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, MaxGate, Readout, has_time, run_total
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


def total_bias(constant: Constant, shape: Shape, full: int) -> Array:
    """What a bias adds over a run of full count N, of the population's shape."""
    total = run_total(constant.array.astype(np.int64 if constant.is_integer else np.float64), full)
    return np.broadcast_to(total.reshape(total.shape + (1,) * (len(shape) - total.ndim)), shape)


def fire(op: IfNeuron, current: Array, *, record: bool = False) -> tuple[Array, Array | None]:
    """Spikes (int8) and, if asked for, membranes of a population, both [N, T, …] (ECC Eq. 2-4).

    u = V(t−1) + Z(t) + b(t), saturated;  s as :func:`decide` has it;  V(t) = u − θ·s.
    """
    steps, shape = current.shape[1], current.shape[2:]
    threshold = over_time(op.threshold, shape, steps)
    bias = over_time(op.bias, shape, steps)
    v, sent = _initial(op, shape), np.zeros(current[:, 0].shape, np.int64)
    spikes = np.empty(current.shape, np.int8)
    membranes = np.empty(current.shape, np.result_type(current, v)) if record else None
    for t in range(steps):
        theta = threshold[t % len(threshold)]
        u = saturate(op, v + current[:, t] + bias[t % len(bias)])
        s = decide(op, u, theta, sent)
        sent += s
        v = u - theta * s if op.reset == "subtract" else np.where(s != 0, 0, u)
        spikes[:, t] = s
        if membranes is not None:
            membranes[:, t] = v
    return spikes, membranes


def decide(op: IfNeuron, u: Array, theta: Array, sent: Array) -> Array:
    """The spikes (int8) of one step: [u ≥ θ], or −1 if signed and u below the lower threshold.

    Of rectified populations only what was ``sent`` before, Σ s, can be taken back.
    """
    s = (u >= theta if op.compare == "ge" else u > theta).astype(np.int8)
    if op.signed:
        low = u < lower_threshold(op, theta)
        s -= low & (sent > 0) if op.rectified else low
    return s


def lower_threshold(op: IfNeuron, theta: Array) -> Array:
    """Below it a signed neuron sends −1: 0, or −θ/2 if it is rectified."""
    if not op.rectified:
        return np.zeros_like(theta)
    # of integers u < −⌊θ/2⌋ is u < −θ/2
    return np.asarray(-(theta // 2 if theta.dtype.kind == "i" else theta / 2))


def saturate(op: IfNeuron | Readout, u: Array) -> Array:
    """u, cut to the membrane's limits if it saturates (docs/semantics.md §7)."""
    if not op.saturates:
        return u
    limit = fixedpoint.symmetric_limit(op.acc_bits)
    return np.clip(u, -limit, limit)


def refuse_variants(op: IfNeuron) -> None:
    """Raise CompileError (SNNC0154) for a population that has no code under integrate-then-fire."""
    if op.reset != "subtract" or op.compare != "ge" or has_time(op.threshold):
        raise CompileError.of(
            "SNNC0154",
            "integrate-then-fire needs soft reset, comparison by ≥ and a constant threshold",
            where=op.origin,
            remedy="use the rate schedule",
        )


def integrate_then_fire(op: IfNeuron, total: Array, full: int) -> tuple[Array, Array]:
    """The code n = clip(⌊V/θ⌋, 0, N) of a population and V, for Σ_t Z(t) = ``total`` [N, …].

    V = v_init + ΣZ + B, saturated; codes are int64 and reach down to −N if they may be negative. Raises as
    :func:`refuse_variants`.
    """
    refuse_variants(op)
    shape = total.shape[1:]
    v = saturate(op, _initial(op, shape) + total + total_bias(op.bias, shape, full))
    codes = np.clip(v // over_time(op.threshold, shape, 1)[0], -full if op.negative else 0, full)
    return codes.astype(np.int64), v


def unroll(codes: Array, values: Sequence[int]) -> Array:
    """The spikes [N, T, …] (int8) that make up codes [N, …], a spike of step k counting ``values[k]``.

    s_k = sign(n)·[r ≥ w_k], where r is what the steps before have left of |n|. That is the firing of
    a membrane V with θ_k = w_k·θ: s_k = 1 if V ≥ θ_k, and −1 if signed and V < θ − θ_k.
    """
    rest, sign = np.abs(codes), np.sign(codes)
    spikes = np.empty((len(codes), len(values), *codes.shape[1:]), np.int8)
    for k, value in enumerate(values):
        fires = rest >= value
        rest = rest - value * fires
        spikes[:, k] = sign * fires
    return spikes


def discharge(op: IfNeuron, v: Array, spikes: Array, values: Sequence[int]) -> Array:
    """The membranes [N, T, …] that start at V [N, …] and lose w_k·θ·s_k at step k."""
    weights = np.array(values).reshape(1, -1, *(1,) * (v.ndim - 1))
    theta = over_time(op.threshold, v.shape[1:], 1)
    return np.asarray(v[:, None] - theta * np.cumsum(weights * spikes, axis=1))


def events(codes: Array, values: Sequence[int]) -> Array:
    """How many spikes make up each code [N, …]: set bits under ``phase``, else |n|."""
    return np.abs(codes) if max(values) == 1 else np.bitwise_count(codes)


def gate(op: MaxGate, spikes: Array) -> Array:
    """The spikes [N, T, C, H', W'] that a max gate passes of [N, T, C, H, W]: see :class:`MaxGate`."""
    counts = np.cumsum(spikes, axis=1, dtype=np.int64)
    busiest = largest(op, counts)
    if op.gate == "leading":
        views = windows(op, spikes), windows(op, counts)
        inputs, running = (view.reshape(*view.shape[:-2], -1) for view in views)
        leader = running.argmax(axis=-1)[..., None]
        passed = np.take_along_axis(inputs, leader, axis=-1)[..., 0]
        return np.where(busiest > 0, passed, 0).astype(np.int8)
    return np.asarray(np.diff(busiest, axis=1, prepend=0), np.int8)


def largest(op: MaxGate, counts: Array) -> Array:
    """max(0, max_j N_j) of each window of counts."""
    return np.asarray(np.maximum(windows(op, counts).max(axis=(-2, -1)), 0))


def read_out(op: Readout, current: Array, network: Network) -> Array:
    """The membrane [N, A, …] of a readout that integrates ``current``, [N, A, …] with A = T or 1."""
    assert network.steps is not None
    shape = current.shape[2:]
    if network.schedule != "rate":
        return saturate(op, current + total_bias(op.bias, shape, network.full_count))
    arriving = current + over_time(op.bias, shape, network.steps)
    if not op.saturates:
        return np.asarray(np.cumsum(arriving, axis=1))
    membranes, v = np.empty_like(arriving), np.zeros_like(arriving[:, 0])
    for t in range(network.steps):
        membranes[:, t] = v = saturate(op, v + arriving[:, t])
    return membranes


def _initial(op: IfNeuron, shape: Shape) -> Array:
    return np.asarray(over_time(op.v_init, shape, 1)[0])
