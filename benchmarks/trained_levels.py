"""How much better training could make a network of T + 1 levels, with the same calibration samples.

    python benchmarks/trained_levels.py MODEL.onnx DATA.npz --T 8 [--epochs 16] [--samples 1000]

DATA.npz holds `calib` and `x`. The model is compiled with the preset `layerwise`, whose neurons send
clip(⌊V/θ⌋, 0, T) spikes; that network is a program of PyTorch (an environment with torch) in which all its
weights, biases and thresholds are trained end to end to give the ANN's outputs for the calibration samples,
by Adam with gradients that pass through the rounding. Shown are agreement with the ANN and SQNR for `calib`
and for `x`, before, which is snnc's own result, and after.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn

import snnc
from snnc.backends.onnx import AnnRunner
from snnc.backends.reference.drive import encode_inputs
from snnc.backends.reference.fire import total_bias
from snnc.data import inputs_of
from snnc.driver import Request, optimise
from snnc.ir.network import Network
from snnc.ir.ops import Add, Conv2d, Dense, IfNeuron, Input, Output, Readout, Reshape, Scale, SumPool

BATCH = 32
TOP = 127.0


class Fire(torch.autograd.Function):
    """clip(⌊x⌋, 0, T), with the gradient of the clip alone."""

    @staticmethod
    def forward(ctx: Any, x: Any, most: float) -> Any:
        """Charges x come in thresholds."""
        ctx.save_for_backward((x > 0) & (x < most + 1))
        return x.floor().clamp(0, most)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        """None for T."""
        (inside,) = ctx.saved_tensors
        return gradient * inside, None


def column(values: Any, like: Any) -> Any:
    """[C] as it multiplies [N, C, …]; a single value as it is."""
    return values.reshape([-1] + [1] * (like.ndim - 2)) if values.ndim else values


class Twin:
    """An integer network under ``layerwise`` as a program of PyTorch; ``parameters`` are what is trained."""

    def __init__(self, network: Network) -> None:
        """Raises TypeError for ops that it has no program for."""
        self.network, self.full = network, network.full_count
        self.weights: dict[int, Any] = {}
        self.charges: dict[int, Any] = {}
        self.thresholds: dict[int, Any] = {}
        for node in network.nodes:
            op = network.op(node)
            if isinstance(op, Conv2d | Dense | Scale):
                self.weights[node] = leaf(op.weight.array / TOP)
            elif isinstance(op, IfNeuron | Readout):
                charge = total_bias(op.bias, network.type(node).shape, self.full).astype(np.float64)
                charge = charge.reshape(len(charge), -1)[:, 0]
                if isinstance(op, IfNeuron):
                    threshold = np.broadcast_to(op.threshold.array, charge.shape).astype(np.float64)
                    charge = (charge + op.v_init.array) / threshold
                    self.thresholds[node] = leaf(np.log(threshold))
                else:
                    charge = charge * op.unit / self.full
                self.charges[node] = leaf(charge)
            elif not isinstance(op, Input | Add | SumPool | Reshape | Output):
                raise TypeError(f"no program for {op.mnemonic}")

    def __call__(self, x: Any) -> Any:
        """The outputs, in the ANN's units, for codes [N, …] of the one input."""
        values: dict[int, Any] = {}
        for node in self.network.nodes:
            op = self.network.op(node)
            if isinstance(op, Output):
                continue
            operands = [values[source] for source in self.network.operands(node)]
            values[node] = x * self.full if isinstance(op, Input) else self.step(node, operands)
        (output,) = self.network.of(Output)
        return values[self.network.operands(output)[0]]

    def step(self, node: int, operands: list[Any]) -> Any:
        """What one op makes of its operands."""
        op, x = self.network.op(node), operands[0]
        if isinstance(op, Add):
            return sum(operands)
        if isinstance(op, SumPool):
            return nn.avg_pool2d(x, op.kernel, op.strides, divisor_override=1)
        if isinstance(op, Reshape):
            return x.reshape(len(x), *op.shape)
        if isinstance(op, IfNeuron):
            size = column(self.thresholds[node].exp(), x)
            return Fire.apply(x / size + column(self.charges[node], x), self.full)
        if isinstance(op, Readout):
            return x * (op.unit / self.full) + column(self.charges[node], x)
        real = self.weights[node] * TOP
        weight = (real + (real.round() - real).detach()) * 2.0**op.shift
        if isinstance(op, Conv2d):
            top, left, bottom, right = op.pads
            padded = nn.pad(x, (left, right, top, bottom))
            return nn.conv2d(padded, weight, None, op.strides, 0, op.dilations, op.groups)
        return x @ weight.T if isinstance(op, Dense) else x * column(weight, x)

    def parameters(self) -> list[Any]:
        """Weights in units of 127 codes, charges in thresholds, logarithms of thresholds."""
        return [*self.weights.values(), *self.charges.values(), *self.thresholds.values()]


def leaf(values: Any) -> Any:
    """A parameter."""
    return torch.tensor(np.asarray(values, np.float32), requires_grad=True)


def train(twin: Twin, x: Any, goal: Any, epochs: int, rate: float) -> None:
    """Least squares on the outputs, the learning rate falling to 0 as a cosine."""
    optimizer = torch.optim.Adam(twin.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(x) // BATCH))
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=order).split(BATCH):
            if len(rows) == BATCH:
                optimizer.zero_grad()
                torch.square(twin(x[rows]) - goal[rows]).mean().backward()
                optimizer.step()
                schedule.step()


def quality(twin: Twin, x: Any, goal: Any) -> str:
    """Agreement with the ANN in per cent, and SQNR in dB."""
    with torch.no_grad():
        outputs = torch.cat([twin(rows) for rows in x.split(100)]).double()
    same = (outputs.argmax(1) == goal.argmax(1)).double().mean()
    ratio = torch.square(goal).sum() / torch.square(outputs - goal).sum()
    return f"{100 * same:5.1f} %, {10 * torch.log10(ratio):5.2f} dB"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--T", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--samples", type=int, default=1000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with np.load(arguments.data) as data:
        sets = {"calib": data["calib"], "x": data["x"][: arguments.samples]}
    compiled = snnc.compile(arguments.model, calibration=sets["calib"], preset="layerwise", T=arguments.T)
    network = compiled.network
    (name,) = inputs_of(network)
    ann = optimise(arguments.model, Request(pipeline="simplify,fold-batchnorm"))
    (output,) = (ann.operands(node)[0] for node in ann.of(Output))
    runner = AnnRunner(ann, [output], 1)
    codes, goals = {}, {}
    for key, samples in sets.items():
        (encoded,) = encode_inputs(network, {name: samples}).values()
        codes[key] = torch.tensor(encoded.astype(np.float32))
        parts = [runner.run({name: samples[k : k + 50]})[output] for k in range(0, len(samples), 50)]
        goals[key] = torch.tensor(np.concatenate(parts))
    twin = Twin(network)
    for when in ("before", "after"):
        if when == "after":
            train(twin, codes["calib"], goals["calib"], arguments.epochs, arguments.rate)
        found = (f"{key}: {quality(twin, codes[key], goals[key])}" for key in sets)
        print(when, *found, sep="  ", flush=True)


if __name__ == "__main__":
    main()
