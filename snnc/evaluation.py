"""How a spiking network answers a dataset, beside the ANN it comes from, in batches."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from snnc import cluster
from snnc.backends.base import Engine, Trace, decode
from snnc.data import Evaluation
from snnc.diagnostics import CompileError, Diagnostics
from snnc.fixedpoint import quantize_input
from snnc.in_order import in_order
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, Input, MaxGate, Output
from snnc.ir.projections import latency
from snnc.ir.types import Int
from snnc.measure import sqnr

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
EngineName = Literal["fast", "reference"]
Ann = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""The ANN: a batch of user inputs to its outputs by name."""

BATCH = 16
"""Samples in a batch: enough for the engine, few enough for progress and interrupts."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to run; no field changes a result.

    ``jobs`` batches run at a time, by default as many as there are processors, or on the Dask cluster of
    ``scheduler``.
    """

    engine: EngineName = "fast"
    jobs: int | None = None
    batch: int = BATCH
    max_memory: int = 2 << 30
    scheduler: str | None = None

    @property
    def workers(self) -> int:
        """How many batches run at a time."""
        return self.jobs or processors()


@dataclasses.dataclass
class Tally:
    """Sums over samples; batches add up. ``matches`` and ``hits`` are counted at each step of interest."""

    samples: int
    counts: dict[int, Floats]
    clipped: dict[str, tuple[int, int]]
    hits: npt.NDArray[np.int64] | None = None
    ann_hits: int = 0
    matches: npt.NDArray[np.int64] | None = None
    errors: dict[str, tuple[Floats, float, int]] = dataclasses.field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Account for another batch."""
        self.samples += other.samples
        self.ann_hits += other.ann_hits
        if self.hits is not None and other.hits is not None:
            self.hits = self.hits + other.hits
        if self.matches is not None and other.matches is not None:
            self.matches = self.matches + other.matches
        self.counts = {node: self.counts[node] + other.counts[node] for node in self.counts}
        self.clipped = {n: _plus(self.clipped[n], other.clipped[n]) for n in self.clipped}
        self.errors = {n: _plus(self.errors[n], other.errors[n]) for n in self.errors}


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_engine(name: EngineName, max_memory: int, threads: int = 1) -> Engine:
    """The simulator of this name."""
    if name == "reference":
        from snnc.backends.reference.engine import ReferenceEngine

        return ReferenceEngine(max_memory=max_memory)
    from snnc.backends.fast.engine import FastEngine

    return FastEngine(threads=threads, max_memory=max_memory)


def steps_of(network: Network) -> list[int]:
    """The steps at which answers are reported: 1, 2, 4, …, T under ``rate``, T alone otherwise."""
    assert network.steps is not None
    if network.schedule != "rate":
        return [network.steps]
    powers = [1 << k for k in range(network.steps.bit_length()) if 1 << k < network.steps]
    return [*powers, network.steps]


def evaluate(
    network: Network,
    data: Evaluation,
    ann: Ann | None,
    settings: Settings,
    diagnostics: Diagnostics,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Any], Tally]:
    """Top-1 of ANN and SNN, their agreement and the outputs' error at every step of interest.

    ``ann`` answers where ``data`` do not say what is expected. ``progress`` is told samples done and in
    total. Raises CompileError (SNNC0162) if there is nothing to compare with: neither an ANN nor labels,
    or labels outside the network's classes.
    """
    data = scorable(network, data, diagnostics, has_ann=ann is not None)
    tally: Tally | None = None
    for part in _batches(network, data, ann, settings):
        if tally is None:
            tally = part
        else:
            tally.add(part)
        if progress:
            progress(tally.samples, data.samples)
    assert tally is not None
    _report_clipping(tally, diagnostics)
    return _result(network, tally), tally


def mean_counts(tally: Tally) -> dict[int, Floats]:
    """Spikes per sample of every neuron, by node."""
    return {node: total / tally.samples for node, total in tally.counts.items()}


def scorable(network: Network, data: Evaluation, diagnostics: Diagnostics, *, has_ann: bool) -> Evaluation:
    """The data, without labels that mean nothing to ``network``, at any level.

    Raises CompileError as :func:`evaluate`.
    """
    classes = network.type(network.operands(next(network.of(Output)))[0]).size
    if data.labels is not None and classes == 1:
        diagnostics.note("SNNC0162", "labels are not used: the network has a single output value")
        data = dataclasses.replace(data, labels=None)
    if data.labels is None and data.expected is None and not has_ann:
        raise CompileError.of(
            "SNNC0162",
            "there is nothing to compare with: no labels, and the artifact keeps no source model",
            remedy="give an array y, or compile without --no-source",
        )
    if data.labels is not None and int(data.labels.max()) >= classes:
        message = f"label {int(data.labels.max())} is not one of the network's {classes} classes"
        raise CompileError.of("SNNC0162", message, remedy="classes are numbered from 0")
    return data


def _batches(network: Network, data: Evaluation, ann: Ann | None, settings: Settings) -> Iterator[Tally]:
    """One tally per batch, in order; no more batches are in flight than there are workers."""
    starts = range(0, data.samples, settings.batch)
    if settings.scheduler is not None:
        yield from _on_cluster(network, data, ann, settings, settings.scheduler)
        return
    engine = make_engine(settings.engine, max(1, settings.max_memory // settings.workers))

    def one(start: int) -> Tally:
        return _run(network, engine, *_cut(data, ann, start, settings.batch))

    with concurrent.futures.ThreadPoolExecutor(settings.workers) as pool:
        yield from in_order(lambda start: pool.submit(one, start), starts, settings.workers)


def _on_cluster(
    network: Network, data: Evaluation, ann: Ann | None, settings: Settings, address: str
) -> Iterator[Tally]:
    """Batches simulated by the workers of a Dask cluster; data are read and the ANN runs here."""
    with cluster.connect(address) as client:
        shared = client.scatter((network, settings.engine, settings.max_memory), broadcast=True)

        def submit(start: int) -> Any:
            return client.submit(_elsewhere, shared, *_cut(data, ann, start, settings.batch), pure=False)

        starts = range(0, data.samples, settings.batch)
        most = 2 * sum(client.nthreads().values())
        with cluster.losses(address):
            yield from in_order(submit, starts, most)


Part = tuple[dict[str, Array], npt.NDArray[np.int64] | None, Mapping[str, Array] | None]
"""Inputs, labels and the ANN's outputs of one batch, as far as they are known."""


