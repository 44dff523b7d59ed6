"""Arrays given by the user: ``FILE[:KEY]`` of .npy or .npz, never pickled, sizes checked before reading.

Inputs are in the model's ONNX layout with a leading batch axis. docs/data.md has the rules by which
keys are chosen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.array_file import ArrayFile, Header
from snnc.diagnostics import CompileError, Diagnostic, Diagnostics, UsageError
from snnc.events import Events, event_fault, extents, frame_fault
from snnc.ir.network import Network
from snnc.ir.ops import Input
from snnc.rows import Converted

Array = npt.NDArray[Any]

CALIBRATION, EVALUATION = "SNNC0123", "SNNC0162"
DEFAULT_MEMORY = 2 << 30

_KINDS = "biuf"
_MOST_ROWS_CHECKED = 1 << 22


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A dataset: one array per model input, and int64 class numbers [N] if there are labels.

    An input may also be something that reads an array when it is sliced.

    ``expected`` are the ANN's outputs by name, [N, …], where they are known already.
    """

    inputs: Mapping[str, Any]
    labels: npt.NDArray[np.int64] | None
    expected: dict[str, Array] | None = None

    @property
    def samples(self) -> int:
        """N."""
        return len(next(iter(self.inputs.values())))


def split_key(argument: str) -> tuple[pathlib.Path, str | None]:
    """The path and the key of ``FILE[:KEY]``; a file whose name has a colon is found as it is."""
    path = pathlib.Path(argument)
    # pathlib lets errors out that os.path does not, such as of a name that is too long
    if ":" not in argument or os.path.exists(path):
        return path, None
    file, _, key = argument.rpartition(":")
    return pathlib.Path(file), key


def calibration(
    argument: str,
    network: Network,
    diagnostics: Diagnostics,
    *,
    max_memory: int = DEFAULT_MEMORY,
    events: Events | None = None,
) -> dict[str, Array]:
    """The calibration arrays for each input of ``network``; ``events`` as in :func:`validated`.

    The key is the one named, else ``calib``, the input's name, or the only array. Raises UsageError for
    a missing file or key, CompileError (SNNC0123) for unfit content.
    """
    path, key = split_key(argument)
    file = ArrayFile(path, CALIBRATION, max_memory)
    keys = _choose(file, key, list(inputs_of(network)), ("calib",))
    arrays = {name: file.read(k) for name, k in keys.items()}
    return validated(arrays, network, diagnostics, CALIBRATION, max_memory, events)


def evaluation(
    argument: str,
    network: Network,
    diagnostics: Diagnostics,
    *,
    limit: int | None = None,
    max_memory: int = DEFAULT_MEMORY,
) -> Evaluation:
    """The evaluation arrays for each input of ``network``, and the labels ``y`` if the file has them.

    An array of another type than the model's is converted as it is sliced.
    The key is the one named, else ``x``, the input's name, or the only array beside ``y``. Raises as
    :func:`calibration`, with SNNC0162.
    """
    path, key = split_key(argument)
    file = ArrayFile(path, EVALUATION, max_memory)
    keys = _choose(file, key, list(inputs_of(network)), ("x",), labels="y")
    arrays = {name: file.read(k, limit) for name, k in keys.items()}
    fitting = _fitting(arrays, network, diagnostics, EVALUATION, math.inf)
    inputs = {name: x if x.dtype == dtype else Converted(x, dtype) for name, (x, dtype) in fitting.items()}
    # y belongs to the array that the rules choose, not to any that the user may name
    has_labels = "y" in file.headers() and all(_labelled(file, k, name) for name, k in keys.items())
    if not has_labels:
        return Evaluation(inputs, None)
    # a limit would hide that they are not of the same samples
    headers = file.headers()
    shape, samples = headers["y"].shape, headers[next(iter(keys.values()))].shape[0]
    if shape[:1] != (samples,):
        raise CompileError.of(EVALUATION, f"the labels have shape {shape}, the data have {samples} samples")
    return Evaluation(inputs, class_numbers(file.read("y", limit), len(next(iter(inputs.values())))))


def inputs_of(network: Network) -> dict[str, Input]:
    """The inputs of a network by name."""
    found = {}
    for node in network.of(Input):
        op = network.op(node)
        assert isinstance(op, Input)
        found[op.name] = op
    return found


def validated(
    arrays: Mapping[str, Array],
    network: Network,
    diagnostics: Diagnostics,
    code: str,
    max_memory: int = DEFAULT_MEMORY,
    events: Events | None = None,
) -> dict[str, Array]:
    """The arrays as the model's dtypes, if they fit its inputs; events keep the type of their counts.

    With ``events`` arrays may be events [N, T, …], or frames that such events add up to; for an input that is
    coded in events they must be events, and those beyond its largest count are clipped. Raises CompileError
    with all problems: rank, shape, dtype, NaN, no samples, unequal lengths, or more than ``max_memory``
    bytes where they must be converted.
    """
    fitting = _fitting(arrays, network, diagnostics, code, max_memory, events)
    return {name: x.astype(dtype, copy=False) for name, (x, dtype) in fitting.items()}


