"""Everything that a model holds, the bodies of control flow and functions included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import GraphProto, ModelProto, NodeProto, TensorProto


def nodes(proto: ModelProto) -> Iterator[NodeProto]:
    """All nodes."""
    yield from _nested(proto.graph.node)
    for function in proto.functions:
        yield from _nested(function.node)


def tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """All tensors: initializers and attributes."""
    yield from _initializers(proto.graph)
    for node in nodes(proto):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in attribute.sparse_tensors:
                yield from (sparse.values, sparse.indices)
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        for body in _bodies(node):
            yield from _initializers(body)


def names(proto: ModelProto) -> Iterator[str | bytes]:
    """Everything that is text in a model; protobuf gives bytes for what is not UTF-8."""
    yield from (entry.domain for entry in proto.opset_import)
    yield from (proto.graph.name,)
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        yield from (value.name, *(extent.dim_param for extent in value.type.tensor_type.shape.dim))
    for node in nodes(proto):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for tensor in tensors(proto):
        yield tensor.name
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)


def _initializers(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _nested(found: Iterable[NodeProto]) -> Iterator[NodeProto]:
    # protobuf refuses to parse what is nested more than a hundred levels deep
    for node in found:
        yield node
        for body in _bodies(node):
            yield from _nested(body.node)


def _bodies(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