def _cut(data: Evaluation, ann: Ann | None, start: int, size: int) -> Part:
    window = slice(start, start + size)
    inputs = {name: x[window] for name, x in data.inputs.items()}
    labels = None if data.labels is None else data.labels[window]
    if data.expected is not None:
        return inputs, labels, {name: y[window] for name, y in data.expected.items()}
    return inputs, labels, ann(inputs) if ann is not None else None


def _run(
    network: Network,
    engine: Engine,
    inputs: dict[str, Array],
    labels: npt.NDArray[np.int64] | None,
    expected: Mapping[str, Array] | None,
) -> Tally:
    return _tally(network, inputs, labels, engine.simulate(network, inputs), expected)


_local = threading.local()


def _elsewhere(shared: tuple[Network, EngineName, int], *part: Any) -> Tally:
    """A batch on a worker of a cluster, which keeps its engine."""
    network, name, max_memory = shared
    if getattr(_local, "settings", None) != (name, max_memory):
        _local.engine, _local.settings = make_engine(name, max_memory), (name, max_memory)
    return _run(network, _local.engine, *part)


def _tally(
    network: Network,
    inputs: Mapping[str, Array],
    labels: npt.NDArray[np.int64] | None,
    trace: Trace,
    expected: Mapping[str, Array] | None,
) -> Tally:
    samples = len(next(iter(inputs.values())))
    counts = {node: np.asarray(c.sum(axis=0), np.float64) for node, c in trace.emitted().items()}
    tally = Tally(samples, counts, _clipped(network, inputs))
    first = network.op(next(network.of(Output)))
    assert isinstance(first, Output)
    at = _answers(network, trace.outputs[first.name])
    # the integers themselves are compared: no rounding can make or break a tie
    classes = trace.outputs[first.name][:, at].reshape(samples, len(at), -1).argmax(axis=2)
    if labels is not None:
        tally.hits = (classes == labels[:, None]).sum(axis=0)
    if expected is not None:
        wanted = expected[first.name].reshape(samples, -1)
        wanted = wanted[:, 0] if "argmax" in first.activation.split(",") else wanted.argmax(axis=1)
        tally.matches = (classes == wanted[:, None]).sum(axis=0)
        tally.ann_hits = int((wanted == labels).sum()) if labels is not None else 0
        tally.errors = _errors(network, trace, expected)
    return tally


def _answers(network: Network, output: Array) -> list[int]:
    """The positions of the steps of interest on an output's axis of answers."""
    return [step - 1 for step in steps_of(network)] if output.shape[1] > 1 else [0]


