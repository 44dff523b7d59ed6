"""A network in the shape of VGG-16 for CIFAR with random weights, whose layers fire at a rate of choice."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

WIDTHS = (64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512, "P")
PERCENTILE = 99.9


def build(rate: float, seed: int = 0) -> tuple[onnx.ModelProto, np.ndarray]:
    """A model and calibration samples [32, 3, 32, 32].

    The bias of each layer is such that the mean of its ReLU is ``rate`` of the channel's 99.9th
    percentile: that is its rate once λ is that percentile.
    """
    rng = np.random.default_rng(seed)
    samples = rng.random((32, 3, 32, 32)).astype(np.float32)
    nodes, constants, x, value, channels = [], [], samples, "x", 3
    for index, width in enumerate((*WIDTHS, "F")):
        name = f"v{index}"
        if width == "P":
            nodes.append(
                helper.make_node("AveragePool", [value], [name], kernel_shape=[2, 2], strides=[2, 2])
            )
            x = _run([nodes[-1]], [], x, name)
        elif width == "F":
            weight = rng.normal(0, 0.05, (10, channels)).astype(np.float32)
            constants.append(numpy_helper.from_array(weight, "w"))
            nodes += [
                helper.make_node("Flatten", [value], ["flat"]),
                helper.make_node("Gemm", ["flat", "w"], ["y"], transB=1),
            ]
        else:
            weight = rng.normal(0, 1, (width, channels, 3, 3)).astype(np.float32)
            z = _run([_conv(value, name, [])], [("w" + name, weight)], x, name)
            bias = _bias(z, rate)
            constants += [
                numpy_helper.from_array(weight, "w" + name),
                numpy_helper.from_array(bias, "b" + name),
            ]
            nodes += [
                _conv(value, name + "z", ["b" + name], name),
                helper.make_node("Relu", [name + "z"], [name]),
            ]
            x, channels = np.maximum(z + bias[:, None, None], 0), width
            x /= max(float(x.max()), 1e-6)
            constants[-2] = numpy_helper.from_array(weight / _top(z, bias), "w" + name)
            constants[-1] = numpy_helper.from_array(bias / _top(z, bias), "b" + name)
        value = name
    return _model(nodes, constants, "y", 10), samples


def _top(z: np.ndarray, bias: np.ndarray) -> np.float32:
    return np.float32(max(float((z + bias[:, None, None]).max()), 1e-6))


def _bias(z: np.ndarray, rate: float) -> np.ndarray:
    """Per channel, by bisection."""
    rows = z.transpose(1, 0, 2, 3).reshape(z.shape[1], -1)
    low, high = rows.min(axis=1), rows.max(axis=1)
    for _ in range(30):
        cut = (low + high) / 2
        a = np.maximum(rows - cut[:, None], 0)
        top = np.maximum(np.percentile(a, PERCENTILE, axis=1), 1e-9)
        busy = a.mean(axis=1) / top > rate
        low, high = np.where(busy, cut, low), np.where(busy, high, cut)
    return (-(low + high) / 2).astype(np.float32)


def _conv(value: str, name: str, bias: list[str], key: str = "") -> onnx.NodeProto:
    return helper.make_node("Conv", [value, "w" + (key or name), *bias], [name], pads=[1, 1, 1, 1])


def _run(nodes: list, constants: list, x: np.ndarray, output: str) -> np.ndarray:
    tensors = [numpy_helper.from_array(array, name) for name, array in constants]
    model = _model(nodes, tensors, output, None, nodes[0].input[0])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {nodes[0].input[0]: x})[0]


def _model(
    nodes: list, constants: list, output: str, classes: int | None, name: str = "x"
) -> onnx.ModelProto:
    shape = ["n", 3, 32, 32] if classes else None
    x = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["n", classes] if classes else None)
    graph = helper.make_graph(nodes, "vgg", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
