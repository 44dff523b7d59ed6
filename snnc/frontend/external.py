"""External data: weights in files beside the model, read only from strictly inside its folder."""

from __future__ import annotations

import math
import pathlib

import onnx
from onnx import ModelProto, TensorProto

from snnc.diagnostics import CompileError, Diagnostic
from snnc.files import NotRegularError, read_private_part
from snnc.frontend.contents import tensors


def inline_external_data(proto: ModelProto, model: pathlib.Path | None, *, limit: int) -> None:
    """Move external data into ``proto``; ``model`` is the file it came from, None if it came as bytes.

    ``limit`` bounds the bytes read. Raises CompileError (SNNC0103, SNNC0104) with all faults found.
    """
    faults: list[Diagnostic] = []
    for tensor in tensors(proto):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        try:
            data = _read(tensor, model, limit)
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


def _read(tensor: TensorProto, model: pathlib.Path | None, limit: int) -> bytes:
    fields = {entry.key: entry.value for entry in tensor.external_data}
    if model is None:
        raise _Fault(
            "the weights lie in a separate file, which a model in memory does not have",
            "pass the model's path, or save it with its weights inside",
        )
    path = _inside(model.parent, fields.get("location", ""))
    if path.exists() and path.samefile(model):
        raise _Fault(f"its external data {path.name!r} is the model itself")
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