def _errors(
    network: Network, trace: Trace, expected: Mapping[str, Array]
) -> dict[str, tuple[Floats, float, int]]:
    """Squared error at each step, power and number of values, of every output."""
    found = {}
    decoded = decode(network, trace)
    for node in network.of(Output):
        op = network.op(node)
        assert isinstance(op, Output)
        values = decoded[op.name]
        answers = host(op.activation, values[:, _answers(network, values)])
        if answers is not None:
            wanted = np.asarray(expected[op.name], np.float64).reshape(len(values), 1, -1)
            squares = (answers.reshape(*answers.shape[:2], -1) - wanted) ** 2
            found[op.name] = (squares.sum(axis=(0, 2)), float((wanted**2).sum()), wanted.size)
    return found


def host(activation: str, values: Floats) -> Floats | None:
    """What the host makes of a network's output; ``values`` are [N, A, C, …], classes on axis 2.

    ``activation`` names functions in order, joined by commas. None where the result is no longer
    comparable by its values: class numbers, or codes of a quantization that the network does not know.
    """
    for name in filter(None, activation.split(",")):
        if name not in _HOST:
            return None
        values = _HOST[name](values)
    return values


def _log_softmax(values: Floats) -> Floats:
    shifted = values - values.max(axis=2, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True)))


_HOST: dict[str, Callable[[Floats], Floats]] = {
    # a network's own values are real; to round them to codes and back says nothing about it
    "dequantize": lambda values: values,
    "log_softmax": _log_softmax,
    "relu": lambda values: np.maximum(values, 0),
    "requantize": lambda values: values,
    "sigmoid": lambda values: 0.5 * (1 + np.tanh(values / 2)),
    "softmax": lambda values: np.exp(_log_softmax(values)),
}


def _clipped(network: Network, inputs: Mapping[str, Array]) -> dict[str, tuple[int, int]]:
    found = {}
    for node in network.of(Input):
        op = network.op(node)
        assert isinstance(op, Input)
        x = inputs[op.name]
        if op.coding == "events":
            found[op.name] = (int(np.maximum(x - float(op.max_count), 0).sum()), int(x.sum()) or 1)
            continue
        element = Int(op.bits, op.signed) if op.bits else None
        clipped = quantize_input(x, op.scale, element.lo, element.hi)[1] if element else 0
        found[op.name] = (clipped, x.size)
    return found


def _report_clipping(tally: Tally, diagnostics: Diagnostics) -> None:
    for name, (clipped, size) in tally.clipped.items():
        if clipped:
            message = f"{clipped / size:.2%} of the values of input {name!r} exceed its integer range"
            diagnostics.warning("SNNC0125", message, remedy="calibrate with data of this range")


def losses(points: float, limit: float, samples: int) -> tuple[int, int]:
    """How many samples a loss of ``points`` is, and how many ``limit`` points allow, rounded up."""
    return round(points * samples / 100), math.ceil(round(limit * samples / 100, 9))


def _result(network: Network, tally: Tally) -> dict[str, Any]:
    n = tally.samples
    classifier = network.type(network.operands(next(network.of(Output)))[0]).size > 1
    scored = tally.matches is not None and tally.hits is not None
    loss = 100 * int(tally.ann_hits - tally.hits[-1]) / n if scored and tally.hits is not None else None
    agreement = (tally.matches / n).tolist() if tally.matches is not None and classifier else None
    return {
        "samples": n,
        "T": network.steps,
        "schedule": network.schedule,
        "latency_steps": latency(network),
        "level": network.level,
        "ann_top1": tally.ann_hits / n if scored else None,
        "steps": steps_of(network),
        "snn_top1": None if tally.hits is None else (tally.hits / n).tolist(),
        "agreement": agreement,
        "loss_points": loss,
        "spikes_per_sample": _spikes(network, tally) / n,
        "firing_rate": _rate(network, tally),
        "outputs": {name: _quality(*error) for name, error in tally.errors.items()},
        "clipped": {name: clipped / size for name, (clipped, size) in tally.clipped.items()},
    }


def _spikes(network: Network, tally: Tally) -> float:
    """All spikes of populations: events that came in are not theirs."""
    return float(sum(tally.counts[node].sum() for node in network.of(IfNeuron, MaxGate)))


def _rate(network: Network, tally: Tally) -> float | None:
    """Spikes per neuron and step, over all populations that fire."""
    assert network.steps is not None
    neurons = sum(network.type(node).size for node in network.of(IfNeuron, MaxGate))
    if not neurons:
        return None
    return _spikes(network, tally) / (tally.samples * neurons * network.steps)


def _quality(squares: Floats, power: float, size: int) -> dict[str, Any]:
    return {"mse": (squares / size).tolist(), "sqnr_db": [sqnr(power, float(e)) for e in squares]}


def _plus(one: Any, other: Any) -> Any:
    return tuple(a + b for a, b in zip(one, other, strict=True))
