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
    graph = Graph()
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


class Graph:
    """Collects ONNX nodes and initializers; every emitted value has a name of its own."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def translate(self, network: Network, node: int) -> None:
        """Append the nodes of an op of the ann level. Raises CompileError for any other."""
        op = network.op(node)
        x = [value_name(s) for s in network.operands(node)]
        shape = network.type(network.operands(node)[0]).shape if x else ()
        result = self.structural(op, x) or self._arithmetic(op, x, shape) or self._activation(op, x, shape)
        if isinstance(op, Input):
            perm = [0, *(1 + a for a in op.perm)]
            source = input_name(node)
            result = self.emit("Transpose", source, perm=perm) if op.perm else self.emit("Identity", source)
        if not result:
            raise CompileError.of(
                "SNNC0155", f"{op.mnemonic} does not exist at the ann level", where=op.origin
            )
        self.nodes.append(helper.make_node("Identity", [result], [value_name(node)]))

    def structural(self, op: Op, x: list[str]) -> str:
        """The result of an op that moves or adds values, empty for any other."""
        match op:
            case Reshape():
                return self.emit("Reshape", x[0], self.ints([-1, *op.shape]))
            case Transpose():
                return self.emit("Transpose", x[0], perm=[0, *(1 + a for a in op.perm)])
            case Slice():
                axes = range(1, 1 + len(op.starts))
                bounds = (op.starts, op.stops, axes, op.steps)
                return self.emit("Slice", x[0], *(self.ints(b) for b in bounds))
            case Pad():
                return self._pad(x[0], op.before, op.after, 0.0)
            case Concat():
                return self.emit("Concat", *x, axis=1 + op.axis)
            case Add():
                return self.emit("Sum", *x)
        return ""

    def _arithmetic(self, op: Op, x: list[str], shape: Shape) -> str:
        match op:
            case Conv2d():
                return self._biased(self.convolve(op, x[0], op.weight.array), op.bias, 3)
            case Dense():
                y = self.emit("Gemm", x[0], self.floats(op.weight.array), transB=1)
                return self._biased(y, op.bias, 1)
            case Scale():
                y = self.emit("Mul", x[0], self.per_channel(op.weight.array, len(shape)))
                return self._biased(y, op.bias, len(shape))
            case BatchNorm():
                parameters = (op.gamma, op.beta, op.mean, op.variance)
                operands = (self.floats(p.array) for p in parameters)
                return self.emit("BatchNormalization", x[0], *operands, epsilon=op.epsilon)
            case AveragePool():
                return self._average(op, x[0], shape[0])
            case MaxPool():
                return self.largest(op, x[0], -np.inf)
            case SumPool():
                return self.sum_pool(op, x[0], shape[0])
        return ""

    def _activation(self, op: Op, x: list[str], shape: Shape) -> str:
        match op:
            case Relu():
                return self.emit("Relu", x[0])
            case Clip():
                return self.emit("Clip", x[0], self.floats(0.0), self.floats(op.maximum))
            case FakeQuant():
                scale = self.per_channel(op.scale.array, len(shape))
                code = self.emit("Div", x[0], scale)
                if op.ties == "up":
                    code = self.emit("Floor", self.emit("Add", code, self.floats(0.5)))
                else:
                    code = self.emit("Round", code)
                bounds = self.floats(op.low), self.floats(op.high)
                return self.emit("Mul", self.emit("Clip", code, *bounds), scale)
        return ""

    def convolve(self, op: Conv2d, x: str, weight: Array, *bias: str) -> str:
        """``op`` with another weight, and perhaps a bias [M]."""
        window = {"strides": op.strides, "pads": op.pads, "dilations": op.dilations}
        return self.emit("Conv", x, self.floats(weight), *bias, group=op.groups, **window)

    def _average(self, op: AveragePool, x: str, channels: int) -> str:
        plain = not any(op.pads) and (op.divisors.array == op.kernel[0] * op.kernel[1]).all()
        if plain:
            return self.emit("AveragePool", x, kernel_shape=op.kernel, strides=op.strides)
        return self.scaled(self._sum(op, x, channels), 1 / op.divisors.array)

    def sum_pool(self, op: SumPool, x: str, channels: int) -> str:
        """m[p]·Σ over each window of [batch, C, H, W]."""
        y = self._sum(op, x, channels)
        return y if op.multiplicity is None else self.scaled(y, op.multiplicity.array)

    def _sum(self, op: Pool, x: str, channels: int) -> str:
        ones = np.ones((channels, 1, *op.kernel))
        return self.emit("Conv", x, self.floats(ones), strides=op.strides, pads=op.pads, group=channels)

    def largest(self, op: Pool, x: str, outside: float) -> str:
        """The largest value of each window, ``outside`` beyond the borders."""
        top, left, bottom, right = op.pads
        # onnxruntime refuses pads as large as the window
        if any(op.pads):
            x = self._pad(x, (0, top, left), (0, bottom, right), outside)
        return self.emit("MaxPool", x, kernel_shape=op.kernel, strides=op.strides)

    def _pad(self, x: str, before: Sequence[int], after: Sequence[int], value: float) -> str:
        return self.emit("Pad", x, self.ints([0, *before, 0, *after]), self.floats(value))

    def _biased(self, x: str, bias: Constant | None, rank: int) -> str:
        return x if bias is None else self.emit("Add", x, self.per_channel(bias.array, rank))

    def scaled(self, x: str, factor: npt.ArrayLike) -> str:
        """x·factor in float32."""
        return self.emit("Mul", x, self.floats(factor))

    def per_channel(self, value: Array, rank: int) -> str:
        """A constant [], [C] or [C, …] that broadcasts over [batch, C, …], ``rank`` axes after the first."""
        return self.floats(value.reshape(value.shape + (1,) * (rank - value.ndim)) if value.ndim else value)

    def floats(self, value: npt.ArrayLike) -> str:
        """A constant in float32."""
        return self.constant(np.asarray(value, np.float32))

    def ints(self, value: Sequence[int]) -> str:
        """A constant vector of integers."""
        return self.constant(np.asarray(list(value), np.int64))

    def constant(self, value: Array) -> str:
        """A constant in its own type."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def emit(self, kind: str, *operands: str, **attributes: Any) -> str:
        """Append a node; the name of its result."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(operands), [name], **attributes))
        return name
