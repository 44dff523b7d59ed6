"""What a pass may ask of the compiler that runs it; implemented by the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from snnc.diagnostics import Diagnostics
from snnc.ir.network import Network
from snnc.ir.statistics import Extremes, Reducer

R = TypeVar("R", bound=Reducer)


class Estimate(Protocol):
    """A data-free guess at the distribution of a tensor's magnitudes."""

    def percentile(self, percent: float) -> npt.NDArray[np.float64]:
        """The percentile of the whole layer, [1], or of each channel, [C]."""


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

    def input_extremes(self, name: str) -> Extremes | None:
        """What the calibration data of an input span, None without data."""

    def saved(self, key: str) -> Any:
        """A value of the statistics file given by the user, None if there is none."""

    def save(self, key: str, value: Any) -> None:
        """Put a JSON value into the statistics that the artifact keeps."""
