"""Single products in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from snnc.backends.onnx.build import IR_VERSION, OPSET
from snnc.backends.onnx.session import open_session, run_session
from snnc.ir.ops import Conv2d, Dense

Array = npt.NDArray[Any]


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
    return run_session(session, None, {"x": x})[0]


def _session(
    node: Any,
    weight: Array,
    x: tuple[int, Sequence[int | str]],
    y: tuple[int, Sequence[int | str]],
) -> Any:
    values = [
        helper.make_tensor_value_info(name, kind, ["batch", *extent])
        for name, (kind, extent) in (("x", x), ("y", y))
    ]
    graph = helper.make_graph([node], "drive", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    # added last: each of these messages copies what it is made of
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    # one thread: samples are spread over threads by the engine
    return open_session(model)
