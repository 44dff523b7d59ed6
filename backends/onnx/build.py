"""An ann-level network as an ONNX model in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from snnc.diagnostics import CompileError
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Clip,
    Concat,
    Conv2d,
    Dense,
    FakeQuant,
    Input,
    MaxPool,
    Op,
    Output,
    Pad,
    Pool,
    Relu,
    Reshape,
    Scale,
    Slice,
    SumPool,
    Transpose,
)
from snnc.ir.types import Shape

Array = npt.NDArray[Any]

OPSET = 17
IR_VERSION = 8


def input_name(node: int) -> str:
    """The ONNX name of an input node's array, in the user's layout."""
    return f"x{node}"


def value_name(node: int) -> str:
    """The ONNX name of a node's result."""
    return f"v{node}"


def to_onnx(network: Network, taps: Sequence[int]) -> onnx.ModelProto:
    """A model with one output for each tapped node, [batch, …], whose batch extent is symbolic.

    Raises CompileError for ops that only spiking networks have.
    """
    graph = _Graph()
    for node in network.nodes:
        if not isinstance(network.op(node), Output):
            graph.translate(network, node)
    inputs = [_info(input_name(n), _input(network, n).shape) for n in network.of(Input)]
    outputs = [_info(value_name(n), network.type(n).shape) for n in taps]
    proto = helper.make_graph(graph.nodes, "network", inputs, outputs, graph.constants)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return model


def _input(network: Network, node: int) -> Input:
    op = network.op(node)
    assert isinstance(op, Input)
    return op


def _info(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])


class _Graph:
    """Collects ONNX nodes and initializers; every emitted value has a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def translate(self, network: Network, node: int) -> None:
        op = network.op(node)
        x = [value_name(s) for s in network.operands(node)]
        shape = network.type(network.operands(node)[0]).shape if x else ()
        result = self._structural(op, x) or self._arithmetic(op, x, shape) or self._activation(op, x, shape)
        if isinstance(op, Input):
            perm = [0, *(1 + a for a in op.perm)]
            source = input_name(node)
            result = self._emit("Transpose", source, perm=perm) if op.perm else self._emit("Identity", source)
        if not result:
            raise CompileError.of(
                "SNNC0155", f"{op.mnemonic} does not exist at the ann level", where=op.origin
            )
        self.nodes.append(helper.make_node("Identity", [result], [value_name(node)]))

    def _structural(self, op: Op, x: list[str]) -> str:
        match op:
            case Reshape():
                return self._emit("Reshape", x[0], self._ints([-1, *op.shape]))
            case Transpose():
                return self._emit("Transpose", x[0], perm=[0, *(1 + a for a in op.perm)])
            case Slice():
                axes = range(1, 1 + len(op.starts))
                bounds = (op.starts, op.stops, axes, op.steps)
                return self._emit("Slice", x[0], *(self._ints(b) for b in bounds))
            case Pad():
                return self._pad(x[0], op.before, op.after, 0.0)
            case Concat():
                return self._emit("Concat", *x, axis=1 + op.axis)
            case Add():
                return self._emit("Sum", *x)
        return ""

    def _arithmetic(self, op: Op, x: list[str], shape: Shape) -> str:
        match op:
            case Conv2d():
                return self._conv(op, x[0])
            case Dense():
                y = self._emit("Gemm", x[0], self._floats(op.weight.array), transB=1)
                return self._biased(y, op.bias, 1)
            case Scale():
                y = self._emit("Mul", x[0], self._per_channel(op.weight.array, len(shape)))
                return self._biased(y, op.bias, len(shape))
            case BatchNorm():
                parameters = (op.gamma, op.beta, op.mean, op.variance)
                operands = (self._floats(p.array) for p in parameters)
                return self._emit("BatchNormalization", x[0], *operands, epsilon=op.epsilon)
            case AveragePool():
                return self._average(op, x[0], shape[0])
            case MaxPool():
                return self._max(op, x[0])
            case SumPool():
                y = self._sum(op, x[0], shape[0])
                return y if op.multiplicity is None else self._scaled(y, op.multiplicity.array)
        return ""

    def _activation(self, op: Op, x: list[str], shape: Shape) -> str:
        match op:
            case Relu():
                return self._emit("Relu", x[0])
            case Clip():
                return self._emit("Clip", x[0], self._floats(0.0), self._floats(op.maximum))
            case FakeQuant():
                scale = self._per_channel(op.scale.array, len(shape))
                code = self._emit("Round", self._emit("Div", x[0], scale))
                bounds = self._floats(op.low), self._floats(op.high)
                return self._emit("Mul", self._emit("Clip", code, *bounds), scale)
        return ""

    def _conv(self, op: Conv2d, x: str) -> str:
        y = self._emit(
            "Conv",
            x,
            self._floats(op.weight.array),
            strides=op.strides,
            pads=op.pads,
            dilations=op.dilations,
            group=op.groups,
        )
        return self._biased(y, op.bias, 3)

    def _average(self, op: AveragePool, x: str, channels: int) -> str:
        plain = not any(op.pads) and (op.divisors.array == op.kernel[0] * op.kernel[1]).all()
        if plain:
            return self._emit("AveragePool", x, kernel_shape=op.kernel, strides=op.strides)
        return self._scaled(self._sum(op, x, channels), 1 / op.divisors.array)

    def _sum(self, op: Pool, x: str, channels: int) -> str:
        ones = np.ones((channels, 1, *op.kernel))
        return self._emit("Conv", x, self._floats(ones), strides=op.strides, pads=op.pads, group=channels)

    def _max(self, op: MaxPool, x: str) -> str:
        top, left, bottom, right = op.pads
        # onnxruntime refuses pads as large as the window
        if any(op.pads):
            x = self._pad(x, (0, top, left), (0, bottom, right), -np.inf)
        return self._emit("MaxPool", x, kernel_shape=op.kernel, strides=op.strides)

    def _pad(self, x: str, before: Sequence[int], after: Sequence[int], value: float) -> str:
        return self._emit("Pad", x, self._ints([0, *before, 0, *after]), self._floats(value))

    def _biased(self, x: str, bias: Constant | None, rank: int) -> str:
        return x if bias is None else self._emit("Add", x, self._per_channel(bias.array, rank))

    def _scaled(self, x: str, factor: Array) -> str:
        return self._emit("Mul", x, self._floats(factor))

    def _per_channel(self, value: Array, rank: int) -> str:
        return self._floats(value.reshape(value.shape + (1,) * (rank - value.ndim)) if value.ndim else value)

    def _floats(self, value: npt.ArrayLike) -> str:
        return self._constant(np.asarray(value, np.float32))

    def _ints(self, value: Sequence[int]) -> str:
        return self._constant(np.asarray(list(value), np.int64))

    def _constant(self, value: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _emit(self, kind: str, *operands: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(operands), [name], **attributes))
        return name
