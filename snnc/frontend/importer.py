"""From a checked ModelProto to an ann-level network, node by node."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import Literal

import onnx
from onnx import ModelProto, NodeProto

from snnc.diagnostics import Diagnostics
from snnc.frontend import fold
from snnc.frontend.builder import Builder, Rejected
from snnc.frontend.convert_onnxruntime import check_attributes
from snnc.frontend.converters import (
    CONTRIBUTED,
    CONVERTERS,
    DOMAIN_REMEDIES,
    EXPORT_STANDARD,
    ONNXRUNTIME,
    REMEDIES,
    SHAPE_KEEPING,
)
from snnc.frontend.fold_table import FOLDABLE, evaluate
from snnc.frontend.graph import HostTail, declared_shapes, dimensions, host_tails, usage
from snnc.frontend.limits import Limits
from snnc.frontend.loader import DEFAULT_DOMAINS
from snnc.frontend.node import OnnxNode, Unfit, Unknown, Value, attributes, node_name
from snnc.ir.network import Network
from snnc.ir.ops import Input, Output

INPUT_DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT8: "int8",
}

_CODES = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)

Status = Literal["ok", "approximated", "refused"]


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
        self._room = limits.elements
        self._builder = Builder(name, limits)
        self._opset = max(o.version for o in proto.opset_import if o.domain in DEFAULT_DOMAINS)
        self._batch: int | None = None
        self._values: dict[str, Value] = {}
        self._initializers = {tensor.name: tensor for tensor in self._graph.initializer}
        self._sparse = {sparse.values.name: sparse for sparse in self._graph.sparse_initializer}
        self._usage = usage(self._graph)
        self._shapes = declared_shapes(self._graph)
        self._codes = {v.name for v in self._graph.output if v.type.tensor_type.elem_type in _CODES}

    def run(self) -> Network:
        """The network; it is complete only if no error was recorded."""
        tails = host_tails(self._graph, self._usage.uses)
        on_host = {node.output[0] for tail in tails for node in tail.nodes}
        for value in self._graph.input:
            if value.name not in self._initializers and value.name not in self._sparse:
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
        if extents is None or len(extents) < 2 or dtype is None:
            kinds = ", ".join(INPUT_DTYPES.values())
            self._values[value.name] = Unfit(
                f"the input {value.name!r} must be a tensor of {kinds} with a batch axis and a known rank"
            )
            return
        batch, *sample = extents
        shape = tuple(n for n in sample if isinstance(n, int) and n > 0)
        if len(shape) < len(sample):
            self._values[value.name] = Unfit(
                f"the input {value.name!r} has the shape {extents}: only the batch axis may be open",
                "fix the others with onnx.tools.update_model_dims, or export with fixed sizes",
            )
            return
        # exporters write 0 and -1 for a batch of any size
        if isinstance(batch, int) and batch > 0:
            if batch * math.prod(shape) > self._builder.limits.elements:
                message = f"the input {value.name!r} has the shape {extents}: its batch is too large"
                self._values[value.name] = Unfit(message, code="SNNC0104")
                return
            if self._batch not in (None, batch):
                self._values[value.name] = Unfit(
                    f"the input {value.name!r} has {batch} samples, another input {self._batch}"
                )
                return
            self._batch = batch
        try:
            op = Input(name=value.name, shape=shape, dtype=dtype, source=value.name)
            self._values[value.name] = self._builder.add(op)
        except Rejected as fault:
            self._values[value.name] = Unfit(f"the input {value.name!r}: {fault.message}", code=fault.code)

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
        self._row(proto, "refused", reason)
        self._stand_in(proto, values)

    def _convert(self, node: OnnxNode) -> None:
        proto = node.proto
        standard = proto.domain in DEFAULT_DOMAINS
        table = CONVERTERS if standard else CONTRIBUTED if proto.domain == ONNXRUNTIME else {}
        if not standard and proto.op_type not in table:
            raise Rejected(
                "SNNC0105",
                f"operator {proto.op_type} of the domain {proto.domain!r} is not supported",
                DOMAIN_REMEDIES.get(proto.domain, EXPORT_STANDARD),
            )
        if not standard:
            check_attributes(node)
        constants = self._constants(node)
        if constants is not None:
            self._values.update(zip(proto.output, constants, strict=False))
            self._row(proto, "ok", "folded")
            return
        converter = table.get(proto.op_type)
        if converter is None:
            unfit = next((value for value in node.values if isinstance(value, Unfit)), None)
            if unfit is not None:
                raise Rejected(unfit.code, unfit.reason, unfit.remedy)
            raise Rejected(
                "SNNC0110",
                f"operator {proto.op_type} is not supported",
                REMEDIES.get(proto.op_type, ""),
            )
        results = converter(node)
        outputs = [results] if isinstance(results, int) else results
        for result, tensor in zip(outputs, proto.output, strict=False):
            self._claim(result, tensor)
            self._values[tensor] = result
        self._builder.name_inner(proto.output[0])
        present = outputs[0] in [value for value in node.values if isinstance(value, int)]
        merged = node.name in self._builder.network.op(outputs[0]).origin
        self._row(proto, "ok", "no effect" if present and not merged else "")

    def _constants(self, node: OnnxNode) -> list[fold.Array] | None:
        """The results of a node that does not depend on the input's content; None if it does."""
        proto, first = node.proto, node.value(0)
        if proto.op_type == "Shape" and isinstance(first, int):
            sample = self._builder.shape(first)
            return [fold.shape_of((fold.BatchSize(), *sample), attributes(proto))]
        arrays = [v for v in node.values if v is None or not isinstance(v, int | Unknown | Unfit)]
        if len(arrays) < len(node.values):
            return None
        try:
            if proto.op_type == "Shape" and arrays and arrays[0] is not None:
                return [fold.shape_of(arrays[0].shape, attributes(proto))]
            if proto.op_type in FOLDABLE:
                values = evaluate(proto.op_type, arrays, attributes(proto), self._room)
                self._room -= sum(value.size for value in values)
                return values
        except fold.FoldError as error:
            raise Rejected("SNNC0111", f"constant {proto.op_type} cannot be evaluated: {error}") from None
        raise Rejected("SNNC0110", f"operator {proto.op_type} on constants is not supported")

    def _value(self, name: str) -> Value | None:
        if not name:
            return None
        if name not in self._values:
            try:
                if name in self._initializers:
                    self._values[name] = fold.tensor_array(self._initializers[name])
                elif name in self._sparse:
                    dense = fold.sparse_array(self._sparse[name], self._room)
                    self._room -= dense.size
                    self._values[name] = dense
                else:
                    raise Rejected("SNNC0102", f"the tensor {name!r} is never defined")
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
        shapes = {name: self._shapes[name] for name in proto.output if name in self._shapes}
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
        if isinstance(value, Unfit):
            self._diagnostics.error(value.code, value.reason, remedy=value.remedy)
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
        activation = tail.activation(len(self._builder.shape(value)) + 1, self._opset)
        if not activation and tail.output in self._codes:
            # the network's values are what the codes stand for
            activation = "quantize"
        self._builder.add(Output(name=tail.output, activation=activation, source=tail.tensor), value)

    def _row(self, proto: NodeProto, status: Status, reason: str) -> None:
        self.rows.append(NodeSupport(node_name(proto), proto.op_type, status, reason))
