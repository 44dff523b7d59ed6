"""Integer arithmetic of a compiled network: rounding, scales, fractions and proven widths.

Every rounding of snnc happens here, half-to-even in float64, and every width is proved here by
interval analysis (docs/semantics.md §7). Real quantities on the left, integers on the right:

    weight of projection g   W_g ≈ s·2^h_g·Wq_g,  |Wq_g| ≤ 2^(b−1) − 1
    membrane, bias, θ        V ≈ s·2^−F·Vq
    one spike adds           Wq_g·2^(F + h_g)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

EPSILON_SPIKES = 1 / 8
"""The share of a spike by which rounding of bias and threshold may move a membrane over a run."""

CHANNEL_FLOOR = 2.0**-10
"""No channel's weight scale is less than this share of its layer's: the threshold of a channel whose
weights are all but zero would be as large as they are small."""

_GRID_ELEMENTS = 1 << 18

GRID_TOLERANCE = 1e-6
"""How far from an integer a weight may lie that is said to be one of a quantized model's codes."""

_BALANCE_ONE = 1 << 32
"""One code in the fixed point in which rounding errors are summed."""

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
WIDEST_BITS = 63


def round_half_even(value: npt.ArrayLike) -> Ints:
    """The nearest integers, ties to even. Raises OverflowError beyond 53 bits."""
    rounded = np.rint(np.asarray(value, np.float64))
    if rounded.size and not float(np.abs(rounded).max()) < FLOAT64_EXACT:
        raise OverflowError("a value is too large to be rounded exactly in float64")
    return rounded.astype(np.int64)


def signed_bits(low: int, high: int) -> int:
    """The width of the two's-complement integer that holds ``low`` … ``high``."""
    return max(max(int(high), 0).bit_length(), int(-low - 1).bit_length() if low < 0 else 0) + 1


def symmetric_limit(bits: int) -> int:
    """2^(b−1) − 1: the largest weight, and where membranes saturate; the most negative word is not used."""
    return (1 << (bits - 1)) - 1


def in_register(value: npt.ArrayLike, exponent: int, limit: int) -> Ints:
    """clip(⌊value/2^e + ½⌋, ±limit)·2^e: an integer as a mantissa and a fixed exponent e ≥ 0 hold it."""
    mantissa = (np.left_shift(np.asarray(value, np.int64), 1) >> exponent) + 1 >> 1
    return np.asarray(np.clip(mantissa, -limit, limit) << exponent, np.int64)


def product_range(matrix: npt.NDArray[Any], low: int, high: int) -> tuple[Ints, Ints]:
    """The least and greatest value of W·x per row of ``matrix`` [M, K] for x in [low, high].

    Returns two int64 arrays [M]. Both bounds include 0 if low ≤ 0 ≤ high, so that they also bound
    every partial sum.
    """
    positive = np.maximum(matrix, 0).sum(axis=1, dtype=np.int64)
    negative = np.minimum(matrix, 0).sum(axis=1, dtype=np.int64)
    return positive * low + negative * high, positive * high + negative * low


class ProjectionScale(NamedTuple):
    """s (scalar or [C]) and one exponent per projection into a population."""

    scale: Floats
    exponents: tuple[int, ...]


def choose_scale(
    weights: list[Floats], bits: int, *, per_channel: bool, identity: Floats | None = None, clip: bool = False
) -> ProjectionScale:
    """The weight scale of a population and the exponent h_g of each of its projections.

    ``weights`` holds one array per projection, output channel first (or a scalar). ``identity`` is the
    weight of a skip, [] or with ``per_channel`` also [C]: its rounding error would compound over many
    joins, so s grows by less than a factor of two until it is a code exactly (docs/semantics.md §7). With
    ``clip`` the largest code stands for less than the largest weight where the squared error is less then.
    """
    qmax = symmetric_limit(bits)
    peaks = [_peak(w, per_channel, qmax if clip else 0) for w in weights]
    channels = max((p.shape for p in peaks), key=len)
    top = np.maximum.reduce([np.broadcast_to(p, channels) for p in peaks])
    top = np.maximum(top, CHANNEL_FLOOR * top.max()) if top.max() > 0 else np.ones_like(top)
    scale = np.asarray(top / qmax, np.float64)
    if len(weights) == 1:
        scale = _own_grid(weights[0], scale, qmax)
    if identity is not None:
        scale = _exact_scale(scale, np.abs(identity), qmax)
    exponents = tuple(_exponent(p, scale, qmax) for p in peaks)
    return ProjectionScale(scale, exponents)


