"""What ``spikify`` finds in an ANN that has no spiking form."""

from __future__ import annotations

from collections.abc import Sequence

from snnc.diagnostics import Diagnostics
from snnc.ir.network import Network
from snnc.ir.ops import Clip, Concat, FakeQuant, MaxPool, Relu


def refuse_unlowered(network: Network) -> None:
    """Raise CompileError for an op of the ANN that earlier passes replace."""
    found = Diagnostics()
    for op in map(network.op, network.nodes):
        if "snn" not in op.levels and not isinstance(op, Relu | Clip | FakeQuant | MaxPool):
            found.error(
                "SNNC0155",
                f"{op.mnemonic} is to be replaced before spikify",
                where=op.origin,
                remedy="run simplify, fold-batchnorm and lower-pooling first",
            )
    found.raise_errors()


def refuse_unbounded(network: Network) -> None:
    """Raise CompileError for a rounding that no clip bounds."""
    found = Diagnostics()
    for op in map(network.op, network.of(FakeQuant)):
        if isinstance(op, FakeQuant) and not op.bounded:
            found.error(
                "SNNC0120",
                "values are rounded and not clipped, or not clipped at one of their levels",
                where=op.origin,
                remedy="bound them by Clip(0, c), with c a whole number of levels, and run simplify",
            )
    found.raise_errors()


def refuse_shapes(network: Network, nodes: Sequence[int]) -> None:
    """Raise CompileError unless every population to be is [C] or [C, H, W]."""
    found = Diagnostics()
    for node in nodes:
        shape = network.type(node).shape
        if len(shape) not in (1, 3):
            found.error(
                "SNNC0120",
                f"a population of shape {list(shape)} is neither [C] nor [C, H, W]",
                where=network.op(node).origin,
                remedy="flatten the tensor or give it two spatial axes",
            )
    found.raise_errors()


def refuse_mixed_concats(network: Network) -> None:
    """Raise CompileError where a constant current and spikes are concatenated: no one map takes both."""
    found = Diagnostics()
    for node in network.of(Concat):
        if len({type(x.element) for x in network.operand_types(node)}) > 1:
            found.error(
                "SNNC0120",
                "the input is concatenated with spikes",
                where=network.op(node).origin,
                remedy="use --input rate, so that the input is spikes too",
            )
    found.raise_errors()
