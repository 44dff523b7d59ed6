"""Reads trained models: a file's suffix chooses the reader."""

from __future__ import annotations

import dataclasses
import pathlib

from onnx import ModelProto

from snnc.diagnostics import Diagnostics, UsageError
from snnc.frontend.graph import usage
from snnc.frontend.importer import Importer, NodeSupport
from snnc.frontend.limits import Limits
from snnc.frontend.loader import Source, load_proto
from snnc.frontend.nir_network import STEPS, NirImporter
from snnc.frontend.preprocessing import Preprocessing, prepend
from snnc.ir.network import Network
from snnc.ir.ops import Level
from snnc.ir.verify import verify

_DEFAULT = Limits()

SUFFIXES = (".onnx", ".nir")
"""The model files that are read."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """A verified network and the self-contained ``content`` that it was made from.

    An ONNX model, also as ``proto``, is at the ann level; a NIR file is a spiking network already.
    """

    network: Network
    content: bytes
    proto: ModelProto | None


def load(
    model: Source,
    diagnostics: Diagnostics,
    *,
    limits: Limits = _DEFAULT,
    preprocessing: Preprocessing | None = None,
) -> Imported:
    """Import a model: a path, the bytes of an ONNX file, or a ModelProto.

    Raises UsageError for a path that leads to no readable file, CompileError with all the problems of
    the content otherwise. ``preprocessing`` is prepended to the network and not to the returned model.
    """
    importer, origin = _importer(model, diagnostics, limits)
    network = importer.run()
    diagnostics.raise_errors()
    if preprocessing is not None:
        prepend(network, preprocessing)
    verify(network)
    if isinstance(origin, bytes):
        return Imported(network, origin, None)
    return Imported(network, origin.SerializeToString(deterministic=True), origin)


def load_source(content: bytes) -> ModelProto:
    """The ONNX model of an artifact, fit to be run: what its outputs depend on, all of it supported.

    Raises as :func:`load`.
    """
    proto = load(content, Diagnostics()).proto
    assert proto is not None
    needed = usage(proto.graph).needed
    nodes = [node for index, node in enumerate(proto.graph.node) if index in needed]
    del proto.graph.node[:], proto.functions[:]
    proto.graph.node.extend(nodes)
    return proto


def inspect(
    model: Source, diagnostics: Diagnostics, *, limits: Limits = _DEFAULT
) -> tuple[list[NodeSupport], Network]:
    """What becomes of each ONNX node, in the model's order, and the network that they make.

    Problems of nodes, inputs and outputs are recorded in ``diagnostics`` and not raised; the network is
    complete only without any. Raises as :func:`load` does if there is no model to inspect.
    """
    importer, _ = _importer(model, diagnostics, limits)
    network = importer.run()
    return importer.rows, network


def spiking_level(model: Source) -> Level:
    """The level of the network that a model is: ann for ONNX, snn or int for a NIR file.

    Raises as :func:`load` does if there is no file to look into.
    """
    if not is_nir(model):
        return "ann"
    from snnc.frontend.nir_file import metadata_of, read_graph

    assert not isinstance(model, bytes | ModelProto)
    return "snn" if metadata_of(read_graph(pathlib.Path(model), _DEFAULT)[0]) is None else "int"


def is_nir(model: Source) -> bool:
    """Whether a model is the path of a NIR file."""
    return not isinstance(model, bytes | ModelProto) and pathlib.Path(model).suffix.lower() == ".nir"


def _importer(
    model: Source, diagnostics: Diagnostics, limits: Limits
) -> tuple[Importer | NirImporter, ModelProto | bytes]:
    """What imports a model, and the checked model or the NIR file's bytes."""
    name = ""
    if not isinstance(model, bytes | ModelProto):
        path = pathlib.Path(model)
        name = path.stem
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError.of(
                "SNNC0101",
                f"{str(path)!r} is not a model that snnc reads: {', '.join(SUFFIXES)}",
                remedy="export the model with torch.onnx.export, tf2onnx or keras2onnx",
            )
        if is_nir(path):
            return _nir_importer(path, diagnostics, limits)
    proto = load_proto(model, limits)
    return Importer(proto, name or proto.graph.name or "network", diagnostics, limits), proto


def _nir_importer(path: pathlib.Path, diagnostics: Diagnostics, limits: Limits) -> tuple[NirImporter, bytes]:
    from snnc.frontend.nir_file import metadata_of, read_graph

    graph, content = read_graph(path, limits)
    metadata = metadata_of(graph)
    if metadata is None:
        diagnostics.warning(
            "SNNC0136",
            f"{path.name} was not written by snnc: its neurons are reset to zero and compare with >, as NIR "
            f"defines, for {STEPS} steps",
            remedy="--reset subtract --compare ge --T N say otherwise",
        )
    name = metadata.network if metadata else path.stem
    return NirImporter(graph, metadata, name, diagnostics, limits), content


__all__ = [
    "Imported",
    "Limits",
    "NodeSupport",
    "Preprocessing",
    "inspect",
    "is_nir",
    "load",
    "load_source",
    "spiking_level",
]