def _peak(weight: Floats, per_channel: bool, clip: int) -> Floats:
    """What the largest code stands for, [] or [C]; the largest weight unless ``clip``, the largest code."""
    magnitude = np.abs(np.asarray(weight, np.float64))
    channels = per_channel and magnitude.ndim > 0
    rows = magnitude.reshape(magnitude.shape[0] if channels else 1, -1)
    top = rows.max(axis=1, initial=0.0)
    peak = _least_error(rows, top, clip) if clip else top
    return np.asarray(peak if channels else peak[0])


def _least_error(rows: Floats, top: Floats, qmax: int) -> Floats:
    """The p·max w that minimises Σ (w − s·min(R(w/s), qmax))², s = p·max w/qmax, for each row."""
    best, least = top.copy(), np.full(len(top), np.inf)
    for share in np.linspace(1.0, 0.3, 71):
        step = np.where(top > 0, share * top / qmax, 1.0)[:, None]
        error = ((rows - step * np.minimum(np.rint(rows / step), qmax)) ** 2).sum(axis=1)
        better = error < least
        best, least = np.where(better, share * top, best), np.where(better, error, least)
    return np.asarray(best)


def _own_grid(weight: Floats, scale: Floats, qmax: int) -> Floats:
    """The scale of weights that are integers times a number already, with ``scale`` for the others.

    A quantized model's own codes are kept so: the smallest s' ≥ s for which all W/s' are integers, where
    there is one below 2s. Each channel is looked at by itself if ``scale`` has one for each.
    """
    rows = np.abs(weight).reshape(scale.size, -1)
    peak = rows.max(axis=1, initial=0.0)
    # a channel under the floor of its layer has other weights' scale
    open_ = peak > 0.999 * scale.reshape(-1) * qmax
    result = scale.reshape(-1).copy()
    first = rows[:, :16] / np.where(open_, peak, 1.0)[:, None]
    candidates = np.arange(qmax, qmax // 2, -1)
    block = max(1, _GRID_ELEMENTS // max(1, first.size))
    for start in range(0, len(candidates), block):
        tops = candidates[start : start + block]
        # the first few weights rule out nearly all candidates
        fits = _whole(first[:, None] * tops[:, None])
        for top, fitting in zip(tops[fits.any(axis=0)], fits.T[fits.any(axis=0)], strict=True):
            chosen = np.flatnonzero(open_ & fitting)
            chosen = chosen[_whole(rows[chosen] / peak[chosen, None] * top)] if chosen.size else chosen
            result[chosen] = peak[chosen] / top
            open_[chosen] = False
        if not open_.any():
            break
    return result.reshape(scale.shape)


def _whole(codes: Floats) -> npt.NDArray[np.bool_]:
    """Whether all numbers along the last axis are integers, up to rounding."""
    return np.asarray((np.abs(codes - np.rint(codes)) <= GRID_TOLERANCE).all(axis=-1))


def _exact_scale(scale: Floats, identity: Floats, qmax: int) -> Floats:
    """The smallest s' ≥ s for which identity = s'·2^h·n, with n ≤ qmax and one h for all channels.

    A channel whose identity is less than one code keeps its scale.
    """
    ratio = identity / scale
    top = float(np.max(ratio))
    if not top > 0:
        return scale
    step = 2.0 ** math.ceil(math.log2(top / qmax))
    # the one code of two-bit weights
    step = step / 2 if step > top else step
    code = np.minimum(np.floor(ratio / step), qmax)
    return np.asarray(np.where(code >= 1, identity / (np.maximum(code, 1) * step), scale), np.float64)


def _exponent(peak: Floats, scale: Floats, qmax: int) -> int:
    """The least h with peak ≤ s·2^h·qmax in every channel; 0 for a projection without weights."""
    ratio = float(np.max(np.asarray(peak) / (scale * qmax)))
    if ratio <= 0:
        return 0
    exponent = math.ceil(math.log2(ratio) - 1e-12)
    return exponent


def quantize_weight(
    weight: Floats, scale: Floats, exponent: int, bits: int, *, balanced: bool = False
) -> Ints:
    """Wq = clip(R(W/(s·2^h))), an int64 array of the weight's shape (output channel first).

    ``balanced`` then makes the errors of every kernel, and of every channel, cancel (:func:`_balanced`).
    """
    qmax = symmetric_limit(bits)
    exact = weight / align(scale, weight) * 2.0**-exponent
    code = np.clip(round_half_even(exact), -qmax, qmax)
    return _balanced(code, np.clip(exact, -qmax, qmax)) if balanced and code.ndim > 1 else code


def _balanced(code: Ints, exact: Floats) -> Ints:
    """Codes [O, I, …] of which some are rounded the other way (SQuant, Guo 2022).

    With δ the rounding error of a weight in codes: first the weights of largest δ in each kernel, until
    |Σ δ| ≤ ½ over the kernel, then one weight in each of some kernels, until |Σ δ| ≤ ½ over the channel. No
    |δ| exceeds 1. What a weight loses to clipping is no such error: no other weight can make up for it.
    """
    codes = code.reshape(*code.shape[:2], -1)
    # fixed point: sums of integers do not depend on their order
    wanted = round_half_even(exact.reshape(codes.shape) * _BALANCE_ONE)
    error = codes * _BALANCE_ONE - wanted
    sign = np.sign(error.sum(axis=2, keepdims=True))
    flips = _largest(error * sign) * sign
    error = error - flips * _BALANCE_ONE
    kernels = error.sum(axis=2)
    sign = np.sign(kernels.sum(axis=1, keepdims=True))
    chosen = _largest(kernels * sign) * sign
    place = np.arange(codes.shape[2]) == np.argmax(error * sign[..., None], axis=2)[..., None]
    return np.asarray((codes - flips - place * chosen[..., None]).reshape(code.shape))


def _largest(error: Ints) -> npt.NDArray[np.bool_]:
    """Which are the R(|Σ δ|) largest of the errors along the last axis."""
    count = round_half_even(np.abs(error.sum(axis=-1, keepdims=True)) / _BALANCE_ONE)
    rank = np.argsort(np.argsort(-error, axis=-1, kind="stable"), axis=-1, kind="stable")
    return np.asarray(rank < count)


def align(scale: npt.ArrayLike, array: npt.NDArray[Any]) -> Floats:
    """A per-channel ``scale`` shaped so that it broadcasts over ``array``'s leading axis."""
    scale = np.asarray(scale, np.float64)
    return scale.reshape(scale.shape + (1,) * (array.ndim - 1)) if scale.ndim else scale


def fraction_bits(
    full: int,
    scale: Floats,
    threshold: Floats,
    exponents: tuple[int, ...],
    epsilon: float = EPSILON_SPIKES,
) -> int:
    """F = max(0, −min h_g, ⌈log2(N·s/(ε·θ_min))⌉), N = ``full``, ε in spikes (docs/semantics.md §7)."""
    worst = float(np.max(full * np.asarray(scale) / (epsilon * np.asarray(threshold))))
    return max(0, -min(exponents, default=0), math.ceil(math.log2(worst)))


def to_membrane(value: npt.ArrayLike, scale: npt.ArrayLike, fraction: int) -> Ints:
    """R(value/(s·2^−F)) for thresholds and initial membranes; value and s broadcast."""
    return round_half_even(np.asarray(value, np.float64) / np.asarray(scale, np.float64) * 2.0**fraction)


def split_over_time(rates: Floats, scale: npt.ArrayLike, fraction: int) -> Ints:
    """bq(t) = R(B(t)) − R(B(t−1)) with B the running sum over the leading time axis.

    The drift of the sum never exceeds half a unit (docs/semantics.md §7).
    """
    running = to_membrane(np.cumsum(rates, axis=0), scale, fraction)
    return np.diff(running, axis=0, prepend=np.zeros_like(running[:1]))


class Range(NamedTuple):
    """The least and greatest value of an integer, per channel."""

    low: Ints
    high: Ints

    @property
    def bits(self) -> int:
        """The width that holds all channels."""
        return signed_bits(int(self.low.min()), int(self.high.max()))


def membrane_range(
    drive: Range,
    bias: Ints,
    threshold: Ints,
    v_init: Ints,
    steps: int,
    *,
    signed: bool,
    rectified: bool = False,
) -> Range:
    """Every value that V, V + Z and any partial sum of a population can take, whatever its reset.

    ``drive`` bounds Z per channel and includes 0; ``bias`` and ``threshold`` are [C] or [steps, C].
    One spike per step leaves, so V grows without bound both ways as ``steps`` does.
    """
    bias, threshold = _in_time(bias, steps), _in_time(threshold, steps)
    least_sums, most_sums = drive.low + np.minimum(bias, 0), drive.high + np.maximum(bias, 0)
    least_steps, most_steps = drive.low + bias, drive.high + bias
    low = high = np.asarray(v_init, np.int64)
    least, most = low, high
    for t in range(steps):
        least, most = np.minimum(least, low + least_sums[t]), np.maximum(most, high + most_sums[t])
        u_low, u_high = low + least_steps[t], high + most_steps[t]
        # without a spike u stays up to θ, with one it loses θ or becomes 0; a negative spike adds θ
        low = np.minimum(u_low, 0)
        high = np.maximum(u_high - threshold[t], np.minimum(u_high, threshold[t]))
        if signed:
            # a rectified neuron that has nothing to take back stays below 0
            low = low if rectified else np.minimum(np.where(u_low < 0, u_low + threshold[t], low), 0)
            high = np.maximum(high, threshold[t] // 2 if rectified else threshold[t])
        least, most = np.minimum(least, low), np.maximum(most, high)
    return Range(least, most)


def integral_range(drive: Range, bias: Ints, v_init: Ints, steps: int) -> Range:
    """Every value of a sum of ``steps`` drives and biases: a readout, or integrate-then-fire.

    ``bias`` is [C] or [steps, C]; it may come before, after or between the drives.
    """
    bias = _in_time(bias, steps)
    below = np.minimum(np.minimum(bias, 0).sum(axis=0), 0)
    above = np.maximum(np.maximum(bias, 0).sum(axis=0), 0)
    return Range(
        v_init + steps * np.minimum(drive.low, 0) + below,
        v_init + steps * np.maximum(drive.high, 0) + above,
    )


def _in_time(value: Ints, steps: int) -> Ints:
    value = np.asarray(value, np.int64)
    return value if value.ndim == 2 else np.broadcast_to(value, (steps, *value.shape))


def quantize_input(x: npt.NDArray[Any], scale: float, low: int, high: int) -> tuple[Ints, int]:
    """x_q = clip(floor(x/scale + ½), low, high) as int64, and how many values were clipped."""
    code = np.floor(np.asarray(x, np.float64) / scale + 0.5)
    clipped = int(np.count_nonzero((code < low) | (code > high)))
    return np.clip(code, low, high).astype(np.int64), clipped
