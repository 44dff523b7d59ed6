"""From a model to a compiled network: import, pipeline, measurement, report."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc import artifact, data, spec
from snnc.compiled import Array, CompiledNetwork, Normalisation, named_arrays, network_costs
from snnc.diagnostics import CompileError, Diagnostics, UsageError
from snnc.evaluation import make_engine, processors
from snnc.ir.network import Network
from snnc.measure import SAMPLES, Measurement, measure
from snnc.version import IR_FORMAT, NETLIST_FORMAT, __version__

if TYPE_CHECKING:
    import onnx

    from snnc.passes.base import Pass
    from snnc.pipeline import PassRecord, Pipeline, PipelineResult

    Model = str | os.PathLike[str] | bytes | onnx.ModelProto
    Observer = Callable[[int, Pass | None, Network], None]
    Calibration = str | os.PathLike[str] | Array | Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Request:
    """How to compile. Options that are None are left to the pipeline.

    ``pipeline`` is pipeline text, or a Pipeline of passes as they are; it excludes ``preset``. ``bits``,
    ``T``, ``schedule``, ``input`` and ``target`` fill what a text leaves open. ``probe`` is the number of
    samples that promises are proved on; ``max_memory`` is in bytes.
    """

    preset: str | None = None
    pipeline: str | Pipeline | None = None
    bits: int | None = None
    T: int | None = None
    schedule: str | None = None
    input: str | None = None
    target: str | None = None
    normalisation: Normalisation | None = None
    probe: int = 2
    max_memory: int = data.DEFAULT_MEMORY
    threads: int = dataclasses.field(default_factory=processors)
    stop_after: str | None = None
    keep_source: bool = True

    @property
    def flags(self) -> dict[str, Any]:
        """The pass options that were given."""
        names = ("bits", "T", "schedule", "input", "target")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def compile_model(
    model: Model,
    request: Request | None = None,
    *,
    calibration: Calibration | None = None,
    statistics: str | os.PathLike[str] | None = None,
    diagnostics: Diagnostics | None = None,
    observe: Observer | None = None,
) -> CompiledNetwork:
    """Compile an ONNX model: a path, bytes or a ModelProto.

    ``calibration`` is ``FILE[:KEY]``, an array or one array per input; ``statistics`` the
    calibration.json of an earlier compilation. Raises CompileError for content that cannot be compiled
    and UsageError for a wrong request; all problems found together are in the one exception.
    """
    from snnc import frontend

    request, diagnostics = request or Request(), diagnostics or Diagnostics()
    passes = build_passes(request)
    saved = read_statistics(statistics)
    imported = frontend.load(model, diagnostics, preprocessing=_preprocessing(request.normalisation))
    samples = load_calibration(calibration, imported.network, diagnostics, request.max_memory)
    result, kept = _run(imported.network, passes, samples, saved, request, diagnostics, observe)
    if result.network.level == "ann":
        raise CompileError.of(
            "SNNC0155",
            "the pipeline leaves the network at the ann level: there is nothing to compile",
            remedy="add spikify to the pipeline, or use snnc opt to see the IR",
        )
    source = imported.proto.SerializeToString(deterministic=True)
    measured = _measure(imported.network, result.network, samples, request)
    return CompiledNetwork(
        network=result.network,
        source=source if request.keep_source else None,
        statistics=kept,
        record=_record(request, passes, result.records, source, samples, saved),
        report_data=_report(result.network, result.records, measured),
    )


def optimise(
    source: Model | Network,
    request: Request,
    *,
    calibration: Calibration | None = None,
    statistics: str | os.PathLike[str] | None = None,
    diagnostics: Diagnostics | None = None,
    observe: Observer | None = None,
) -> Network:
    """The network that a pipeline makes of a model, or of a network at any level.

    Parameters and errors are those of :func:`compile_model`.
    """
    from snnc import frontend

    diagnostics = diagnostics or Diagnostics()
    passes = build_passes(request)
    saved = read_statistics(statistics)
    network = source
    if not isinstance(network, Network):
        preprocessing = _preprocessing(request.normalisation)
        network = frontend.load(network, diagnostics, preprocessing=preprocessing).network
    samples = load_calibration(calibration, network, diagnostics, request.max_memory)
    return _run(network, passes, samples, saved, request, diagnostics, observe)[0].network


def _run(
    network: Network,
    passes: tuple[Pass, ...],
    samples: Mapping[str, Array] | None,
    saved: dict[str, Any] | None,
    request: Request,
    diagnostics: Diagnostics,
    observe: Observer | None,
) -> tuple[PipelineResult, dict[str, Any]]:
    """What the pipeline makes of a network, and the statistics that it used."""
    from snnc import pipeline

    context = pipeline.CompileContext(diagnostics, samples, saved, request.max_memory, request.threads)
    result = pipeline.run(
        network, passes, context, probe=request.probe, observe=observe, stop_after=request.stop_after
    )
    return result, dict(context.statistics)


def build_passes(request: Request) -> tuple[Pass, ...]:
    """The passes of a request. Raises UsageError for faulty text and for options nothing takes."""
    from snnc import passes

    if request.preset and request.pipeline is not None:
        raise UsageError.of("SNNC0154", "a preset and a pipeline exclude each other")
    text = request.pipeline
    if text is None:
        name = request.preset or "default"
        if name not in passes.PRESETS:
            remedy = spec.known(name, passes.PRESETS)
            raise UsageError.of("SNNC0153", f"unknown preset {name!r}", remedy=remedy)
        text = passes.PRESETS[name]
    built = passes.build(text, request.flags) if isinstance(text, str) else text.passes
    for flag, value in request.flags.items():
        if all(step.options().get(flag) != value for step in built):
            raise UsageError.of("SNNC0154", f"{flag}={value} has no effect: no pass of the pipeline takes it")
    names = [step.name for step in built]
    if request.stop_after is not None and request.stop_after not in names:
        remedy = spec.known(request.stop_after, names)
        raise UsageError.of("SNNC0153", f"the pipeline has no pass {request.stop_after!r}", remedy=remedy)
    return built


def read_statistics(path: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    """The statistics of an earlier compilation.

    Raises UsageError if the file is missing, CompileError (SNNC0124) if it is not JSON.
    """
    if path is None:
        return None
    file = pathlib.Path(path)
    if not file.is_file():
        raise UsageError.of("SNNC0164", f"there is no file {file}")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CompileError.of("SNNC0124", f"{file} is not the calibration.json of a compilation")
    return content


def load_calibration(
    calibration: Calibration | None, network: Network, diagnostics: Diagnostics, max_memory: int
) -> dict[str, Array] | None:
    """The calibration arrays by input name, checked; None without data."""
    if calibration is None:
        return None
    if isinstance(calibration, str | os.PathLike):
        return data.calibration(os.fspath(calibration), network, diagnostics, max_memory=max_memory)
    return named_arrays(network, calibration, data.CALIBRATION, diagnostics)


def _preprocessing(normalisation: Normalisation | None) -> Any:
    if normalisation is None:
        return None
    from snnc.frontend import Preprocessing

    return Preprocessing(normalisation.mean, normalisation.std, normalisation.scale)


def _measure(
    ann: Network, network: Network, samples: Mapping[str, Array] | None, request: Request
) -> Measurement | None:
    """Layer errors and spikes on a few samples spread over the calibration data."""
    if samples is None or network.level == "ann":
        return None
    total = len(next(iter(samples.values())))
    rows = np.unique(np.linspace(0, total - 1, min(SAMPLES, total)).astype(int))
    engine = make_engine("fast", request.max_memory, request.threads)
    return measure(ann, network, {name: np.asarray(x[rows]) for name, x in samples.items()}, engine)


def _record(
    request: Request,
    passes: Sequence[Pass],
    records: Sequence[PassRecord],
    source: bytes,
    samples: Mapping[str, Array] | None,
    saved: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What the manifest says of this compilation: nothing that differs between machines."""
    before = request.normalisation
    return {
        "snnc": __version__,
        "ir": IR_FORMAT,
        "netlist": NETLIST_FORMAT,
        "pipeline": ",".join(spec.to_text(step) for step in passes),
        "options": {
            **request.flags,
            "preset": request.preset if request.pipeline is not None else request.preset or "default",
            "normalisation": dataclasses.asdict(before) if before else None,
            "probe": request.probe,
            "stop_after": request.stop_after,
        },
        "inputs": {
            "model": hashlib.sha256(source).hexdigest(),
            "calibration": data.digest(samples) if samples is not None else None,
            "statistics": hashlib.sha256(artifact.to_json(saved)).hexdigest() if saved is not None else None,
        },
        "promises": [{"pass": r.text, "promise": r.promise, "held": r.held} for r in records],
    }


def _report(network: Network, records: Sequence[PassRecord], measured: Measurement | None) -> dict[str, Any]:
    from snnc.backends import report

    costs = network_costs(network, measured.counts if measured else {}) if network.level == "int" else None
    return report.build(
        network,
        costs=costs,
        sqnr_db=measured.sqnr_db if measured else {},
        samples=measured.samples if measured else 0,
        passes=[dataclasses.asdict(record) for record in records],
    )
