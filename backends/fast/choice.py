"""The drive that is quickest for a layer, found by trying."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.fast.drive import Drive, Workspace

Array = npt.NDArray[Any]

_TRIALS = 3


class Quickest:
    """One of several drives that add the same integers: which one can only be seen in the time it takes.

    The first block that is run decides for all others. Threads that decide at the same moment may
    disagree; the last one prevails, to no effect on results.
    """

    def __init__(self, drives: Sequence[Drive]) -> None:
        """``drives`` are right, all of them."""
        self._drives = list(drives)
        self._chosen = self._drives[0] if len(self._drives) == 1 else None

    @property
    def chosen(self) -> Drive | None:
        """The one that runs, None before the first block."""
        return self._chosen

    def settle(self, x: Array, z: Array, workspace: Workspace) -> None:
        """Choose by the time for the block ``x``, which is added to z several times."""
        if self._chosen is None:
            seconds = [_seconds(drive, x, z, workspace) for drive in self._drives]
            self._chosen = self._drives[int(np.argmin(seconds))]

    def add(self, x: Array, z: Array, workspace: Workspace) -> None:
        """As the chosen drive, or the first before there is a choice."""
        (self._chosen or self._drives[0]).add(x, z, workspace)


def _seconds(drive: Drive, x: Array, z: Array, workspace: Workspace) -> float:
    """The least of a few trials: what other processes take is no property of the drive."""
    trials = []
    for _ in range(_TRIALS):
        begin = time.perf_counter()
        drive.add(x, z, workspace)
        trials.append(time.perf_counter() - begin)
    return min(trials)
