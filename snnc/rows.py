"""Samples that stay where they are until they are asked for, a slice at a time."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Rows:
    """Samples [N, …] that are read when they are asked for: ``rows[start:stop]`` is an array."""

    def __init__(self, lengths: Sequence[int], read: Callable[[int], Any], limit: int | None) -> None:
        """Shard i has ``lengths[i]`` samples, those of ``read(i)``; only the first ``limit`` count."""
        self._starts = [0, *itertools.accumulate(lengths)]
        self._read = read
        self._length = min(self._starts[-1], limit) if limit is not None else self._starts[-1]

    def __len__(self) -> int:
        """N."""
        return self._length

    def __getitem__(self, window: slice) -> Array:
        """Samples of a contiguous slice, from as many shards as it touches."""
        start, stop, step = window.indices(self._length)
        assert step == 1
        shard = max(0, bisect.bisect_right(self._starts, start) - 1)
        parts = []
        while True:
            first = self._starts[shard]
            parts.append(np.asarray(self._read(shard)[max(0, start - first) : stop - first]))
            shard += 1
            if shard == len(self._starts) - 1 or self._starts[shard] >= stop:
                return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Converted:
    """An array [N, …], perhaps mapped from a file, of which what is indexed is cast: never all of it."""

    def __init__(self, array: Array, dtype: npt.DTypeLike) -> None:
        """``array`` as it lies in memory or in a file."""
        self._array, self.dtype, self.shape = array, np.dtype(dtype), array.shape

    def __len__(self) -> int:
        """N."""
        return len(self._array)

    def __getitem__(self, index: int | slice) -> Array:
        """Samples, as ``dtype``."""
        return self._array[index].astype(self.dtype)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """All samples, for those who need them together."""
        del copy
        return self._array.astype(self.dtype if dtype is None else dtype)
