"""Reads trained models: a file's suffix chooses the reader."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

from onnx import ModelProto

from snnc.diagnostics import Diagnostics, UsageError
from snnc.frontend.importer import Importer, NodeSupport
from snnc.frontend.limits import Limits
from snnc.frontend.loader import Source, load_proto
from snnc.frontend.preprocessing import Preprocessing, prepend
from snnc.ir.network import Network
from snnc.ir.verify import verify

_DEFAULT = Limits()

Reader = Callable[[Source, Limits], ModelProto]

READERS: dict[str, Reader] = {".onnx": load_proto}
"""File suffix → function that returns the model as a checked ModelProto."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """An ann-level network, verified, and the self-contained ONNX model that it was made from."""

    network: Network
    proto: ModelProto


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
    proto, importer = _import(model, diagnostics, limits)
    network = importer.run()
    diagnostics.raise_errors()
    if preprocessing is not None:
        prepend(network, preprocessing)
    verify(network)
    return Imported(network, proto)


def inspect(model: Source, diagnostics: Diagnostics, *, limits: Limits = _DEFAULT) -> list[NodeSupport]:
    """What becomes of each ONNX node, in the model's order.

    Problems of nodes, inputs and outputs are recorded in ``diagnostics`` and not raised. Raises as
    :func:`load` does if there is no model to inspect.
    """
    _, importer = _import(model, diagnostics, limits)
    importer.run()
    return importer.rows


def _import(model: Source, diagnostics: Diagnostics, limits: Limits) -> tuple[ModelProto, Importer]:
    name = ""
    reader: Reader = load_proto
    if not isinstance(model, bytes | ModelProto):
        path = pathlib.Path(model)
        name, reader = path.stem, _reader(path)
    proto = reader(model, limits)
    return proto, Importer(proto, name or proto.graph.name or "network", diagnostics, limits)


def _reader(path: pathlib.Path) -> Reader:
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise UsageError.of(
            "SNNC0101",
            f"{str(path)!r} is not a model that snnc reads: {', '.join(READERS)}",
            remedy="export the model with torch.onnx.export, tf2onnx or keras2onnx",
        )
    return READERS[suffix]


__all__ = ["Imported", "Limits", "NodeSupport", "Preprocessing", "inspect", "load"]
