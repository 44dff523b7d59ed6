"""External data: weights in files beside the model, read only from strictly inside its folder."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterable, Iterator

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from snnc.diagnostics import CompileError, Diagnostic
from snnc.frontend.files import NotRegularError, read_private_part


def inline_external_data(proto: ModelProto, folder: pathlib.Path | None, *, limit: int) -> None:
    """Move external data into ``proto``; ``folder`` holds the model, None if it came as bytes.

    ``limit`` bounds the bytes read. Raises CompileError (SNNC0103, SNNC0104) with all faults found.
    """
    faults: list[Diagnostic] = []
    for tensor in _tensors(proto):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        try:
            data = _read(tensor, folder, limit)
        except _Fault as fault:
            faults.append(Diagnostic("error", fault.code, str(fault), (tensor.name,), fault.remedy))
            continue
        limit -= len(data)
        tensor.raw_data = data
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    if faults:
        raise CompileError(faults)


class _Fault(Exception):
    def __init__(self, message: str, remedy: str = "", code: str = "SNNC0103") -> None:
        super().__init__(message)
        self.remedy, self.code = remedy, code


def _read(tensor: TensorProto, folder: pathlib.Path | None, limit: int) -> bytes:
    fields = {entry.key: entry.value for entry in tensor.external_data}
    if folder is None:
        raise _Fault(
            "the weights lie in a separate file, which a model in memory does not have",
            "pass the model's path, or save it with its weights inside",
        )
    path = _inside(folder, fields.get("location", ""))
    expected = _byte_count(tensor)
    offset, length = _number(fields, "offset", 0), _number(fields, "length", expected)
    if length != expected:
        raise _Fault(f"it declares {length} bytes of external data, its shape takes {expected}")
    if length > limit:
        raise _Fault(f"its {length} bytes exceed the size limit", code="SNNC0104")
    try:
        return read_private_part(path, offset, length)
    except FileNotFoundError:
        raise _Fault(
            f"the external data file {path.name!r} is missing", "keep it in the model's folder"
        ) from None
    except NotRegularError as error:
        raise _Fault(f"{path.name!r} is refused: {error}", "copy the data into the model's folder") from None
    except EOFError as error:
        raise _Fault(f"{path.name!r} is too short: {error}") from None
    except OSError as error:
        raise _Fault(f"cannot read {path.name!r}: {error.strerror or error}") from None


def _inside(folder: pathlib.Path, location: str) -> pathlib.Path:
    """The path of ``location`` if it stays inside ``folder`` and passes through no link."""
    remedy = "external data must be named by a relative path inside the model's folder"
    if not location or "\0" in location:
        raise _Fault("its external data have no usable location", remedy)
    windows, posix = pathlib.PureWindowsPath(location), pathlib.PurePosixPath(location)
    # a backslash separates on Windows only, so such a location means two things
    if windows.anchor or posix.is_absolute() or ".." in windows.parts or "\\" in location:
        raise _Fault(f"its external data lie at {location!r}, outside of the model's folder", remedy)
    path = folder
    for part in posix.parts:
        path = path / part
        if path.is_symlink():
            raise _Fault(f"{part!r} in {location!r} is a symbolic link", remedy)
    return path


def _number(fields: dict[str, str], key: str, default: int) -> int:
    text = fields.get(key, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _Fault(f"the {key} {text!r} of its external data is not a size")
    return int(text)


def _byte_count(tensor: TensorProto) -> int:
    if min(tensor.dims, default=0) < 0:
        raise _Fault(f"its shape {list(tensor.dims)} is negative")
    try:
        item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError):
        raise _Fault(f"its element type {tensor.data_type} is unknown") from None
    return math.prod(int(n) for n in tensor.dims) * item


def _tensors(proto: ModelProto) -> Iterator[TensorProto]:
    yield from _of_graph(proto.graph)
    for function in proto.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from _of_attribute(attribute)


def _of_attribute(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
        yield from _of_graph(graph)
