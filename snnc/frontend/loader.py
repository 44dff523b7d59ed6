"""From a path, bytes or a ModelProto to a checked, self-contained ModelProto."""

from __future__ import annotations

import itertools
import os
import pathlib
import re

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto

from snnc.diagnostics import CompileError, UsageError
from snnc.files import NotRegularError, TooLargeError, read_regular
from snnc.frontend import contents
from snnc.frontend.external import inline_external_data
from snnc.frontend.limits import Limits

OLDEST_OPSET = 7
"""Before opset 7, broadcasting, BatchNormalization and Dropout meant something else."""

DEFAULT_DOMAINS = ("", "ai.onnx")

_NODE = re.compile("[Nn]ame: (.*?) OpType: ")
"""How the checker of ONNX names a node."""

Source = str | os.PathLike[str] | bytes | ModelProto


def load_proto(model: Source, limits: Limits) -> ModelProto:
    """The model, checked, with external data inside; a ModelProto is copied.

    Raises UsageError if a path does not lead to a file, CompileError if the content is not a usable
    ONNX model (SNNC0101-0105).
    """
    proto, path = _parse(model, limits)
    _check_opset(proto)
    for found, what, most in (
        (contents.nodes(proto), "nodes", limits.nodes),
        (contents.tensors(proto), "tensors", limits.tensors),
    ):
        # counted no further than needed: there may be millions
        if next(itertools.islice(found, most, None), None) is not None:
            remedy = f"raise --max-{what} if that is meant"
            raise CompileError.of("SNNC0104", f"the model has more than {most} {what}", remedy=remedy)
    for name in contents.names(proto):
        if not isinstance(name, str):
            raise CompileError.of("SNNC0102", f"the name {name[:80]!r} is not UTF-8 text")
    inline_external_data(proto, path, limit=limits.file_bytes - proto.ByteSize())
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
    return _decode(read_model(path, limits), str(path)), path


def read_model(path: pathlib.Path, limits: Limits) -> bytes:
    """A model file's bytes. Raises UsageError if there is no such file, CompileError if it is too large."""
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
    try:
        onnx.checker.check_model(proto)
    # the checker serialises the model, which fails above 2 GB with ValueError
    except (onnx.checker.ValidationError, ValueError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        found = _NODE.search(reason)
        where = (found[1],) if found else ()
        raise CompileError.of("SNNC0102", f"the model is not valid ONNX: {reason}", where=where) from None
    if not proto.graph.output:
        raise CompileError.of("SNNC0115", "the model has no outputs")
    outputs = [value.name for value in proto.graph.output]
    for name in {name for name in outputs if outputs.count(name) > 1}:
        raise CompileError.of("SNNC0115", f"the output {name!r} is declared more than once")
    constant = {tensor.name for tensor in proto.graph.initializer}
    if all(value.name in constant for value in proto.graph.input):
        raise CompileError.of("SNNC0115", "the model has no input: all that it takes are weights")
