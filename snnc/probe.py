"""What promises are proved on, and the networks that it shows not to be worth the attempt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from snnc import synthetic
from snnc.backends.reference.evaluate import evaluate
from snnc.calibrate import CompileContext
from snnc.diagnostics import CompileError
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Clip, Conv2d, IfNeuron, MaxGate, Output, Relu
from snnc.prove import step_bytes


def probe_inputs(network: Network, context: CompileContext, samples: int) -> Mapping[str, Any]:
    """The first calibration samples, or synthetic images where there are none."""
    if context.calibration is not None:
        return {name: np.asarray(x[:samples]) for name, x in context.calibration.items()}
    return synthetic.images(network, context.input_range, samples)


def refuse_too_large(network: Network, samples: int, memory: int) -> None:
    """Raise CompileError (SNNC0104) if the weights and a probe of one step take more than ``memory``.

    That is three generations of float64 weights beside the model itself, the windows of the largest
    convolution, one sample's activations, and for every sample of the probe a step of an open loop.
    """
    weights = sum(
        c.size for n in network.nodes for c in vars(network.op(n)).values() if isinstance(c, Constant)
    )
    neurons = sum(network.type(n).size for n in network.of(Relu, Clip, IfNeuron, MaxGate))
    columns = max((_columns(network, n) for n in network.of(Conv2d)), default=0)
    values = sum(network.type(n).size for n in network.nodes if not isinstance(network.op(n), Output))
    need = 32 * weights + columns + 8 * values + samples * step_bytes(network)
    if need > memory:
        raise CompileError.of(
            "SNNC0104",
            f"compiling takes about {need >> 20} MiB for {weights} weights and {neurons} neurons, "
            f"more than the {memory >> 20} MiB allowed",
            remedy="raise --max-memory, lower --probe, or export the model for a smaller input",
        )


def _columns(network: Network, node: int) -> int:
    """The bytes of the windows that a convolution is multiplied with, of one sample."""
    op = network.op(node)
    assert isinstance(op, Conv2d)
    return 8 * op.groups * math.prod(op.weight.shape[1:]) * math.prod(network.type(node).shape[1:])


def refuse_overflow(network: Network, inputs: Mapping[str, Any]) -> None:
    """Raise CompileError (SNNC0114) if an ANN's outputs on the probe are beyond float32.

    It names the first of the nodes that lead there.
    """
    if network.level != "ann":
        return

    def sound(node: int) -> bool:
        with np.errstate(all="ignore"):
            values = evaluate(network, inputs, [node])[node]
        return bool((np.abs(values) <= np.finfo(np.float32).max).all())

    nodes = [n for n in network.nodes if not isinstance(network.op(n), Output)]
    if all(sound(network.operands(n)[0]) for n in network.of(Output)):
        return
    first, last = 0, len(nodes) - 1
    while first < last:
        middle = (first + last) // 2
        first, last = (middle + 1, last) if sound(nodes[middle]) else (first, middle)
    raise CompileError.of(
        "SNNC0114",
        "the values overflow float32",
        where=network.op(nodes[first]).origin,
        remedy="check the weights: this network computes nothing",
    )
