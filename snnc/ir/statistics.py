"""Streaming reducers of activations: their memory does not grow with the number of samples."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


SMALLEST_TOP = 2.0**-100
"""What lies below counts as one bin."""


class Reducer(Protocol):
    """Takes batches [N, C, …] one after the other.

    A reducer may have a ``key``: what it makes of the same tensor depends on nothing else, so that it need
    not be made twice.
    """

    def update(self, batch: Array) -> None:
        """Account for a batch."""


class Extremes:
    """Least and greatest value, whether all values are integers, and their root mean square."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.low, self.high = np.inf, -np.inf
        self.integer = True
        self._count = 0
        self._squares = 0.0

    def update(self, batch: Array) -> None:
        """Account for a batch."""
        self.low = min(self.low, float(batch.min()))
        self.high = max(self.high, float(batch.max()))
        self.integer = self.integer and bool((batch == np.rint(batch)).all())
        self._count += batch.size
        self._squares += float((batch.astype(np.float64) ** 2).sum())

    @property
    def rms(self) -> float:
        """√(Σ x²/n)."""
        return float((self._squares / max(self._count, 1)) ** 0.5)


class Histogram:
    """How often magnitudes fall into equal bins, per layer or per channel.

    The range doubles when a larger value comes, and neighbouring bins merge, so one pass is enough;
    with B bins the largest value seen lies above B/2 bins unless it was the first. Where samples count
    ``alike``, a value counts 1/(the mean square of its sample), to a power of two: such sums are exact and do
    not depend on their order.
    """

    def __init__(self, *, per_channel: bool = False, alike: bool = False, bins: int | None = None) -> None:
        """``bins`` is even; 16384 for a layer and 2048 for each channel by default."""
        self.per_channel, self.alike = per_channel, alike
        self.bins = bins or (2048 if per_channel else 16384)
        self.key = f"histogram {per_channel} {alike} {self.bins}"
        self.top = 0.0
        self.maximum: Floats = np.zeros(())
        self._counts: Array | None = None

    @property
    def counts(self) -> Array:
        """How many values lie in each bin, [rows, bins]; one row unless per channel."""
        assert self._counts is not None, "no batch was seen"
        return self._counts

    def update(self, batch: Array) -> None:
        """Account for a batch [N, C, …]."""
        # imported here, because it takes its time to load
        from snnc.ir.counting import count, peaks

        values = batch.reshape(len(batch), batch.shape[1] if self.per_channel else 1, -1)
        if self._counts is None:
            self._counts = np.zeros((values.shape[1], self.bins), np.float64 if self.alike else np.int64)
            self.maximum = np.zeros(values.shape[1])
        peak = peaks(values)
        self.maximum = np.maximum(self.maximum, peak)
        self._grow(float(peak.max()))
        if self.top == 0:
            self._counts[:, 0] += values[:, 0].size
            return
        weights = _loudness_undone(values) if self.alike else np.ones(len(values), np.int64)
        count(values, np.float32(self.bins / self.top), weights, self._counts)

    def percentile(self, percent: float) -> Floats:
        """The least bin edge at or above which at most 100 − ``percent`` % of the values lie, [rows]."""
        if percent >= 100 or self.top == 0:
            return self.maximum.copy()
        wanted = percent / 100 * self.counts.sum(axis=1, keepdims=True)
        edge = (np.cumsum(self.counts, axis=1) < wanted).sum(axis=1) + 1
        return np.asarray(np.minimum(edge * (self.top / self.bins), self.maximum), np.float64)

    def quantization_optimum(self, levels: int, eta: float = 0.5, rounding: float = 1.0) -> Floats:
        """The λ that minimises Σ w·(a − λ/N·clip(⌊N·a/λ + η⌋, 0, N))² with N = ``levels``, [rows].

        w is ``rounding`` where a ≤ λ, and 1 where λ cuts a off.
        """
        centres = (np.arange(self.bins) + 0.5) * (self.top / self.bins)
        if self.alike:
            # a sample so quiet that one bin holds it counts much, but what it is wrong by is its own size
            centres[0] = 0.0
        best = np.zeros(self.counts.shape[0])
        least = np.full(self.counts.shape[0], np.inf)
        for share in np.linspace(0.05, 1.0, 96):
            limit = share * np.where(self.maximum > 0, self.maximum, 1.0)[:, None]
            code = np.clip(np.floor(levels * centres / limit + eta), 0, levels)
            weight = np.where(centres > limit, 1.0, rounding)
            error = (self.counts * weight * (centres - limit / levels * code) ** 2).sum(axis=1)
            better = error < least
            best = np.where(better, limit[:, 0], best)
            least = np.where(better, error, least)
        return np.where(self.maximum > 0, best, 0.0)

    def balanced(self, iterations: int) -> Floats:
        """λ after so many steps λ ← λ + 2·mean((a − λ)₊) from λ = 0, at most the largest value, [rows].

        Local threshold balancing (Bu, Li and Yu 2024, Eq. 14-15) on all data at once, with their η of 1.
        """
        width = self.top / self.bins
        centres = (np.arange(self.bins) + 0.5) * width
        # of the values in bin k and above: their number and their sum, and neither above the last bin
        count = np.pad(np.cumsum(self.counts[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
        total = np.pad(np.cumsum((self.counts * centres)[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
        row = np.arange(len(count))
        limit = np.zeros(len(count))
        for _ in range(iterations):
            first = np.searchsorted(centres, limit)
            excess = total[row, first] - limit * count[row, first]
            if not excess.any():
                break
            limit += 2 * excess / count[:, 0]
        return np.asarray(np.minimum(limit, self.maximum))

    def _grow(self, peak: float) -> None:
        assert self._counts is not None
        if peak <= self.top:
            return
        if self.top == 0:
            # a power of two: the bins do not depend on which batch came first; float32 holds bins/top
            self.top = float(np.exp2(np.ceil(np.log2(max(peak, SMALLEST_TOP)))))
            return
        while self.top < peak:
            merged = self._counts[:, ::2] + self._counts[:, 1::2]
            self._counts = np.concatenate([merged, np.zeros_like(merged)], axis=1)
            self.top *= 2


def _loudness_undone(values: Array) -> Floats:
    """1/(mean square of each sample) as a power of two, [N]; 1 where a sample is all zeros."""
    power = np.square(values, dtype=np.float64).mean(axis=(1, 2))
    return np.asarray(np.exp2(-np.rint(np.log2(np.where(power > 0, power, 1.0)))))


class Moments:
    """Mean and standard deviation per channel."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.count = 0
        self._sum: Floats | float = 0.0
        self._squares: Floats | float = 0.0

    def update(self, batch: Array) -> None:
        """Account for a batch [N, C, …]."""
        rows = np.moveaxis(batch, 1, 0).reshape(batch.shape[1], -1).astype(np.float64)
        self.count += rows.shape[1]
        self._sum = self._sum + rows.sum(axis=1)
        self._squares = self._squares + (rows**2).sum(axis=1)

    @property
    def mean(self) -> Floats:
        """[C]."""
        return np.asarray(self._sum) / self.count

    @property
    def deviation(self) -> Floats:
        """[C]."""
        variance = np.asarray(self._squares) / self.count - self.mean**2
        return np.sqrt(np.maximum(variance, 0))


def round_up(value: Floats, digits: int = 12) -> Floats:
    """``value`` rounded up to ``digits`` significant bits, so that machines agree on it."""
    mantissa, exponent = np.frexp(np.asarray(value, np.float64))
    return np.asarray(np.ldexp(np.ceil(np.ldexp(mantissa, digits)), exponent - digits))
