"""Facts about an ONNX graph as a whole: who reads what, what is needed, what the host applies."""

from __future__ import annotations

import dataclasses
from collections import Counter

import onnx
from onnx import GraphProto, NodeProto

from snnc.frontend.converters import HOST_OPS
from snnc.frontend.loader import DEFAULT_DOMAINS
from snnc.ir.types import Shape

Dimensions = list[int | str]

_ALONG_AN_AXIS = ("ArgMax", "LogSoftmax", "Softmax")


@dataclasses.dataclass(frozen=True)
class Usage:
    """Which tensors and nodes matter.

    ``uses`` counts the readers of each tensor, graph outputs among them; ``needed`` holds the indices
    of the nodes that an output depends on.
    """

    uses: Counter[str]
    needed: frozenset[int]


def usage(graph: GraphProto) -> Usage:
    """Walk back from the outputs; what they do not depend on does not count as a reader."""
    uses = Counter(output.name for output in graph.output)
    needed = set()
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if any(uses[name] for name in node.output if name):
            needed.add(index)
            uses.update(name for name in node.input if name)
            uses.update(name for name in _captured(node) if name)
    return Usage(uses, frozenset(needed))


def _captured(node: NodeProto) -> list[str]:
    """Tensors that the bodies of control flow may read from outside."""
    bodies = [a.g for a in node.attribute if a.HasField("g")]
    return [name for body in bodies for inner in body.node for name in inner.input]


@dataclasses.dataclass(frozen=True)
class HostTail:
    """What the host applies to the tensor ``tensor`` to get the graph output ``output``."""

    output: str
    tensor: str
    nodes: tuple[NodeProto, ...]

    def activation(self, rank: int, opset: int) -> str:
        """The ops in the order in which the host applies them, joined by commas.

        ``rank`` counts the tensor's axes with the batch. What works on another axis than that of the
        classes, 1, has the axis behind its name.
        """
        names = ",".join(_named(node, rank, opset) for node in self.nodes)
        return names.replace("quantize,dequantize", "requantize")


def _named(node: NodeProto, rank: int, opset: int) -> str:
    name = HOST_OPS[node.op_type]
    if node.op_type not in _ALONG_AN_AXIS:
        return name
    default = 0 if node.op_type == "ArgMax" else -1 if opset >= 13 else 1
    axis = next((a.i for a in node.attribute if a.name == "axis"), default)
    # before opset 13, softmax took all axes from this one together
    whole = opset >= 13 or node.op_type == "ArgMax" or rank == 2
    return name if axis % rank == 1 and whole else f"{name}[axis={axis}]"


def host_tails(graph: GraphProto, uses: Counter[str]) -> list[HostTail]:
    """For each graph output, the activations directly before it that nothing else reads."""
    producers = {name: node for node in graph.node for name in node.output}
    tails = []
    for output in graph.output:
        name, nodes = output.name, list[NodeProto]()
        while (
            uses[name] == 1
            and (node := producers.get(name)) is not None
            and node.op_type in HOST_OPS
            and node.domain in DEFAULT_DOMAINS
        ):
            nodes.insert(0, node)
            name = node.input[0]
        tails.append(HostTail(output.name, name, tuple(nodes)))
    return tails


def dimensions(value: onnx.ValueInfoProto) -> Dimensions | None:
    """A tensor's extents, symbols as text ('?' if nameless); None if even the rank is unknown."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]


def declared_shapes(graph: GraphProto) -> dict[str, Shape]:
    """Shapes of one sample, where the model declares them and they are fixed.

    ONNX's own shape inference is not asked: some invalid models make it abort the process.
    """
    shapes = {}
    for value in (*graph.value_info, *graph.output):
        sample = (dimensions(value) or [])[1:]
        fixed = tuple(n for n in sample if isinstance(n, int) and n > 0)
        if sample and len(fixed) == len(sample):
            shapes[value.name] = fixed
    return shapes
