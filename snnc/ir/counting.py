"""Counting values into bins, in compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.jit import compiled


def peaks(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The largest magnitude of each row of floats [N, rows, P] that are not NaN."""
    bits = np.dtype(f"u{values.itemsize}")
    # without their sign floats are in the order of their bits, which takes no care of NaN
    largest = np.zeros(values.shape[1], bits)
    _largest_bits(values.view(bits), bits.type(np.iinfo(bits).max >> 1), largest)
    return largest.view(values.dtype)


@compiled
def _largest_bits(values: Any, mask: Any, largest: Any) -> None:
    samples, rows, size = values.shape
    for n in range(samples):
        for k in range(rows):
            row, most = values[n, k], largest[k]
            for j in range(size):
                most = max(most, row[j] & mask)
            largest[k] = most


@compiled
def count(values: Any, scale: Any, weights: Any, counts: Any) -> None:
    """Add to ``counts`` [rows, bins] the ``weights`` [N] of |values|·scale of [N, rows, P] in each bin.

    Weights are powers of two. Most values are 0, and each would wait for the one before to be counted.
    """
    samples, rows, size = values.shape
    last, places = np.int32(counts.shape[1] - 1), np.empty(size, np.int32)
    for n in range(samples):
        for k in range(rows):
            row, bins = values[n, k], counts[k]
            for j in range(size):
                places[j] = min(np.int32(abs(row[j]) * scale), last)
            above = np.int64(0)
            for j in range(size):
                place = places[j]
                places[above] = place
                above += np.int64(place > 0)
            bins[0] += weights[n] * (size - above)
            for j in range(above):
                bins[places[j]] += weights[n]
