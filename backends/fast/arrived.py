"""What reaches a population about to run, gathered from the runs of different samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.fast.run import Run

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Arrived:
    """See :class:`snnc.backends.fast.engine.Arriving`; ``runs`` stand before ``node``."""

    node: int
    runs: Sequence[Run]
    pool: ThreadPoolExecutor

    def currents(self, positions: Array) -> Array:
        """Z, integers [N, S, C, P]."""
        parts = list(self.pool.map(lambda run: run.seen(self.node, positions, keep=True), self.runs))
        return np.concatenate(parts).swapaxes(2, 3)

    def totals(self, positions: Array) -> dict[int, Array]:
        """What each weighted op multiplies, summed over the run: [N, P, groups, K] by node."""
        parts = list(self.pool.map(lambda run: run.totals(self.node, positions), self.runs))
        return {weighted: np.concatenate([part[weighted] for part in parts]) for weighted in parts[0]}
