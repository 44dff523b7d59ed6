"""Currents into a population: float32 convolutions of onnxruntime where these are exact.

A sum of integers whose partial sums are proved below 2^24 is exact in float32, and so is the same sum
with all weights multiplied by 2^shift. Where the proof fails, the reference's int64 kernels compute.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from snnc import fixedpoint
from snnc.backends.reference.drive import Clock, Signal, per_channel
from snnc.backends.reference.kernels import sum_bound, weigh
from snnc.ir.ops import Conv2d, Dense, Weighted
from snnc.ir.types import Shape

Array = npt.NDArray[Any]

_OPSET = 17
_IR_VERSION = 8


@dataclasses.dataclass(frozen=True)
class Part:
    """One projection into a population: ``signal`` holds integers of at most ``peak`` in magnitude."""

    op: Weighted
    signal: Signal
    rank: int
    peak: int

    @property
    def bound(self) -> int:
        """The largest magnitude of the sum, before the shift."""
        return sum_bound(self.op, self.peak)

    @property
    def exact(self) -> bool:
        """Whether float32 holds every partial sum."""
        return self.bound < fixedpoint.FLOAT32_EXACT


def exact_together(parts: Sequence[Part]) -> bool:
    """Whether float32 holds the sum of the parts, counted in units of the smallest shift."""
    unit = min((p.op.shift for p in parts), default=0)
    total = sum(p.bound << (p.op.shift - unit) for p in parts)
    return all(p.exact for p in parts) and total < fixedpoint.FLOAT32_EXACT


def largest_current(parts: Sequence[Part]) -> int:
    """A bound on |Z| of one time step."""
    return sum(p.bound << p.op.shift for p in parts)


class Drives:
    """Weighted sums in onnxruntime; a session is made for a layer when it is first needed."""

    def __init__(self) -> None:
        """No session yet."""
        self._sessions: dict[Weighted, Any] = {}

    def prepare(self, parts: Sequence[Part]) -> None:
        """Open the sessions that :meth:`current` will need, so that threads only read them."""
        for part in parts:
            op = part.op
            if part.exact and isinstance(op, Conv2d | Dense) and op not in self._sessions:
                self._sessions[op] = _open_session(op)

    def current(self, parts: Sequence[Part], samples: slice, steps: slice) -> Array:
        """Σ_g (Wq_g·x)·2^shift_g of timed parts, [n, s, …]: float32 if exact, else int64."""
        total: Array | None = None
        floating = exact_together(parts)
        for part in parts:
            z = self._sum(part, part.signal.array[samples, steps])
            z = z if floating else z.astype(np.int64)
            if total is None:
                total = z
            else:
                total += z
        assert total is not None
        return total

    def _sum(self, part: Part, x: Array) -> Array:
        op = part.op
        if not part.exact:
            return weigh(op, x, part.rank, part.peak)
        if not isinstance(op, Conv2d | Dense):
            return x.astype(np.float32) * per_channel(_scaled_weight(op), part.rank)
        rows = x.reshape(-1, *x.shape[2:]).astype(np.float32)
        (y,) = self._sessions[op].run(None, {"x": rows})
        return np.asarray(y).reshape(*x.shape[:2], *y.shape[1:])


def constant_current(parts: Sequence[Part], clock: Clock, shape: Shape) -> Array:
    """What parts that are constant in time add at every entry of the time axis, int64 [N, …]."""
    total: Array = np.zeros(shape, np.int64)
    for part in parts:
        total = total + weigh(part.op, part.signal.array, part.rank, part.peak) * clock.gain
    return total


def _scaled_weight(op: Weighted) -> Array:
    return np.asarray(np.ldexp(op.weight.array.astype(np.float32), op.shift), np.float32)


def _open_session(op: Conv2d | Dense) -> Any:
    # its Linux wheel reports usage and writes into the home directory unless told not to
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # samples are spread over threads by the engine
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    model = _model(op).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _model(op: Conv2d | Dense) -> Any:
    weight = numpy_helper.from_array(_scaled_weight(op), "w")
    if isinstance(op, Conv2d):
        node = helper.make_node(
            "Conv",
            ["x", "w"],
            ["y"],
            strides=op.strides,
            pads=op.pads,
            dilations=op.dilations,
            group=op.groups,
        )
        channels = op.weight.shape[1] * op.groups
        extents: tuple[list[str | int], list[str | int]] = (
            [channels, "h", "w0"],
            [op.weight.shape[0], "h1", "w1"],
        )
    else:
        node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
        extents = ([op.weight.shape[1]], [op.weight.shape[0]])
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *extent])
        for name, extent in zip("xy", extents, strict=True)
    ]
    graph = helper.make_graph([node], "drive", values[:1], values[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR_VERSION
    return model