def _fitting(
    arrays: Mapping[str, Array],
    network: Network,
    diagnostics: Diagnostics,
    code: str,
    max_memory: float,
    events: Events | None = None,
) -> dict[str, tuple[Array, np.dtype[Any]]]:
    """Each array with the dtype that it is to have; raises as :func:`validated`."""
    problems: list[Diagnostic] = []
    ready: dict[str, tuple[Array, np.dtype[Any]]] = {}
    for name, op in inputs_of(network).items():
        if name not in arrays:
            problems.append(Diagnostic("error", code, f"there is no array for the input {name!r}"))
            continue
        array = np.asarray(arrays[name])
        if op.coding == "events":
            message = event_fault(array, op, network.steps or 1, math.inf)
        elif events is not None and array.shape[1:] != op.shape:
            message = event_fault(array, op, *events)
        else:
            message = _fault(array, op, max_memory) or (frame_fault(array, *events) if events else "")
        if message:
            problems.append(Diagnostic("error", code, f"the array for the input {name!r} {message}"))
            continue
        if array.shape[1:] != op.shape:
            ready[name] = array, array.dtype
            continue
        if array.dtype.kind in "iu" and np.dtype(op.dtype).kind == "f":
            span = f"{array.min()} … {array.max()}"
            diagnostics.note(code, f"integers {span} go into the float input {name!r} unscaled")
        ready[name] = array, np.dtype(op.dtype)
    lengths = {len(x) for x, _ in ready.values()}
    if len(lengths) > 1:
        problems.append(Diagnostic("error", code, f"the inputs have unequal numbers of samples: {lengths}"))
    if problems:
        raise CompileError(problems)
    return ready


def class_numbers(labels: Array, samples: int) -> npt.NDArray[np.int64]:
    """Labels [N], [N, 1] or one-hot [N, classes] as int64 class numbers [N].

    Raises CompileError (SNNC0162) if they are neither, or not ``samples`` many.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if len(labels) != samples if labels.ndim else True:
        message = f"the labels have shape {labels.shape}, the data have {samples} samples"
        raise CompileError.of(EVALUATION, message)
    if labels.ndim == 1 and labels.dtype.kind in "iub" and labels.min(initial=0) >= 0:
        return labels.astype(np.int64)
    if labels.ndim == 2 and labels.dtype.kind in _KINDS:
        one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
        if one_hot:
            return np.asarray(labels.argmax(axis=1), np.int64)
    raise CompileError.of(
        EVALUATION,
        f"the labels {labels.dtype}{list(labels.shape)} are neither class numbers nor one-hot rows",
        remedy="y must be integer [N], or [N, classes] with a single 1 per row",
    )


def digest(arrays: Mapping[str, Array]) -> str:
    """A sha256 of named arrays: dtype, shape and elements, whatever file they came from."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        for row in array:
            total.update(np.ascontiguousarray(row).tobytes())
    return total.hexdigest()


def _choose(
    file: ArrayFile, key: str | None, inputs: Sequence[str], usual: Sequence[str], labels: str = ""
) -> dict[str, str]:
    """Which key holds which input. Raises UsageError with the keys of the file."""
    headers = file.headers()
    keys = list(headers)
    candidates = [k for k in keys if k != labels]
    if key is not None:
        if key not in keys:
            raise UsageError.of("SNNC0164", f"{file.path} has no array {key!r}", remedy=_listing(headers))
        if len(inputs) == 1:
            return {inputs[0]: key}
        raise UsageError.of(
            "SNNC0164", f"the model has the inputs {', '.join(inputs)}: one key cannot name them all"
        )
    if len(inputs) > 1:
        missing = [name for name in inputs if name not in keys]
        if missing:
            message = f"{file.path} has no arrays for the inputs {', '.join(missing)}"
            raise UsageError.of("SNNC0164", message, remedy=_listing(headers))
        return {name: name for name in inputs}
    for name in (*usual, inputs[0]):
        if name in keys:
            return {inputs[0]: name}
    if len(keys) == 1 or (labels and len(candidates) == 1):
        return {inputs[0]: candidates[0] if candidates else keys[0]}
    wanted = " or ".join(repr(n) for n in dict.fromkeys((*usual, inputs[0])))
    raise UsageError.of(
        "SNNC0164",
        f"{file.path} has no array {wanted}",
        remedy=f"choose one with {file.path}:KEY; {_listing(headers)}",
    )


def _labelled(file: ArrayFile, key: str, name: str) -> bool:
    """Whether the labels ``y`` are those of the array ``key``, which goes to the input ``name``."""
    return key in ("x", name) or set(file.headers()) == {key, "y"}


def _listing(headers: Mapping[str, Header]) -> str:
    shown = [f"{k or '(unnamed)'} {h.dtype}{list(h.shape)}" for k, h in headers.items()]
    return f"its arrays are {', '.join(shown)}" if shown else "it holds no arrays"


def _fault(array: Array, op: Input, max_memory: float) -> str:
    """What keeps an array from being batches of an input; empty if nothing does."""
    if array.shape[1:] != op.shape or not array.ndim:
        hint = "; add a batch axis in front" if array.shape == op.shape else ""
        return f"has shape {list(array.shape)}; the model takes [N, {extents(op)}]{hint}"
    if not len(array):
        return "holds no samples"
    if array.dtype.kind not in _KINDS:
        return f"is of type {array.dtype}, not of numbers"
    converted = 0 if array.dtype == op.dtype else array.size * np.dtype(op.dtype).itemsize
    if converted > max_memory:
        return f"takes {converted} bytes as {op.dtype}, more than the limit; store it as {op.dtype}"
    if np.dtype(op.dtype).kind in "iu":
        if array.dtype.kind == "f":
            return f"is of type {array.dtype}; the model takes {op.dtype}"
        limits = np.iinfo(op.dtype)
        if array.min() < limits.min or array.max() > limits.max:
            return f"has values outside the range of {op.dtype}"
    if array.dtype.kind == "f" and not all(np.isfinite(chunk).all() for chunk in _chunks(array)):
        return "holds NaN or infinite values"
    return ""


def _chunks(array: Array) -> Iterator[Array]:
    """Groups of rows, so that checking a mapped file does not load it at once."""
    rows = max(1, _MOST_ROWS_CHECKED // max(1, array[0].size))
    return (array[i : i + rows] for i in range(0, len(array), rows))
