"""Bins in compiled code against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from snnc.ir.counting import count, peaks
from snnc.ir.statistics import Histogram


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_peaks_are_the_largest_magnitudes(kind):
    values = np.random.default_rng(0).normal(size=(3, 5, 17)).astype(kind)
    values[:, 2] = [[-0.0] * 17]
    assert peaks(values).dtype == kind
    assert np.array_equal(peaks(values), np.abs(values).max(axis=(0, 2)))


def test_infinity_is_the_largest_of_all():
    values = np.array([[[1.0, -np.inf, 2.0]]], np.float32)
    assert peaks(values)[0] == np.inf


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_counts_are_those_of_numpy(kind):
    values = np.random.default_rng(1).normal(size=(4, 3, 50)).astype(kind)
    scale, bins = np.float32(8), 16
    counts = np.ones((3, bins), np.int64)
    weights = np.array([1, 0, 2, 1])
    count(values, scale, weights, counts)
    index = np.minimum((np.abs(values) * scale).astype(np.int32), bins - 1)
    for row in range(3):
        expected = np.bincount(index[:, row].ravel(), np.repeat(weights, 50), minlength=bins)
        assert np.array_equal(counts[row] - 1, expected)


def test_batches_count_as_one():
    """The range doubles between them, and the bins merge."""
    values = np.random.default_rng(2).normal(size=(6, 2, 40)).astype(np.float32)
    values *= np.arange(1, 7, dtype=np.float32)[:, None, None] ** 2
    whole, parts = Histogram(per_channel=True, bins=32), Histogram(per_channel=True, bins=32)
    whole.update(values)
    for sample in values:
        parts.update(sample[None])
    assert np.array_equal(whole.counts, parts.counts)
    assert np.array_equal(whole.maximum, parts.maximum)
