"""What each layer of a spiking network loses against the ANN, on a few samples at compile time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Ran, Trace
from snnc.fixedpoint import align
from snnc.ir.groups import group_means
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron, MaxGate, Output, Readout

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """``counts`` are spikes per sample of every neuron, ``sqnr_db`` each layer's ratio, by node.

    A ratio is None where no ANN tensor corresponds, or where signal or error is nil.
    """

    samples: int
    counts: Mapping[int, Floats]
    sqnr_db: Mapping[int, float | None]


def measure(anns: Sequence[Network], network: Network, ran: Ran) -> Measurement:
    """Compare what every population of a network that ``ran`` said with the ANN tensor it stands for.

    ``anns`` are the imported network and what the passes made of it at the ann level: a tensor that
    only the latter has, such as an activation in another layout, is looked up there. Without any, only
    spikes are counted.

    SQNR = 10·log10(Σ a² / Σ (a − unit·n/N)²) with a the ANN's activation and n the spike count.
    """
    from snnc.backends.onnx.runner import AnnRunner

    inputs, trace = ran.inputs, ran.trace
    ratios: dict[int, float | None] = dict.fromkeys(network.of(IfNeuron, MaxGate, Readout))
    compared: set[int] = set()
    for ann in anns:
        pairs = {node: tensor for node, tensor in _stand_for(ann, network).items() if node not in compared}
        compared.update(pairs)
        expected = AnnRunner(ann, sorted(set(pairs.values())), 1).run(inputs) if pairs else {}
        for node, tensor in pairs.items():
            a = np.asarray(expected[tensor], np.float64)
            error = float(((a - group_means(network.op(node), activation(network, node, trace))) ** 2).sum())
            ratios[node] = sqnr(float((a**2).sum()), error)
    counts = {node: c.mean(axis=0, dtype=np.float64) for node, c in trace.emitted().items()}
    return Measurement(len(next(iter(inputs.values()))), counts, ratios)


def _stand_for(ann: Network, network: Network) -> dict[int, int]:
    """The populations and readouts whose source is a tensor of ``ann`` of the same shape, and it."""
    results = (node for node in ann.nodes if not isinstance(ann.op(node), Output))
    tensors = {ann.op(node).source: node for node in results if ann.op(node).source}
    return {
        node: tensors[network.op(node).source]
        for node in network.of(IfNeuron, MaxGate, Readout)
        if network.op(node).source in tensors
        and ann.type(tensors[network.op(node).source]).shape == network.type(node).shape
    }


def activation(network: Network, node: int, trace: Trace) -> Floats:
    """What a population said in the ANN's units, [N, …]: unit·n/N, or the readout's last answer."""
    op, full = network.op(node), network.full_count
    if isinstance(op, Readout):
        output = next(u for u in network.users(node) if isinstance(network.op(u), Output))
        name = getattr(network.op(output), "name", "")
        return np.asarray(trace.outputs[name][:, -1] * (op.unit / full), np.float64)
    assert isinstance(op, IfNeuron | MaxGate)
    count = trace.counts[node]
    return np.asarray(count * align(op.unit.array, count[0]) / full)


def sqnr(power: float, error: float) -> float | None:
    """10·log10(power/error) in dB; None where it is not a number: no signal, or no error."""
    return 10 * math.log10(power / error) if power > 0 and error > 0 else None
