"""From a model to a compiled network: import, pipeline, measurement, report."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snnc import artifact, data, files, spec
from snnc.compiled import Array, CompiledNetwork, Normalisation, named_arrays
from snnc.diagnostics import CompileError, Diagnostics, UsageError
from snnc.emission import Emission, emit, network_costs, population_names
from snnc.evaluation import processors
from snnc.ir.network import Network
from snnc.measure import Measurement, measure
from snnc.version import IR_FORMAT, NETLIST_FORMAT, __version__

if TYPE_CHECKING:
    import onnx

    from snnc.backends.base import Activity, Backend, Ran
    from snnc.events import Events
    from snnc.frontend import Imported
    from snnc.passes.base import Pass
    from snnc.pipeline import CompileContext, PassRecord, Pipeline

    Model = str | os.PathLike[str] | bytes | onnx.ModelProto
    Observer = Callable[[int, Pass | None, Network], None]
    Calibration = str | os.PathLike[str] | Array | Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Request:
    """How to compile. Options that are None are left to the pipeline.

    ``pipeline`` is pipeline text, or a Pipeline of passes as they are; it excludes ``preset``. ``bits``,
    ``T``, ``schedule``, ``input``, ``max_count``, ``reset``, ``compare``, ``target``, ``acc_bits`` and
    ``align`` fill what a text leaves open. ``backends``, texts or objects, write files beside the netlist.
    ``input_range`` is what the inputs span where no calibration data show it. ``probe`` is the number of
    samples that promises are proved on; ``max_memory`` is in bytes; ``max_nodes`` and ``max_tensors``
    bound what a model holds.
    """

    preset: str | None = None
    pipeline: str | Pipeline | None = None
    bits: int | None = None
    T: int | None = None
    schedule: str | None = None
    input: str | None = None
    reset: str | None = None
    compare: str | None = None
    max_count: int | None = None
    target: str | None = None
    acc_bits: int | None = None
    align: bool | None = None
    backends: Sequence[str | Backend[Any]] = ()
    normalisation: Normalisation | None = None
    input_range: tuple[float, float] | None = None
    probe: int = 2
    max_memory: int = data.DEFAULT_MEMORY
    max_nodes: int = 100_000
    max_tensors: int = 100_000
    threads: int = dataclasses.field(default_factory=processors)
    stop_after: str | None = None
    keep_source: bool = True

    @property
    def flags(self) -> dict[str, Any]:
        """The pass options that were given."""
        names = (
            "bits",
            "T",
            "schedule",
            "input",
            "max_count",
            "reset",
            "compare",
            "target",
            "acc_bits",
            "align",
        )
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
    from snnc import pipeline

    request, diagnostics = request or Request(), diagnostics or Diagnostics()
    request = with_preset(request, model)
    passes, backends = build_passes(request), build_backends(request)
    saved = read_statistics(statistics)
    imported = import_model(model, request, diagnostics)
    samples = load_calibration(calibration, imported.network, diagnostics, request)
    context = _context(samples, saved, request, diagnostics)
    options = _run_options(request, observe)
    with pipeline.running(imported.network, passes, context, **options) as result:
        if result.network.level == "ann":
            raise CompileError.of(
                "SNNC0155",
                "the pipeline leaves the network at the ann level: there is nothing to compile",
                remedy="add spikify to the pipeline, or use snnc opt to see the IR",
            )
        anns = [ann for ann in (imported.network, result.ann) if ann.level == "ann"]
        ran = context.run(result.network)
        measured = measure(anns, result.network, ran) if ran else None
        emission = _emit(result.network, backends, _activity(result.network, ran, measured))
    return CompiledNetwork(
        network=result.network,
        source=imported.content if request.keep_source and imported.proto else None,
        statistics=dict(context.statistics),
        record=_record(request, passes, backends, result.records, imported.content, samples, saved),
        report_data=_report(result.network, result.records, measured, emission),
        emitted=emission.files,
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
    from snnc import pipeline

    diagnostics = diagnostics or Diagnostics()
    passes = build_passes(request)
    saved = read_statistics(statistics)
    network = source
    if not isinstance(network, Network):
        network = import_model(network, request, diagnostics).network
    samples = load_calibration(calibration, network, diagnostics, request)
    context = _context(samples, saved, request, diagnostics)
    return pipeline.run(network, passes, context, **_run_options(request, observe)).network


def _context(
    samples: Mapping[str, Array] | None,
    saved: dict[str, Any] | None,
    request: Request,
    diagnostics: Diagnostics,
) -> CompileContext:
    """What the passes of a request may ask for."""
    from snnc.calibrate import CompileContext

    return CompileContext(
        diagnostics, samples, saved, request.max_memory, request.threads, request.input_range
    )


def _run_options(request: Request, observe: Observer | None) -> dict[str, Any]:
    return {"probe": request.probe, "observe": observe, "stop_after": request.stop_after}


def with_preset(request: Request, model: Model) -> Request:
    """The request with the preset that suits the model where it names neither preset nor pipeline."""
    if request.preset or request.pipeline is not None:
        return request
    from snnc import frontend

    presets = {"ann": "default", "snn": "spiking", "int": "integer"}
    return dataclasses.replace(request, preset=presets[frontend.spiking_level(model)])


def build_passes(request: Request) -> tuple[Pass, ...]:
    """The passes of a request.

    Raises UsageError for faulty text and for options nothing takes, CompileError for options out of range.
    """
    from snnc import passes, pipeline

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
    pipeline.check(built)
    for flag, value in request.flags.items():
        if all(step.options().get(flag) != value for step in built):
            raise UsageError.of("SNNC0154", f"{flag}={value} has no effect: no pass of the pipeline takes it")
    names = [step.name for step in built]
    if request.stop_after is not None and request.stop_after not in names:
        remedy = spec.known(request.stop_after, names)
        raise UsageError.of("SNNC0153", f"the pipeline has no pass {request.stop_after!r}", remedy=remedy)
    return built


def build_backends(request: Request) -> tuple[Backend[Any], ...]:
    """The backends of a request. Raises UsageError for faulty text and for one that is given twice."""
    from snnc import backends

    built = tuple(
        backend
        for item in request.backends
        for backend in (backends.build(item) if isinstance(item, str) else (item,))
    )
    names = [backend.name for backend in built]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        raise UsageError.of("SNNC0154", f"the backend {name} is given twice", remedy="compile once for each")
    return built


def read_statistics(path: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    """The statistics of an earlier compilation.

    Raises UsageError if the file is missing, CompileError (SNNC0124) if it is not JSON.
    """
    if path is None:
        return None
    file = pathlib.Path(path)
    try:
        text = files.read_regular(file, limit=artifact.TEXT_BYTES)
    except FileNotFoundError:
        raise UsageError.of("SNNC0164", f"there is no file {file}") from None
    except OSError as error:
        raise UsageError.of("SNNC0164", f"cannot read {file}: {error.strerror or error}") from None
    try:
        content = artifact.parse_json(text, str(file))
    except CompileError:
        content = None
    if not isinstance(content, dict):
        raise CompileError.of("SNNC0124", f"{file} is not the calibration.json of a compilation")
    return content


def load_calibration(
    calibration: Calibration | None, network: Network, diagnostics: Diagnostics, request: Request
) -> dict[str, Array] | None:
    """The calibration arrays by input name, checked; None without data."""
    if calibration is None:
        return None
    if request.input_range is not None:
        remedy = "the data show the range: leave one of the two out"
        raise UsageError.of(
            "SNNC0154", "an input range and calibration data exclude each other", remedy=remedy
        )
    events = _events(build_passes(request), network)
    if isinstance(calibration, str | os.PathLike):
        path = os.fspath(calibration)
        return data.calibration(path, network, diagnostics, max_memory=request.max_memory, events=events)
    return named_arrays(network, calibration, data.CALIBRATION, diagnostics, events)


def _events(passes: Sequence[Pass], network: Network) -> Events | None:
    """The events that a pipeline makes the inputs of."""
    from snnc.events import Events
    from snnc.passes.encode_input import EncodeInput
    from snnc.passes.run_as import RunAs
    from snnc.passes.spikify import Spikify

    steps = network.steps
    for step in passes:
        if isinstance(step, RunAs):
            steps = step.T or steps
        if isinstance(step, Spikify):
            steps = step.steps
        if isinstance(step, Spikify | EncodeInput) and step.input == "events":
            assert steps is not None
            return Events(steps, step.max_count)
    return None


def import_model(model: Model, request: Request, diagnostics: Diagnostics) -> Imported:
    """The ann-level network of a model, within the limits of the request. Raises CompileError."""
    from snnc import frontend

    limits = frontend.Limits.within(request.max_memory, request.max_nodes, request.max_tensors)
    if request.normalisation is not None and frontend.is_nir(model):
        raise UsageError.of("SNNC0154", "a NIR file takes its input as it is: normalise the data instead")
    before = _preprocessing(request.normalisation)
    return frontend.load(model, diagnostics, limits=limits, preprocessing=before)


def _preprocessing(normalisation: Normalisation | None) -> Any:
    if normalisation is None:
        return None
    from snnc.frontend import Preprocessing

    return Preprocessing(normalisation.mean, normalisation.std, normalisation.scale)


def _activity(network: Network, ran: Ran | None, measured: Measurement | None) -> Activity:
    from snnc.backends.base import Activity

    if ran is None or measured is None:
        return Activity()
    names = population_names(network)
    return Activity(ran.inputs, {names[node]: counts for node, counts in measured.counts.items()})


def _emit(network: Network, backends: Sequence[Backend[Any]], activity: Activity) -> Emission:
    """The netlist and what else was asked for; a network in real numbers has neither."""
    from snnc.backends.netlist import NetlistFiles

    if network.level != "int" and not backends:
        return Emission()
    others = [backend for backend in backends if not isinstance(backend, NetlistFiles)]
    return emit(network, [NetlistFiles(), *others], activity)


def _record(
    request: Request,
    passes: Sequence[Pass],
    backends: Sequence[Backend[Any]],
    records: Sequence[PassRecord],
    content: bytes,
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
        "backends": [spec.to_text(backend) for backend in backends],
        "options": {
            **request.flags,
            "preset": request.preset,
            "normalisation": dataclasses.asdict(before) if before else None,
            "input_range": list(request.input_range) if request.input_range else None,
            "probe": request.probe,
            "stop_after": request.stop_after,
        },
        "inputs": {
            "model": hashlib.sha256(content).hexdigest(),
            "calibration": data.digest(samples) if samples is not None else None,
            "statistics": hashlib.sha256(artifact.to_json(saved)).hexdigest() if saved is not None else None,
        },
        "promises": [{"pass": r.text, "promise": r.promise, "held": r.held} for r in records],
    }


def _report(
    network: Network, records: Sequence[PassRecord], measured: Measurement | None, emission: Emission
) -> dict[str, Any]:
    from snnc.backends import report

    counts = measured.counts if measured else {}
    costs = network_costs(network, counts, emission.netlist) if network.level == "int" else None
    return report.build(
        network,
        costs=costs,
        sqnr_db=measured.sqnr_db if measured else {},
        samples=measured.samples if measured else 0,
        passes=[dataclasses.asdict(record) for record in records],
        backends=emission.costs,
    )
