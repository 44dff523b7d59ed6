"""A compiled network: what it is made of, what it answers and costs, and its artifact."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc import artifact, data, shards
from snnc.backends.base import decode, frames
from snnc.diagnostics import CompileError, Diagnostics
from snnc.emission import network_costs, population_names
from snnc.evaluation import (
    Ann,
    EngineName,
    Settings,
    evaluate,
    make_engine,
    mean_counts,
    processors,
)
from snnc.events import Events
from snnc.ir.network import Network
from snnc.ir.parser import parse
from snnc.ir.printer import print_network

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """(x·scale − mean)/std before the model, with one number per channel or one for all."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1.0

    def apply(self, network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays as the original model takes them."""
        ready = {}
        for name, op in data.inputs_of(network).items():
            axis = 1 + (op.perm[0] if op.perm else 0)
            shape = [1] * (1 + len(op.shape))
            shape[axis] = -1
            mean, std = (np.array(v, np.float64).reshape(shape) for v in (self.mean, self.std))
            ready[name] = ((inputs[name] * self.scale - mean) / std).astype(np.float32)
        return ready


@dataclasses.dataclass
class Simulation:
    """``outputs[name]`` are [N, A, …] in the ANN's units, one answer per step (A = T) or a single one.

    ``readouts[name]`` are the readouts' membranes behind them, integers at the int level.
    ``counts``, ``spikes`` and ``membranes`` are keyed by population, named as in the netlist; the last
    two, [N, T, …], are empty unless they were asked for.
    """

    outputs: dict[str, npt.NDArray[np.float64]]
    readouts: dict[str, Array]
    counts: dict[str, Array]
    spikes: dict[str, Array]
    membranes: dict[str, Array]

    def arrays(self) -> dict[str, Array]:
        """Everything, under names that do not depend on the model's."""
        parts: dict[str, Mapping[Any, Array]] = {
            "output": dict(enumerate(self.outputs.values())),
            "readout": dict(enumerate(self.readouts.values())),
            "count": self.counts,
            "spikes": self.spikes,
            "membrane": self.membranes,
        }
        return {f"{part}_{key}": array for part, arrays in parts.items() for key, array in arrays.items()}


@dataclasses.dataclass
class CompiledNetwork:
    """A spiking network with what it was made from; ``source`` is the ONNX model unless left out.

    ``record`` is what the manifest says of the compilation, ``report_data`` the report, ``emitted`` what
    the backends wrote, by path.
    """

    network: Network
    source: bytes | None
    statistics: dict[str, Any]
    record: dict[str, Any]
    report_data: dict[str, Any]
    emitted: Mapping[str, bytes]

    def simulate(
        self, inputs: Array | Mapping[str, Array], *, engine: EngineName = "fast", record: bool = False
    ) -> Simulation:
        """Run a batch, in the model's own layout with a leading batch axis."""
        _require_spikes(self.network)
        arrays = named_arrays(self.network, inputs, data.EVALUATION)
        trace = make_engine(engine, Settings().max_memory).simulate(self.network, arrays, record=record)
        names = population_names(self.network)
        return Simulation(
            outputs=decode(self.network, trace),
            readouts=trace.outputs,
            counts={names[node]: x.astype(np.int64) for node, x in trace.counts.items()},
            spikes={names[node]: x for node, x in trace.spikes.items()},
            membranes={names[node]: x for node, x in trace.membranes.items()},
        )

    def evaluate(
        self,
        inputs: Array | Mapping[str, Array] | str | os.PathLike[str],
        labels: Array | None = None,
        *,
        limit: int | None = None,
        settings: Settings | None = None,
        diagnostics: Diagnostics | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, Any]:
        """Accuracy, agreement with the ANN and cost over a dataset: arrays, or ``FILE[:KEY]``.

        Returns what ``snnc evaluate --json`` writes. Raises as :func:`snnc.data.evaluation`.
        """
        _require_spikes(self.network)
        settings, diagnostics = settings or Settings(), diagnostics or Diagnostics()
        if isinstance(inputs, str | os.PathLike):
            dataset = shards.evaluation(
                os.fspath(inputs), self.network, diagnostics, limit=limit, max_memory=settings.max_memory
            )
        else:
            arrays = named_arrays(self.network, inputs, data.EVALUATION, diagnostics)
            numbers = (
                None
                if labels is None
                else data.class_numbers(np.asarray(labels), len(next(iter(arrays.values()))))
            )
            dataset = data.Evaluation(
                {name: x[:limit] for name, x in arrays.items()}, None if numbers is None else numbers[:limit]
            )
        result, tally = evaluate(self.network, dataset, self._ann(), settings, diagnostics, progress)
        sops = None
        if self.network.level == "int":
            sops = network_costs(self.network, mean_counts(tally)).totals.sops
        return {**result, "engine": settings.engine, "sops_per_sample": sops}

    def report(self) -> dict[str, Any]:
        """The report made at compile time, as report.json holds it."""
        return self.report_data

    def save(self, out: str | os.PathLike[str]) -> pathlib.Path:
        """Write the artifact; what was at ``out`` is replaced only if it is one too.

        Raises UsageError (SNNC0160) if ``out`` cannot be used; then nothing was changed.
        """
        target = pathlib.Path(out)
        with artifact.replacing(target) as folder:
            for name, content in self.files().items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            text = print_network(self.network, blobs=folder / artifact.BLOBS)
            (folder / artifact.NETWORK).write_text(text, "utf-8")
            artifact.seal(folder, self.record)
        return target

    def files(self) -> dict[str, bytes]:
        """Every file of the artifact by relative path, but the network, its blobs and the manifest."""
        files = {
            artifact.STATISTICS: artifact.to_json(self.statistics),
            artifact.REPORT: artifact.report_bytes(self.report_data),
        }
        if self.source is not None:
            files[artifact.SOURCE] = self.source
        return files | dict(self.emitted)

    def _ann(self) -> Ann | None:
        if self.source is None:
            return None
        options = self.record["options"]["normalisation"]
        return ann_of(self.source, self.network, Normalisation(**options) if options else None)


def ann_of(source: bytes, network: Network, before: Normalisation | None) -> Ann:
    """The ONNX model ``source`` as a function of arrays in the layout that ``network`` takes."""
    from snnc.backends.onnx.runner import ModelRunner
    from snnc.frontend import load_source

    # whoever made an artifact may have put another model there, with a right digest
    proto = load_source(source)
    runner = ModelRunner(proto, processors())
    # the runner finds out on its first batch how many samples the model takes at a time
    one_at_a_time = threading.Lock()
    names = [output.name for output in proto.graph.output]

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        whole = {name: frames(op, inputs[name]) for name, op in data.inputs_of(network).items()}
        ready = before.apply(network, whole) if before else whole
        with one_at_a_time:
            return dict(zip(names, runner.run(ready), strict=True))

    return run


def load(folder: str | os.PathLike[str]) -> CompiledNetwork:
    """The compiled network of an artifact; every file that is read is checked against the manifest.

    Raises UsageError if there is no such folder, CompileError (SNNC0161) if it is no intact artifact.
    """
    path = pathlib.Path(folder)
    manifest = artifact.manifest(path)
    if (path / artifact.BLOBS).is_symlink():
        raise CompileError.of("SNNC0161", f"{path}: {artifact.BLOBS} is a symbolic link")
    text = artifact.read(path, manifest, artifact.NETWORK).decode("utf-8", "replace")
    network = parse(text, blobs=path / artifact.BLOBS, file=str(path / artifact.NETWORK))
    has_source = artifact.SOURCE in manifest["files"]
    source = artifact.read(path, manifest, artifact.SOURCE) if has_source else None
    report, statistics = (
        artifact.parse_json(artifact.read(path, manifest, name), name)
        for name in (artifact.REPORT, artifact.STATISTICS)
    )
    if not isinstance(report, dict) or not isinstance(statistics, dict) or not _well_formed(manifest):
        raise CompileError.of("SNNC0161", f"{path} does not hold what this version of snnc writes")
    report.pop("digest", None)
    own = ("format", "version", "files")
    record = {name: value for name, value in manifest.items() if name not in own}
    emitted = {name: artifact.read(path, manifest, name) for name in artifact.emitted(manifest)}
    return CompiledNetwork(network, source, statistics, record, report, emitted)


def _well_formed(record: Mapping[str, Any]) -> bool:
    """Whether a manifest says what :mod:`snnc.driver` writes, as far as it is used again."""
    options, promises = record.get("options"), record.get("promises")
    if not isinstance(options, dict) or not isinstance(promises, list):
        return False
    before = options.get("normalisation")
    if before is not None:
        try:
            parts = [*before["mean"], *before["std"], before["scale"]]
            finite = bool(np.isfinite(np.array(parts, np.float64)).all())
        except (KeyError, TypeError, ValueError):
            return False
        if not finite or set(before) != {"mean", "std", "scale"} or 0 in before["std"]:
            return False
    return all(isinstance(p, dict) and {"pass", "held"} <= p.keys() for p in promises)


def _require_spikes(network: Network) -> None:
    if network.level == "ann":
        raise CompileError.of("SNNC0155", "the network is still an ANN: nothing in it spikes")


def named_arrays(
    network: Network,
    arrays: Array | Mapping[str, Array],
    code: str,
    diagnostics: Diagnostics | None = None,
    events: Events | None = None,
) -> dict[str, Array]:
    """Arrays for the network's inputs by name, checked; a single array goes to the only input."""
    if not isinstance(arrays, Mapping):
        names = list(data.inputs_of(network))
        if len(names) > 1:
            message = f"the model has the inputs {', '.join(names)}: give a mapping of arrays"
            raise CompileError.of(code, message)
        arrays = {names[0]: np.asarray(arrays)}
    return data.validated(arrays, network, diagnostics or Diagnostics(), code, events=events)
