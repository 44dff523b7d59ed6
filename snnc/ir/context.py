"""What a pass may ask of the compiler that runs it; implemented by the pipeline."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from snnc.diagnostics import Diagnostics
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Op, Readout
from snnc.ir.statistics import Extremes, Reducer

R = TypeVar("R", bound=Reducer)


class Estimate(Protocol):
    """A data-free guess at the distribution of a tensor's magnitudes."""

    def percentile(self, percent: float) -> npt.NDArray[np.float64]:
        """The percentile of the whole layer, [1], or of each channel, [C]."""


@dataclasses.dataclass(frozen=True)
class Drive:
    """What reaches a population or readout on N calibration samples, at P positions of each channel.

    ``current`` is Z(t) + b(t), int64 [N, S, C, P], b being the op's own bias: of every step under ``rate``
    (S = T), else summed over the run (S = 1); it is added up by ``arrive`` when it is first asked for.
    ``expected`` [N, C, P] is the ANN's activation, clipped to what the population can express; ``usual`` [C]
    its mean over the positions, and over samples that only the ANN ran, too;
    ``respond(op)`` is what ``op`` makes of the current in the same units: λ·n/N of a population, V·unit/N
    of a readout. ``totals()`` has for every weighted op into it, by node, what its weights multiply, summed
    over the run: integers [N, P, groups, K].
    """

    arrive: Callable[[], npt.NDArray[np.int64]]
    expected: npt.NDArray[np.float64]
    usual: npt.NDArray[np.float64]
    respond: Callable[[IfNeuron | Readout], npt.NDArray[np.float64]]
    totals: Callable[[], Mapping[int, npt.NDArray[np.int64]]]

    @functools.cached_property
    def current(self) -> npt.NDArray[np.int64]:
        """Z(t) + b(t)."""
        return self.arrive()


Adjust = Callable[[int, Drive], Mapping[int, Op]]
"""The ops to run with in the place of a population or readout, and of the weighted ops into it."""


class Context(Protocol):
    """Calibration data and simulation for passes that need them."""

    diagnostics: Diagnostics

    @property
    def has_data(self) -> bool:
        """Whether calibration data were given."""

    def activations(self, network: Network, taps: Sequence[int], make: Callable[[], R]) -> dict[int, R]:
        """Run an ann-level network over the calibration data; one reducer for each tapped node."""

    def estimate(
        self, network: Network, nodes: Sequence[int], *, per_channel: bool
    ) -> Mapping[int, Estimate]:
        """Data-free distributions of what the nodes compute (docs/calibration.md)."""

    def tune(self, network: Network, adjust: Adjust, samples: int, positions: int | None = None) -> Network:
        """Run an int-level network on calibration data, adjusting its populations and readouts on the way.

        Each is adjusted after those before it, on what these now emit. At most ``samples`` samples are
        used; fewer run as spikes where these would not fit into a fixed amount of memory, or take long. Of
        every channel at least so many ``positions`` are looked at; without a number what means per channel
        need. Needs data.
        """

    def input_extremes(self, name: str) -> Extremes | None:
        """What the calibration data of an input span, or what it was declared to; None if neither."""

    def saved(self, key: str) -> Any:
        """A value of the statistics file given by the user, None if there is none."""

    def save(self, key: str, value: Any) -> None:
        """Put a JSON value into the statistics that the artifact keeps."""
