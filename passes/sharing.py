"""One λ for elements that meet before the next weights.

Spikes of unlike amplitude cannot be told apart once they are in one channel: where a reshape makes positions
of channels, where tensors are concatenated along an axis of space, where channels are averaged. The
populations that they come from share the largest of their λ there, which costs resolution and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snnc.diagnostics import CompileError, Diagnostics
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Clip, Dense, FakeQuant, IfNeuron, MaxPool, Weighted, merge_origins
from snnc.passes.gains import GainOf, operand_gain, per_channel


def bounds(network: Network) -> dict[int, float]:
    """The greatest λ that activations with a bound of their own may have."""
    clips = {n: op.maximum for n in network.of(Clip) if isinstance(op := network.op(n), Clip)}
    quants = {
        n: float(op.top.min()) for n in network.of(FakeQuant) if isinstance(op := network.op(n), FakeQuant)
    }
    return clips | quants


def share_where_mixed(
    network: Network, amplitude: GainOf, bounds: Mapping[int, float], diagnostics: Diagnostics
) -> None:
    """Give populations whose spikes are mixed one λ, unless one of them is bounded below it."""
    groups: list[set[int]] = []
    for node in network.of(Weighted, MaxPool):
        if _mixes(network, node, amplitude):
            (drive, *_) = network.operands(node)
            group = {
                n
                for n in network.upstream(drive, lambda n: amplitude(n) is not None)
                if amplitude(n) is not None
            }
            for other in [g for g in groups if g & group]:
                groups.remove(other)
                group |= other
            groups.append(group)
    for group in groups:
        _share(network, sorted(group), bounds, diagnostics)


def _mixes(network: Network, node: int, amplitude: GainOf) -> bool:
    try:
        gain = operand_gain(network, node, amplitude)
        # a dense layer has a weight of its own for every element
        if not isinstance(network.op(node), Dense):
            per_channel(network, node, gain)
    except CompileError:
        return True
    return False


def _share(network: Network, group: list[int], bounds: Mapping[int, float], diagnostics: Diagnostics) -> None:
    ops = [op for node in group if isinstance(op := network.op(node), IfNeuron)]
    top = max((float(op.unit.array.max()) for op in ops), default=0.0)
    if len(ops) < len(group) or any(top > bounds.get(node, np.inf) for node in group):
        return
    unit = Constant(top)
    for node, op in zip(group, ops, strict=True):
        start = Constant(top / 2) if op.signed else op.v_init
        network.set(node, op.replace(threshold=unit, amplitude=unit, unit=unit, v_init=start))
    diagnostics.note(
        "SNNC0129",
        "channels are mixed before the next weights: they share one threshold",
        where=merge_origins(*ops),
    )
