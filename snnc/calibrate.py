"""Calibration: runs the ANN over the user's samples in onnxruntime, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc import synthetic
from snnc.backends.base import Ran
from snnc.backends.fast.engine import FastEngine
from snnc.backends.onnx import AnnRunner
from snnc.diagnostics import CompileError, Diagnostics
from snnc.estimate import Gaussian, Largest, PerChannel, estimate
from snnc.in_order import in_order
from snnc.ir.context import Adjust, R
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Input, MaxGate
from snnc.ir.projections import neuron_updates
from snnc.ir.statistics import Extremes, Histogram
from snnc.tune import tune

Array = npt.NDArray[Any]

LARGEST_BATCH = 16
WAITING_BYTES = 1 << 28
"""The activations that wait to be counted take no more, nor a quarter of the memory that is allowed.

There are many when the counting begins.
"""

_IMAGE_BYTES = 128
"""What making a synthetic image takes for each element: its complex spectrum, there and back."""

RUN_SAMPLES = 16
"""How many calibration samples a compilation measures its layers on, at most."""

_FEWEST = 4
_NEURON_STEPS = 500_000_000
"""So often, at most, neurons are updated for it, unless by the fewest samples."""


class CompileContext:
    """What passes may ask for (see :class:`snnc.ir.context.Context`).

    ``calibration`` holds one array per input in the user's layout, None without data; ``saved`` the
    statistics of an earlier compilation. ``statistics`` collects those of this one, ``reduced`` the
    reducers of the ANN's activations; contexts on the same data may share it. ``engine`` runs integer
    networks: what it has prepared for one serves the next.
    """

    def __init__(
        self,
        diagnostics: Diagnostics,
        calibration: Mapping[str, Array] | None = None,
        saved: Mapping[str, Any] | None = None,
        max_memory: int = 1 << 30,
        threads: int = 1,
        input_range: tuple[float, float] | None = None,
    ) -> None:
        """``max_memory`` bounds the bytes of one batch; ``input_range`` is what inputs span without data."""
        self.diagnostics = diagnostics
        self.calibration = calibration
        self.max_memory = max_memory
        self.threads = threads
        self.engine = FastEngine(threads, max_memory)
        self.input_range = input_range
        self.statistics: dict[str, Any] = {}
        self.reduced: dict[tuple[str, str], dict[int, Any]] = {}
        self.imported: Network | None = None
        self._saved = saved
        self._ran: tuple[str, Ran] | None = None

    @property
    def has_data(self) -> bool:
        """Whether calibration data were given."""
        return self.calibration is not None

    def activations(self, network: Network, taps: Sequence[int], make: Callable[[], R]) -> dict[int, R]:
        """Stream the calibration data through an ann-level network; one reducer per tap."""
        assert self.calibration is not None
        key = getattr(make(), "key", None)
        if key is None:
            return self._stream(self.calibration, network, taps, make)
        own: dict[int, R] = self.reduced.setdefault((network.fingerprint(), key), {})
        if missing := [tap for tap in taps if tap not in own]:
            own |= self._stream(self.calibration, network, missing, make)
        return {tap: own[tap] for tap in taps}

    def _stream(
        self, data: Mapping[str, Array], network: Network, taps: Sequence[int], make: Callable[[], R]
    ) -> dict[int, R]:
        reducers = {tap: make() for tap in taps}
        if not taps:
            return reducers
        runner = AnnRunner(network, taps)
        batch = self._batch(network)
        samples = len(next(iter(data.values())))

        def values_of(start: int) -> dict[int, Array]:
            return runner.run({name: np.asarray(x[start : start + batch]) for name, x in data.items()})

        # as many at work as threads, while another one's are counted
        waiting = min(WAITING_BYTES, self.max_memory // 4) // (
            4 * batch * sum(network.type(tap).size for tap in taps)
        )
        ahead = self.threads + max(1, waiting)
        with ThreadPoolExecutor(self.threads) as pool:
            results = in_order(lambda start: pool.submit(values_of, start), range(0, samples, batch), ahead)
            for found in results:
                for tap, values in found.items():
                    _require_finite(network, tap, values)
                    reducers[tap].update(values)
        return reducers

    def estimate(
        self, network: Network, nodes: Sequence[int], *, per_channel: bool
    ) -> Mapping[int, Gaussian | PerChannel | Largest]:
        """Data-free distributions, with a warning: from batch norms, elsewhere from synthetic images."""
        imported = self.imported or network
        known = estimate(imported, network, nodes, per_channel=per_channel)
        rest = [node for node in nodes if node not in known]
        size = max(network.type(n).size for n in network.of(Input))
        samples = min(synthetic.SAMPLES, max(1, self.max_memory // (_IMAGE_BYTES * size)))
        images = synthetic.images(network, self.input_range, samples)
        reducers = self._stream(images, network, rest, Histogram)
        found: dict[int, Gaussian | PerChannel | Largest] = dict(known)
        for node in rest:
            channels = network.type(node).shape[0] if per_channel else 1
            found[node] = Largest(np.full(channels, reducers[node].percentile(100)))
        sources = [(len(known), "batch norms"), (len(rest), "synthetic images")]
        used = " and ".join(f"{count} from {what}" for count, what in sources if count)
        self.diagnostics.warning(
            "SNNC0122",
            f"no calibration data: thresholds are estimated, {used}",
            remedy="give --calib with a few hundred training samples; evaluate measures the loss",
        )
        return found

    def tune(self, network: Network, adjust: Adjust, samples: int, positions: int | None = None) -> Network:
        """The network with its populations and readouts adjusted one after the other."""
        assert self.calibration is not None
        if self.imported is None:
            raise CompileError.of(
                "SNNC0155",
                "calibration of a spiking network needs the ANN that it is compared with",
                remedy="begin the pipeline with the ONNX model",
            )
        few = {name: np.asarray(x[:samples]) for name, x in self.calibration.items()}
        result, ran = tune(network, self.imported, few, adjust, self.engine, positions)
        self._ran = result.fingerprint(), ran
        return result

    def keep_run(self, old: Network, new: Network) -> None:
        """Take ``new`` for one that does what ``old`` does, population by population in their order."""
        if self._ran and self._ran[0] == old.fingerprint():
            pairs = zip(old.of(Input, IfNeuron, MaxGate), new.of(Input, IfNeuron, MaxGate), strict=True)
            self._ran = new.fingerprint(), self._ran[1].renumbered(dict(pairs))

    def tuned_run(self, network: Network) -> Ran | None:
        """What a network did when it, or one of the same spikes, was tuned, if that was last."""
        return self._ran[1] if self._ran and self._ran[0] == network.fingerprint() else None

    def run(self, network: Network) -> Ran | None:
        """What a spiking network does on a few calibration samples; None without data.

        They are those it was tuned on, or else spread over the data.
        """
        if self.calibration is None:
            return None
        if tuned := self.tuned_run(network):
            return tuned.first(RUN_SAMPLES)
        total = len(next(iter(self.calibration.values())))
        count = max(_FEWEST, min(RUN_SAMPLES, _NEURON_STEPS // neuron_updates(network)))
        rows = np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
        few = {name: np.asarray(x[rows]) for name, x in self.calibration.items()}
        return Ran(few, self.engine.simulate(network, few))

    def input_extremes(self, name: str) -> Extremes | None:
        """What the calibration data of an input span, or the range that it was declared to have."""
        extremes = Extremes()
        if self.calibration is None:
            if self.input_range is None:
                return None
            # as if every value in the range had been seen as often
            extremes.update(np.linspace(*self.input_range, 257))
            extremes.integer = False
            return extremes
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
        """As many samples as fit: float32 of every tensor, twice for onnxruntime, and once for the reader."""
        sizes = [network.type(n).size for n in network.nodes if network.op(n).mnemonic != "output"]
        return max(1, min(LARGEST_BATCH, self.max_memory // ((8 * self.threads + 4) * sum(sizes))))


def _require_finite(network: Network, node: int, values: Array) -> None:
    if not np.isfinite(values).all():
        raise CompileError.of(
            "SNNC0123",
            "the activations are not finite on the data they are calibrated with",
            where=network.op(node).origin,
            remedy="check the data's range and the model's weights",
        )
