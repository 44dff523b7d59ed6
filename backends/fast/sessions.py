"""Single products in onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from snnc.ir.ops import Conv2d, Dense

Array = npt.NDArray[Any]

_OPSET = 17
_IR_VERSION = 8


def integer_product(matrix: npt.NDArray[np.int8]) -> Any:
    """A session for y = x·matrix, x unsigned bytes [n, K], y int32 [n, M]."""
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    kinds = TensorProto.UINT8, TensorProto.INT32
    return _session(node, matrix, (kinds[0], [matrix.shape[0]]), (kinds[1], [matrix.shape[1]]))


def float_product(op: Conv2d | Dense) -> Any:
    """A session for y = W·x in float32, without the shift; [n, C, H, W] or [n, K]."""
    weight = op.weight.array.astype(np.float32)
    kind = TensorProto.FLOAT
    if isinstance(op, Dense):
        node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
        return _session(node, weight, (kind, [weight.shape[1]]), (kind, [weight.shape[0]]))
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        strides=op.strides,
        pads=op.pads,
        dilations=op.dilations,
        group=op.groups,
    )
    channels = weight.shape[1] * op.groups
    return _session(node, weight, (kind, [channels, "h", "w0"]), (kind, [weight.shape[0], "h1", "w1"]))


def run(session: Any, x: Array) -> Array:
    """The product of ``x``."""
    return np.asarray(session.run(None, {"x": x})[0])


def _session(
    node: Any,
    weight: Array,
    x: tuple[int, Sequence[int | str]],
    y: tuple[int, Sequence[int | str]],
) -> Any:
    # its Linux wheel reports usage and writes into the home directory unless told not to
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    values = [
        helper.make_tensor_value_info(name, kind, ["batch", *extent])
        for name, (kind, extent) in (("x", x), ("y", y))
    ]
    constants = [numpy_helper.from_array(weight, "w")]
    graph = helper.make_graph([node], "drive", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR_VERSION
    options = onnxruntime.SessionOptions()
    # samples are spread over threads by the engine
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
