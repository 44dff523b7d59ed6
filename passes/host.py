"""What of an ANN the host does: its last activations, and the codes of inputs that it quantizes itself."""

from __future__ import annotations

from snnc.ir.network import Network
from snnc.ir.ops import Clip, FakeQuant, Input, Output, Relu


def activations_to_host(network: Network) -> None:
    """An activation that only an output takes is left to the host, as a softmax is."""
    for node in list(network.of(Output)):
        output = network.op(node)
        assert isinstance(output, Output)
        (source,) = network.operands(node)
        op = network.op(source)
        if isinstance(op, Relu | Clip | FakeQuant) and network.users(source) == (node,):
            name = "relu" if isinstance(op, Relu) else "requantize"
            if isinstance(op, Clip):
                name = f"clip{op.maximum:g}"
            names = f"{name},{output.activation}" if output.activation else name
            network.set(node, output.replace(activation=names), network.operands(source))
            network.remove(source)


def quantize_inputs(network: Network) -> None:
    """What quantizes an input in the model becomes the input's own codes."""
    for node in list(network.of(Input)):
        users = network.users(node)
        quant = network.op(users[0]) if len(users) == 1 else None
        if isinstance(quant, FakeQuant) and not quant.scale.shape:
            op = network.op(node).replace(scale=float(quant.scale.array), codes=(quant.low, quant.high))
            network.set(node, op)
            network.bypass(users[0])
