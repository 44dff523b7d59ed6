"""From a checked ModelProto to an ann-level network, node by node."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Literal

import onnx
from onnx import ModelProto, NodeProto

from snnc.diagnostics import Diagnostics
from snnc.frontend import fold
from snnc.frontend.builder import Builder, Rejected
from snnc.frontend.converters import CONVERTERS, REMEDIES, SHAPE_KEEPING
from snnc.frontend.graph import HostTail, declared_shapes, dimensions, host_tails, usage
from snnc.frontend.limits import Limits
from snnc.frontend.loader import DEFAULT_DOMAINS
from snnc.frontend.node import OnnxNode, Unknown, Value, attributes, node_name
from snnc.ir.network import Network
from snnc.ir.ops import Input, Output

INPUT_DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.UINT8: "uint8",
}

Status = Literal["ok", "approximated", "unsupported"]


@dataclasses.dataclass(frozen=True)
class NodeSupport:
    """What becomes of one ONNX node; ``reason`` may be empty where all is well."""

    name: str
    op_type: str
    status: Status
    reason: str


class Importer:
    """Imports one model. Faults go to ``diagnostics``; ``rows`` has one entry per node."""

    def __init__(self, proto: ModelProto, name: str, diagnostics: Diagnostics, limits: Limits) -> None:
        """``proto`` comes from the loader."""
        self.rows: list[NodeSupport] = []
        self._graph = proto.graph
        self._diagnostics = diagnostics
        self._limits = limits
        self._builder = Builder(name, limits)
        self._opset = max(o.version for o in proto.opset_import if o.domain in DEFAULT_DOMAINS)
        self._batch: int | None = None
        self._values: dict[str, Value] = {}
        self._initializers = {tensor.name: tensor for tensor in self._graph.initializer}
        self._usage = usage(self._graph)
        self._shapes = declared_shapes(self._graph)

    def run(self) -> Network:
        """The network; it is complete only if no error was recorded."""
        tails = host_tails(self._graph, self._usage.uses)
        on_host = {node.output[0] for tail in tails for node in tail.nodes}
        for value in self._graph.input:
            if value.name not in self._initializers:
                self._input(value)
        for index, node in enumerate(self._graph.node):
            if on_host.intersection(node.output):
                status: Status = "approximated" if node.op_type == "QuantizeLinear" else "ok"
                self._row(node, status, "left to the host")
            elif index not in self._usage.needed:
                self._row(node, "ok", "no output depends on it")
            else:
                self._node(node)
        for tail in tails:
            self._output(tail)
        self._builder.network.prune()
        self._builder.absorb_layouts()
        return self._builder.network

    def _input(self, value: onnx.ValueInfoProto) -> None:
        extents = dimensions(value)
        dtype = INPUT_DTYPES.get(value.type.tensor_type.elem_type)
        self._values[value.name] = Unknown(value.name)
        if extents is None or len(extents) < 2 or dtype is None:
            kinds = ", ".join(INPUT_DTYPES.values())
            self._diagnostics.error(
                "SNNC0115",
                f"the input {value.name!r} must be a tensor of {kinds} with a batch axis and a known rank",
            )
            return
        batch, *sample = extents
        shape = tuple(n for n in sample if isinstance(n, int) and n > 0)
        if len(shape) < len(sample):
            self._diagnostics.error(
                "SNNC0115",
                f"the input {value.name!r} has the shape {extents}: only the batch axis may be open",
                remedy="fix the others with onnx.tools.update_model_dims, or export with fixed sizes",
            )
            return
        if isinstance(batch, int):
            self._batch = batch
        try:
            op = Input(name=value.name, shape=shape, dtype=dtype, source=value.name)
            self._values[value.name] = self._builder.add(op)
        except Rejected as fault:
            self._diagnostics.error(fault.code, f"the input {value.name!r}: {fault.message}")

    def _node(self, proto: NodeProto) -> None:
        values: list[Value | None] = []
        try:
            values = [self._value(name) for name in proto.input]
            unknown = next((v for v in values if isinstance(v, Unknown)), None)
            if unknown is None:
                uses = self._usage.uses
                self._convert(OnnxNode(proto, self._opset, values, self._builder, uses, self._batch))
                return
            reason = f"it depends on {unknown.node!r}, whose result is unknown"
        except Rejected as fault:
            reason = fault.message
            self._diagnostics.error(fault.code, reason, where=(node_name(proto),), remedy=fault.remedy)
        self._row(proto, "unsupported", reason)
        self._stand_in(proto, values)

    def _convert(self, node: OnnxNode) -> None:
        proto = node.proto
        if proto.domain not in DEFAULT_DOMAINS:
            raise Rejected(
                "SNNC0105",
                f"operator {proto.op_type} of the domain {proto.domain!r} is not supported",
                "export with standard operators only; onnx.inliner expands functions",
            )
        constant = self._constant(node)
        if constant is not None:
            self._values[proto.output[0]] = constant
            self._row(proto, "ok", "folded")
            return
        converter = CONVERTERS.get(proto.op_type)
        if converter is None:
            raise Rejected(
                "SNNC0110",
                f"operator {proto.op_type} is not supported",
                REMEDIES.get(proto.op_type, ""),
            )
        result = converter(node)
        self._claim(result, proto.output[0])
        self._values[proto.output[0]] = result
        present = result in [value for value in node.values if isinstance(value, int)]
        merged = node.name in self._builder.network.op(result).origin
        self._row(proto, "ok", "no effect" if present and not merged else "")

    def _constant(self, node: OnnxNode) -> fold.Array | None:
        """The value of a node that does not depend on the input's content; None if it does."""
        proto, first = node.proto, node.value(0)
        if proto.op_type == "Shape" and isinstance(first, int):
            sample = self._builder.shape(first)
            return fold.shape_of((fold.BatchSize(), *sample), attributes(proto))
        arrays = [v for v in node.values if v is None or not isinstance(v, int | Unknown)]
        if len(arrays) < len(node.values):
            return None
        try:
            if proto.op_type == "Shape" and arrays and arrays[0] is not None:
                return fold.shape_of(arrays[0].shape, attributes(proto))
            if proto.op_type in fold.FOLDABLE:
                return fold.evaluate(proto.op_type, arrays, attributes(proto), self._limits.elements)
        except fold.FoldError as error:
            raise Rejected("SNNC0111", f"constant {proto.op_type} cannot be evaluated: {error}") from None
        raise Rejected("SNNC0110", f"operator {proto.op_type} on constants is not supported")

    def _value(self, name: str) -> Value | None:
        if not name:
            return None
        if name not in self._values:
            tensor = self._initializers.get(name)
            if tensor is None:
                raise Rejected("SNNC0102", f"the tensor {name!r} is never defined")
            try:
                self._values[name] = fold.tensor_array(tensor)
            except fold.FoldError as error:
                raise Rejected("SNNC0114", f"the weight {name!r} cannot be read: {error}") from None
        return self._values[name]

    def _claim(self, result: int, tensor: str) -> None:
        """Let the op that stands for ``tensor`` say so, unless it stands for an earlier one already."""
        op = self._builder.network.op(result)
        if not op.source:
            self._builder.set(result, op.replace(source=tensor))

    def _stand_in(self, proto: NodeProto, values: list[Value | None]) -> None:
        """Give a rejected node's results a shape, so that later nodes are examined too."""
        shapes = dict(self._shapes)
        # a constant has no batch axis, so it cannot be stood in for
        computed = [value for value in values if isinstance(value, int)]
        if computed and proto.op_type in SHAPE_KEEPING:
            shapes.setdefault(proto.output[0], self._builder.shape(computed[0]))
        for name in filter(None, proto.output):
            self._values[name] = Unknown(node_name(proto))
            if computed and name in shapes:
                with contextlib.suppress(Rejected):
                    self._values[name] = self._builder.add(Input(name=name, shape=shapes[name]))

    def _output(self, tail: HostTail) -> None:
        try:
            value = self._value(tail.tensor)
        except Rejected as fault:
            self._diagnostics.error(fault.code, fault.message)
            return
        if isinstance(value, Unknown):
            return
        if not isinstance(value, int):
            self._diagnostics.error("SNNC0115", f"the output {tail.output!r} does not depend on the input")
            return
        if tail.nodes:
            ops = ", ".join(node.op_type for node in tail.nodes)
            self._diagnostics.note(
                "SNNC0116",
                f"{ops} at the output {tail.output!r} is left to the host",
                where=[node_name(node) for node in tail.nodes],
            )
        op = Output(name=tail.output, activation=tail.activation, source=tail.tensor)
        self._builder.add(op, value)

    def _row(self, proto: NodeProto, status: Status, reason: str) -> None:
        self.rows.append(NodeSupport(node_name(proto), proto.op_type, status, reason))
