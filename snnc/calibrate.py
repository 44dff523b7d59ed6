"""Calibration: runs the ANN over the user's samples in onnxruntime, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.onnx import AnnRunner
from snnc.diagnostics import CompileError, Diagnostics
from snnc.estimate import Gaussian, PerChannel, estimate
from snnc.ir.context import R
from snnc.ir.network import Network
from snnc.ir.statistics import Extremes

Array = npt.NDArray[Any]

LARGEST_BATCH = 64


class CompileContext:
    """What passes may ask for (see :class:`snnc.ir.context.Context`).

    ``calibration`` holds one array per input in the user's layout, None without data; ``saved`` the
    statistics of an earlier compilation. ``statistics`` collects those of this one.
    """

    def __init__(
        self,
        diagnostics: Diagnostics,
        calibration: Mapping[str, Array] | None = None,
        saved: Mapping[str, Any] | None = None,
        max_memory: int = 1 << 30,
        threads: int = 1,
    ) -> None:
        """``max_memory`` bounds the bytes of one batch of activations."""
        self.diagnostics = diagnostics
        self.calibration = calibration
        self.max_memory = max_memory
        self.threads = threads
        self.statistics: dict[str, Any] = {}
        self.imported: Network | None = None
        self._saved = saved

    @property
    def has_data(self) -> bool:
        """Whether calibration data were given."""
        return self.calibration is not None

    def activations(self, network: Network, taps: Sequence[int], make: Callable[[], R]) -> dict[int, R]:
        """Stream the calibration data through an ann-level network; one reducer per tap."""
        assert self.calibration is not None
        reducers = {tap: make() for tap in taps}
        if not taps:
            return reducers
        runner = AnnRunner(network, taps, self.threads)
        batch = self._batch(network)
        samples = len(next(iter(self.calibration.values())))
        for start in range(0, samples, batch):
            part = {name: np.asarray(x[start : start + batch]) for name, x in self.calibration.items()}
            for tap, values in runner.run(part).items():
                if not np.isfinite(values).all():
                    raise CompileError.of(
                        "SNNC0123",
                        "the activations on the calibration data are not finite",
                        where=network.op(tap).origin,
                        remedy="check the data's range and the model's weights",
                    )
                reducers[tap].update(values)
        return reducers

    def estimate(
        self, network: Network, nodes: Sequence[int], *, per_channel: bool
    ) -> Mapping[int, Gaussian | PerChannel]:
        """Data-free distributions, with a warning."""
        self.diagnostics.warning(
            "SNNC0122",
            "no calibration data: thresholds are estimated from the model's own statistics",
            remedy="give --calib with a few hundred training samples; evaluate measures the loss",
        )
        return estimate(self.imported or network, network, nodes, per_channel=per_channel)

    def input_extremes(self, name: str) -> Extremes | None:
        """What the calibration data of an input span."""
        if self.calibration is None:
            return None
        extremes = Extremes()
        array = self.calibration[name]
        for start in range(0, len(array), LARGEST_BATCH):
            extremes.update(np.asarray(array[start : start + LARGEST_BATCH]))
        return extremes

    def saved(self, key: str) -> Any:
        """A value of the user's statistics file."""
        return None if self._saved is None else self._saved.get(key)

    def save(self, key: str, value: Any) -> None:
        """Keep a JSON value for calibration.json."""
        self.statistics[key] = value

    def _batch(self, network: Network) -> int:
        """As many samples as fit: float32 of every tensor, twice for onnxruntime's own copies."""
        sizes = [network.type(n).size for n in network.nodes if network.op(n).mnemonic != "output"]
        return max(1, min(LARGEST_BATCH, self.max_memory // (8 * sum(sizes))))
