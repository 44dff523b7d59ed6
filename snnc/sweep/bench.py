"""The measuring bench of a sweep: what all compilations share is made once, by :func:`prepare`.

That is the imported model, the data with the ANN's answers to them, and the statistics of its
activations on the calibration data. A :class:`Workbench` adds the network before the first pass that
depends on the bits, which points of one preset and T have in common.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc import data, pipeline
from snnc.backends.costs import CostReport, energy_estimate
from snnc.calibrate import CompileContext
from snnc.compiled import Array, ann_of
from snnc.diagnostics import CompileError, Diagnostics, SnncError, UsageError
from snnc.driver import Request, import_model, load_calibration
from snnc.emission import network_costs
from snnc.evaluation import BATCH, Settings, evaluate, mean_counts, processors, scorable
from snnc.ir.network import Network
from snnc.passes.base import Pass
from snnc.sweep.grid import Point
from snnc.targets import load_energy_prices
from snnc.version import __version__

if TYPE_CHECKING:
    from snnc.driver import Model

Row = dict[str, Any]
"""What one compilation is, answers and costs, as JSON values; docs/sweep.md lists the fields."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Can be sent to other processes. ``digest`` names everything that a row depends on but its pipeline."""

    network: Network
    calibration: Mapping[str, Array] | None
    data: data.Evaluation
    reduced: dict[tuple[str, str], dict[int, Any]]
    probe: int
    max_memory: int
    digest: str

    def key(self, point: Point) -> str:
        """The sha256 that a point's row is stored under."""
        return hashlib.sha256(f"{self.digest}\n{point.pipeline}".encode()).hexdigest()


def prepare(
    model: Model,
    request: Request,
    diagnostics: Diagnostics,
    *,
    calibration: str | None,
    evaluation: str,
    limit: int | None = None,
) -> Bench:
    """Import the model, read the data, and let the ANN answer them.

    Raises CompileError or UsageError as ``compile_model`` and ``evaluate`` do.
    """
    imported = import_model(model, request, diagnostics)
    network = imported.network
    samples = load_calibration(calibration, network, diagnostics, request)
    dataset = data.evaluation(evaluation, network, diagnostics, limit=limit, max_memory=request.max_memory)
    dataset = scorable(network, dataset, diagnostics, has_ann=True)
    if imported.proto is None:
        raise UsageError.of("SNNC0154", "a sweep compares with an ANN: it takes an ONNX model")
    source = imported.content
    ann = ann_of(source, network, request.normalisation)
    batches = range(0, dataset.samples, BATCH)
    parts = [ann({name: x[i : i + BATCH] for name, x in dataset.inputs.items()}) for i in batches]
    expected = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    labels = {"labels": dataset.labels} if dataset.labels is not None else {}
    ingredients = (
        __version__,
        hashlib.sha256(source).hexdigest(),
        repr(request.normalisation),
        data.digest(samples) if samples is not None else "",
        data.digest({f"input {name}": x for name, x in dataset.inputs.items()} | labels),
    )
    return Bench(
        network=network,
        calibration=samples,
        data=dataclasses.replace(dataset, expected=expected),
        reduced={},
        probe=request.probe,
        max_memory=request.max_memory,
        digest=hashlib.sha256("\n".join(ingredients).encode()).hexdigest(),
    )


class Workbench:
    """Compiles and measures points of one bench, in one process."""

    def __init__(self, bench: Bench, diagnostics: Diagnostics, threads: int | None = None) -> None:
        """``threads`` are processors to use, all by default; no row depends on it."""
        self.bench = bench
        self.threads = threads or processors()
        self._diagnostics = diagnostics
        self._shared: tuple[tuple[Pass, ...], Network, CompileContext] | None = None

    def compile(self, point: Point) -> Network:
        """The integer network of a point."""
        shared = tuple(itertools.takewhile(lambda step: "bits" not in step.options(), point.passes))
        if self._shared is None or self._shared[0] != shared:
            context = CompileContext(
                self._diagnostics, self.bench.calibration, None, self.bench.max_memory, self.threads
            )
            context.reduced = self.bench.reduced
            before = pipeline.run(self.bench.network, shared, context, probe=self.bench.probe)
            self._shared = shared, before.network, context
        _, network, context = self._shared
        rest = point.passes[len(shared) :]
        network = pipeline.run(network, rest, context, probe=self.bench.probe).network
        if network.level != "int":
            raise CompileError.of(
                "SNNC0155", f"{point.label}: a sweep measures integer networks, not the {network.level} level"
            )
        return network

    def measure(self, point: Point) -> Row:
        """The row of a point."""
        network = self.compile(point)
        settings = Settings(jobs=self.threads, max_memory=self.bench.max_memory)
        result, tally = evaluate(network, self.bench.data, None, settings, self._diagnostics)
        return _row(point, result, network_costs(network, mean_counts(tally)))


def rehearse(workbench: Workbench, points: Sequence[Point]) -> None:
    """Compile every preset once, at its fewest steps, so that the statistics are there for all points.

    Raises CompileError with the problems of all presets that the model cannot take.
    """
    problems = []
    for preset in dict.fromkeys(point.preset for point in points):
        first = min((p for p in points if p.preset == preset), key=lambda p: p.T or 0)
        try:
            workbench.compile(first)
        except SnncError as error:
            problems += [dataclasses.replace(d, message=f"{preset}: {d.message}") for d in error.diagnostics]
    if problems:
        raise CompileError(problems)


def _row(point: Point, result: Mapping[str, Any], costs: CostReport) -> Row:
    """All figures are per sample."""
    totals = costs.totals
    sqnr = next((quality["sqnr_db"][-1] for quality in result["outputs"].values()), None)
    return {
        "preset": point.preset,
        "bits": next(step.options()["bits"] for step in point.passes if "bits" in step.options()),
        **{name: result[name] for name in ("T", "schedule", "latency_steps", "samples", "ann_top1")},
        "snn_top1": result["snn_top1"][-1] if result["snn_top1"] else None,
        "loss_points": result["loss_points"],
        "agreement": result["agreement"][-1] if result["agreement"] else None,
        "sqnr_db": sqnr,
        **{
            name: getattr(totals, name)
            for name in ("spikes", "sops", "eq14", "kernel_ops", "analog_macs", "neuron_updates", "macs")
        },
        "memory_bits": totals.weight_bits + totals.parameter_bits + totals.state_bits,
        "energy": {
            estimate.prices.name: {
                "picojoules": dict(estimate.picojoules),
                "total_picojoules": estimate.total,
            }
            for estimate in energy_estimate(totals, load_energy_prices())
        },
        "pipeline": point.pipeline,
    }
