"""From a path, bytes or a ModelProto to a checked, self-contained ModelProto."""

from __future__ import annotations

import os
import pathlib

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto

from snnc.diagnostics import CompileError, UsageError
from snnc.frontend.external import inline_external_data
from snnc.frontend.files import NotRegularError, TooLargeError, read_regular
from snnc.frontend.limits import Limits

OLDEST_OPSET = 7
"""Before opset 7, broadcasting, BatchNormalization and Dropout meant something else."""

DEFAULT_DOMAINS = ("", "ai.onnx")

Source = str | os.PathLike[str] | bytes | ModelProto


def load_proto(model: Source, limits: Limits) -> ModelProto:
    """The model, checked, with external data inside; a ModelProto is copied.

    Raises UsageError if a path does not lead to a file, CompileError if the content is not a usable
    ONNX model (SNNC0101-0105).
    """
    proto, folder = _parse(model, limits)
    _check_opset(proto)
    if len(proto.graph.node) > limits.nodes:
        raise CompileError.of(
            "SNNC0104", f"the model has {len(proto.graph.node)} nodes, more than {limits.nodes}"
        )
    inline_external_data(proto, folder, limit=limits.file_bytes - proto.ByteSize())
    _check(proto)
    return proto


def _parse(model: Source, limits: Limits) -> tuple[ModelProto, pathlib.Path | None]:
    if isinstance(model, ModelProto):
        copy = ModelProto()
        copy.CopyFrom(model)
        return copy, None
    if isinstance(model, bytes):
        if len(model) > limits.file_bytes:
            raise CompileError.of("SNNC0104", f"the model has more than {limits.file_bytes} bytes")
        return _decode(model, "the data"), None
    path = pathlib.Path(model)
    return _decode(_read(path, limits), str(path)), path.parent


def _read(path: pathlib.Path, limits: Limits) -> bytes:
    try:
        return read_regular(path, limit=limits.file_bytes)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError.of("SNNC0164", f"there is no file {str(path)!r}") from None
    except TooLargeError as error:
        raise CompileError.of("SNNC0104", f"{str(path)!r} is too large: {error}") from None
    except NotRegularError as error:
        raise UsageError.of("SNNC0101", f"cannot read {str(path)!r}: {error}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError.of("SNNC0101", f"cannot read {str(path)!r}: {reason}") from None


def _decode(data: bytes, what: str) -> ModelProto:
    if not data:
        raise CompileError.of("SNNC0102", f"{what} is empty")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise CompileError.of(
            "SNNC0102",
            f"{what} is not an ONNX model, or it is damaged",
            remedy="export it again, and compare the sizes of the two files",
        ) from None
    # any bytes that happen to be valid protobuf parse, with all of their fields unknown
    if not proto.HasField("graph"):
        raise CompileError.of("SNNC0102", f"{what} holds no graph: it is not an ONNX model")
    return proto


def _check_opset(proto: ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    versions = [entry.version for entry in proto.opset_import if entry.domain in DEFAULT_DOMAINS]
    if not versions:
        raise CompileError.of("SNNC0105", "the model does not say which ONNX opset it uses")
    if not OLDEST_OPSET <= max(versions) <= newest:
        raise CompileError.of(
            "SNNC0105",
            f"the model uses ONNX opset {max(versions)}; supported are {OLDEST_OPSET} to {newest}",
            remedy="export it with opset_version=17, or convert it with onnx.version_converter",
        )


def _check(proto: ModelProto) -> None:
    if proto.graph.sparse_initializer:
        names = [sparse.values.name for sparse in proto.graph.sparse_initializer]
        raise CompileError.of("SNNC0111", "sparse initializers are not supported", where=names)
    try:
        onnx.checker.check_model(proto)
    # the checker serialises the model, which fails above 2 GB with ValueError
    except (onnx.checker.ValidationError, ValueError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise CompileError.of("SNNC0102", f"the model is not valid ONNX: {reason}") from None
