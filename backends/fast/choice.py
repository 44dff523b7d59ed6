"""The drive that is quickest for a layer, found by trying."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.fast.drive import Drive, Workspace

Array = npt.NDArray[Any]

_TRIALS = 3


class Quickest:
    """One of several drives that add the same integers: which one can only be seen in the time it takes.

    The first block that is run decides for all others. Each drive holds the weights in its own way: they are
    made when they are tried, and only the quickest is kept.
    """

    def __init__(self, candidates: Callable[[], Iterable[Drive]]) -> None:
        """``candidates`` are right, all of them."""
        self._candidates = candidates
        self._chosen: Drive | None = None
        self._choosing = threading.Lock()

    @property
    def chosen(self) -> Drive | None:
        """The one that runs, None before the first block."""
        return self._chosen

    def settle(self, x: Array, z: Array, workspace: Workspace) -> None:
        """Choose by the time for the block ``x``, which is added to z several times."""
        with self._choosing:
            if self._chosen is None:
                first, *others = self._candidates()
                self._chosen, least = first, _seconds(first, x, z, workspace, np.inf) if others else 0.0
                for drive in others:
                    seconds = _seconds(drive, x, z, workspace, least)
                    if seconds < least:
                        self._chosen, least = drive, seconds

    def add(self, x: Array, z: Array, workspace: Workspace) -> None:
        """As the chosen drive."""
        assert self._chosen is not None, "a drive is chosen before it runs"
        self._chosen.add(x, z, workspace)


def _seconds(drive: Drive, x: Array, z: Array, workspace: Workspace, beaten: float) -> float:
    """The least of a few trials: what other processes take is no property of the drive.

    One that takes more than four times what it would have to beat is not tried again.
    """
    least = np.inf
    for _ in range(_TRIALS):
        begin = time.perf_counter()
        drive.add(x, z, workspace)
        least = min(least, time.perf_counter() - begin)
        if least > 4 * beaten:
            break
    return least
