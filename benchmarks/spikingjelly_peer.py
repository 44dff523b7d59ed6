"""The same network in SpikingJelly, converted by its ann2snn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import ann2snn, functional
from torch import fx, nn

from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    AveragePool,
    Conv2d,
    Dense,
    Input,
    MaxPool,
    Op,
    Output,
    Pad,
    Relu,
    Reshape,
    Scale,
    Slice,
    Transpose,
)

Run = Callable[[np.ndarray], Any]

BATCH = 50


class Unsupported(Exception):
    """SpikingJelly has no word for an op."""


class Affine(nn.Module):
    """A diagonal map."""

    def __init__(self, op: Scale, rank: int) -> None:
        super().__init__()
        shape = (-1,) + (1,) * (rank - 1)
        self.register_buffer("weight", torch.tensor(op.weight.array.astype(np.float32)).reshape(shape))
        bias = np.zeros(1) if op.bias is None else op.bias.array
        self.register_buffer("bias", torch.tensor(bias.astype(np.float32)).reshape(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """w·x + b."""
        return x * self.weight + self.bias


def convert(network: Network, calibration: np.ndarray, steps: int) -> Run:
    """A function that simulates ``steps`` on a batch and returns the sum of the outputs.

    ``network`` is at the ann level with batch norms folded; thresholds are the 99.9th percentile of each
    channel, and membranes begin at half of them, which loses least at few steps. Raises Unsupported.
    """
    ann = _module(network).eval()
    images = torch.tensor(calibration.astype(np.float32)).split(BATCH)
    batches = [(batch, torch.zeros(len(batch))) for batch in images]
    recipe = ann2snn.RateCodingRecipe(batches, mode="99.9%", channel_wise=True, half_threshold=True)
    snn = ann2snn.Converter(recipe).convert(ann).eval()

    def run(x: np.ndarray) -> Any:
        functional.reset_net(snn)
        total: Any = 0
        with torch.inference_mode():
            batch = torch.tensor(x.astype(np.float32))
            for _ in range(steps):
                total = total + snn(batch)
        return total.numpy()

    return run


def _module(network: Network) -> fx.GraphModule:
    root, graph, values = nn.Module(), fx.Graph(), {}
    for node in network.nodes:
        op, x = network.op(node), [values[s] for s in network.operands(node)]
        if isinstance(op, Input):
            y = graph.placeholder("x")
            values[node] = graph.call_method("permute", (y, [0, *(1 + a for a in op.perm)])) if op.perm else y
        elif isinstance(op, Output):
            graph.output(x[0])
        elif isinstance(op, Add):
            values[node] = graph.call_function(torch.add, (x[0], x[1]))
        elif isinstance(op, Reshape):
            values[node] = graph.call_method("reshape", (x[0], (-1, *op.shape)))
        elif isinstance(op, Transpose):
            values[node] = graph.call_method("permute", (x[0], [0, *(1 + a for a in op.perm)]))
        else:
            name = f"layer{node}"
            root.add_module(name, _layer(op, network, node))
            values[node] = graph.call_module(name, (x[0],))
    return fx.GraphModule(root, graph)


def _layer(op: Op, network: Network, node: int) -> nn.Module:
    match op:
        case Conv2d():
            return _conv(op)
        case Dense():
            dense = nn.Linear(op.weight.shape[1], op.weight.shape[0])
            return _filled(dense, op.weight.array.astype(np.float32), op.bias)
        case Relu():
            return nn.ReLU()
        case Scale():
            return Affine(op, len(network.type(node).shape))
        case AveragePool() if not any(op.pads):
            return nn.AvgPool2d(op.kernel, op.strides)
        case MaxPool() if not any(op.pads):
            return nn.MaxPool2d(op.kernel, op.strides)
        case Slice() | Pad():
            return _identity(op, network.operand_types(node)[0].shape[0])
    raise Unsupported(op.mnemonic)


def _conv(op: Conv2d) -> nn.Module:
    """Its converter knows symmetric padding alone: a larger kernel, zero at its beginning, does the rest."""
    weight = op.weight.array.astype(np.float32)
    top, left, bottom, right = op.pads
    down, across = max(0, bottom - top), max(0, right - left)
    if top > bottom or left > right or (max(op.dilations) > 1 and (down or across)):
        raise Unsupported("padding that is larger before than after")
    weight = np.pad(weight, ((0, 0), (0, 0), (down, 0), (across, 0)))
    return _filled(_empty(weight, op.strides, (bottom, right), op.dilations, op.groups), weight, op.bias)


def _identity(op: Slice | Pad, channels: int) -> nn.Module:
    """Steps over sites, or channels of zeros, as a convolution with weights 0 and 1."""
    before, after, strides = (0, 0, 0), (0, 0, 0), (1, 1, 1)
    if isinstance(op, Slice):
        strides = op.steps
    else:
        before, after = op.before, op.after
    if any((*before[1:], *after[1:])) or strides[0] != 1 or (isinstance(op, Slice) and any(op.starts)):
        raise Unsupported(op.mnemonic)
    weight = np.eye(before[0] + channels + after[0], channels, -before[0], dtype=np.float32)[:, :, None, None]
    return _filled(_empty(weight, strides[1:], (0, 0), (1, 1), 1), weight, None)


def _empty(weight: np.ndarray, strides: Any, padding: Any, dilation: Any, groups: int) -> nn.Module:
    outputs, inputs, *kernel = weight.shape
    shape = (inputs * groups, outputs, tuple(kernel))
    return nn.Conv2d(*shape, stride=strides, padding=padding, dilation=dilation, groups=groups)


def _filled(layer: Any, weight: np.ndarray, bias: Constant | None) -> nn.Module:
    if bias is not None and len(bias.shape) > 1:
        raise Unsupported("a bias for each position")
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.zeros(1) if bias is None else torch.tensor(bias.array.astype(np.float32)))
    return layer
