"""What a network computes, apart from time: its transfer function in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.reference.drive import (
    Clock,
    Signal,
    encode_inputs,
    event_counts,
    linear,
    per_channel,
    transmit,
)
from snnc.backends.reference.fire import over_time, total_bias
from snnc.ir.address import windows
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    AveragePool,
    BatchNorm,
    Clip,
    Delay,
    FakeQuant,
    IfNeuron,
    Input,
    MaxGate,
    MaxPool,
    Op,
    Output,
    Pool,
    Readout,
    Relu,
)

Array = npt.NDArray[Any]
_ONCE = Clock(1, 1, delays=False)


def evaluate(
    network: Network, inputs: Mapping[str, Array], taps: Sequence[int] | None = None
) -> dict[int, Array]:
    """The values of ``taps`` [N, …], by default the operands of the outputs, in float64.

    At the ann level this is the ANN; at the snn level every population is its rate in the limit of many
    steps, amplitude·clip((Z + b̄)/θ, 0, 1), and a readout its answer. ``inputs`` are in the user's layout.
    """
    wanted = set(taps) if taps is not None else {network.operands(n)[0] for n in network.of(Output)}
    values: dict[int, Array] = dict(encode_inputs(network, inputs))
    for node, count in event_counts(network, values).items():
        op = network.op(node)
        assert isinstance(op, Input)
        values[node] = count * (op.amplitude / network.full_count)
    last = {source: node for node in network.nodes for source in network.operands(node)}
    for node in network.nodes:
        if wanted <= values.keys():
            break
        if node not in values and not isinstance(network.op(node), Output):
            values[node] = _value(network, node, [values[s] for s in network.operands(node)])
        for source in set(network.operands(node)):
            if last[source] == node and source not in wanted:
                del values[source]
    return {node: values[node] for node in wanted}


def _value(network: Network, node: int, operands: list[Array]) -> Array:
    op = network.op(node)
    if isinstance(op, Delay):
        return operands[0]
    if linear(op):
        return transmit(network, node, [Signal(x, False) for x in operands], _ONCE).array
    return _nonlinear(network, op, operands[0])


def _nonlinear(network: Network, op: Op, x: Array) -> Array:
    match op:
        case BatchNorm():
            gain = op.gamma.array / np.sqrt(op.variance.array.astype(np.float64) + op.epsilon)
            rank = x.ndim - 1
            return (x - per_channel(op.mean.array, rank)) * per_channel(gain, rank) + per_channel(
                op.beta.array, rank
            )
        case Relu():
            return np.maximum(x, 0)
        case Clip():
            return np.clip(x, 0, op.maximum)
        case FakeQuant():
            scale = per_channel(op.scale.array, x.ndim - 1)
            return op.codes(x / scale) * scale
        case AveragePool():
            return np.asarray(windows(op, x).sum(axis=(-2, -1)) / op.divisors.array)
        case MaxPool():
            return _max_pool(op, x)
        case MaxGate():
            return np.maximum(_max_pool(op, x), 0)
        case IfNeuron():
            drive = (x + _mean_bias(network, op.bias, x)) / _mean(op.threshold, x)
            amplitude = per_channel(op.amplitude.array, x.ndim - 1)
            return amplitude * np.clip(drive, -1 if op.negative else 0, 1)
        case Readout():
            return np.asarray((x + _mean_bias(network, op.bias, x)) * op.unit)
    raise AssertionError(f"{op.mnemonic} has no transfer function")


def _max_pool(op: Pool, x: Array) -> Array:
    return np.asarray(windows(op, x, fill=-np.inf).max(axis=(-2, -1)))


def _mean_bias(network: Network, bias: Constant, x: Array) -> Array:
    """B/N: what a bias adds per count."""
    return np.asarray(total_bias(bias, x.shape[1:], network.full_count) / network.full_count)


def _mean(constant: Constant, x: Array) -> Array:
    steps = constant.shape[0] if constant.shape else 1
    return np.asarray(over_time(constant, x.shape[1:], steps).mean(axis=0))
