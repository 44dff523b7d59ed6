"""Runs a network for Loihi in the bit-accurate arithmetic of lava-nc, in an interpreter that has it.

    python lava_network.py FOLDER DATA.npz RESULT.npz --reset custom|compartments --maps dense|conv

FOLDER is an artifact compiled for Loihi; of it only the netlist is read. The host's part, the currents of
the inputs and when it switches biases on, is what simulate.py computes; everything after it is lava's: LIF
neurons, Dense, DelayDense and Conv connections, their delays, their weights and the 24-bit membranes. RESULT
holds the spikes of every population, [N, T, …], and the sum of each readout's current and bias.

A soft reset is either ``custom``, a process model whose reset subtracts, or built of two
``compartments``: one integrates and never fires, the other fires where the first exceeds the threshold
and takes the threshold from it through inhibitory synapses, which arrive one step later.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import pathlib
import sys

import numpy as np

# lava-nc is made for Python 3.10; of the checks that 3.11 adds, a mutable default alone stops it
_field = dataclasses._get_field


def _tolerant(cls, name, kind, keyword):
    default = getattr(cls, name, None)
    if type(default).__hash__ is None and not isinstance(default, list | dict | set):
        type(default).__hash__ = object.__hash__
    return _field(cls, name, kind, keyword)


dataclasses._get_field = _tolerant

from lava.magma.core.decorator import implements, requires, tag  # noqa: E402
from lava.magma.core.model.py.ports import PyOutPort  # noqa: E402
from lava.magma.core.model.py.type import LavaPyType  # noqa: E402
from lava.magma.core.process.ports.ports import OutPort  # noqa: E402
from lava.magma.core.resources import CPU  # noqa: E402
from lava.magma.core.run_conditions import RunSteps  # noqa: E402
from lava.magma.core.run_configs import Loihi2SimCfg  # noqa: E402
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol  # noqa: E402
from lava.proc.conv.process import Conv  # noqa: E402
from lava.proc.dense.process import DelayDense, Dense  # noqa: E402
from lava.proc.lif.models import AbstractPyLifModelFixed, PyLifModelBitAcc  # noqa: E402
from lava.proc.lif.process import LIF  # noqa: E402
from lava.proc.monitor.process import Monitor  # noqa: E402

NEVER = 131071


class BitAccurate(AbstractPyLifModelFixed):
    """PyLifModelBitAcc, from which lava allows no models to be derived."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    vth: int = LavaPyType(int, np.int32, precision=17)
    effective_vth = 0

    scale_threshold = PyLifModelBitAcc.scale_threshold
    spiking_activation = PyLifModelBitAcc.spiking_activation


class SoftLIF(LIF):
    """A neuron whose reset subtracts the threshold."""


@implements(proc=SoftLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SoftLIFModel(BitAccurate):
    """lava's arithmetic with another reset."""

    def reset_voltage(self, spike_vector):
        self.v[spike_vector] -= self.effective_vth


class Integrator(LIF):
    """A compartment that never fires and shows its membrane to another one."""

    def __init__(self, **options):
        super().__init__(**options)
        self.v_out = OutPort(shape=self.a_in.shape)


@implements(proc=Integrator, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class IntegratorModel(BitAccurate):
    """lava's arithmetic; the membrane is sent within the step."""

    v_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def spiking_activation(self):
        self.v_out.send(self.v)
        return super().spiking_activation()


class Comparator(LIF):
    """A compartment whose membrane is that of another one."""


@implements(proc=Comparator, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ComparatorModel(BitAccurate):
    """A membrane passed on within a neuron is not shifted, and nothing is left of the last one."""

    def subthr_dynamics(self, activation_in):
        self.v[:] = activation_in


class Emulation:
    """One network; its populations are laid out [W, H, C] as lava's convolutions want them."""

    def __init__(self, folder: pathlib.Path, reset: str, maps: str) -> None:
        sys.path.insert(0, str(folder))
        self.host = importlib.import_module("simulate")
        self.net = self.host.load(folder)
        self.reset, self.maps = reset, maps
        self.inputs = {port["name"]: port for port in self.net.description["inputs"]}

    def run(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Spikes and readouts of one sample, [T, …]."""
        ports, steps = self.inputs.items(), self.net.steps
        codes = {name: self.host.encode(port, arrays, steps)[:, 0] for name, port in ports}
        neurons = {p["name"]: self.neurons(p, codes) for p in self.net.description["populations"]}
        self.kept = []
        for projection in self.net.description["projections"]:
            if projection["source"] in neurons:
                self.connect(projection, neurons)
        probes = self.probe(neurons)
        last = list(neurons.values())[-1][0]
        self.proceed(last, neurons, codes)
        result = {name: self.read(name, probe, codes) for name, probe in probes.items()}
        last.stop()
        return result

    def proceed(self, last, neurons, codes):
        """Run all steps; between two of them the host writes the biases that change."""
        biases = {
            p["name"]: self.bias(p, codes)[0]
            for p in self.net.description["populations"]
            if p["kind"] != "readout"
        }
        changes = [
            t for t in range(1, self.net.steps) if any((b[t] != b[t - 1]).any() for b in biases.values())
        ]
        for start, stop in zip([0, *changes], [*changes, self.net.steps], strict=True):
            for name, bias in biases.items() if start else ():
                neurons[name][0].bias_mant.set(bias[start].T.copy())
            condition = RunSteps(num_steps=stop - start)
            last.run(condition=condition, run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))

    def neurons(self, population, codes):
        """The processes that take current and that spike, of one population."""
        shape = tuple(population["shape"][::-1])
        mantissa, exponent = self.bias(population, codes)
        common = {
            "shape": shape,
            "du": 4095,
            "dv": 0,
            "bias_mant": mantissa[0].T.copy(),
            "bias_exp": exponent,
        }
        if population["kind"] == "readout":
            # its membrane is the host's
            return (LIF(**common | {"bias_mant": 0}, vth=NEVER),) * 2
        threshold = np.unique(self.net.memories[population["threshold"]])
        assert threshold.size == 1
        assert threshold[0] % 64 == 0
        assert population["compare"] == "gt"
        assert population["reset"] == "subtract"
        vth = int(threshold[0]) >> 6
        v_init = np.broadcast_to(self.host._parameter(self.net, population, "v_init")[0], population["shape"])
        common["v"] = v_init.T.copy()
        if self.reset == "custom":
            neuron = SoftLIF(**common, vth=vth)
            return neuron, neuron
        body, axon = Integrator(**common, vth=NEVER), Comparator(shape=shape, vth=vth, du=4095, dv=0)
        body.v_out.connect(axon.a_in)
        self.feed_back(axon, body, vth)
        return body, axon

    def feed_back(self, axon, body, vth):
        """The threshold as inhibitory synapses: its lowest 7 bits, and the rest with the exponent 7."""
        size = int(np.prod(body.a_in.shape))
        digits = [(vth & 127, 0)] + [(255, 7)] * ((vth >> 7) // 255) + [((vth >> 7) % 255, 7)]
        assert sum(weight << exponent for weight, exponent in digits) == vth
        for weight, exponent in digits:
            if weight:
                synapses = Dense(weights=-weight * np.eye(size, dtype=int), weight_exp=exponent)
                axon.s_out.flatten().connect(synapses.s_in)
                synapses.a_out.reshape(body.a_in.shape).connect(body.a_in)

    def bias(self, population, codes):
        """Mantissas [T, …] and exponent of what each neuron gains per step: input currents and bias."""
        bias = self.host._parameter(self.net, population, "bias")
        total = np.broadcast_to(bias, (self.net.steps, *population["shape"])).astype(np.int64)
        for projection in self.net.description["projections"]:
            if projection["target"] == population["name"] and projection["source"] in codes:
                total = total + self.host._apply(self.net, projection, codes[projection["source"]])[0]
        if population["kind"] == "readout":
            return total, 0
        exponent = next(e for e in range(8) if not (total % (1 << e)).any() and abs(total >> e).max() < 4096)
        return total >> exponent, exponent

    def connect(self, projection, neurons):
        source, target = neurons[projection["source"]][1], neurons[projection["target"]][0]
        if self.maps == "conv" and self.is_conv(projection):
            self.convolve(projection, source, target)
            return
        shape = self.shape_of(projection["source"])
        size = int(np.prod(shape))
        columns = np.arange(size).reshape(shape).T.ravel()
        basis = np.eye(size, dtype=np.int64)[columns].reshape(size, *shape)
        plain = {**projection, "shift": 0}
        reached = self.host._apply(self.net, plain, basis)
        matrix = np.stack([row.T.ravel() for row in reached], axis=1)
        # neurons that meet through several windows of a pool have as many synapses
        while matrix.any():
            part = matrix.clip(-127, 127)
            matrix = matrix - part
            weights, exponent = chip_weights(part, projection["shift"])
            late = projection["delay"] - 1
            options = {"weights": weights, "weight_exp": exponent}
            dense = DelayDense(**options, delays=late) if late else Dense(**options)
            source.s_out.flatten().connect(dense.s_in)
            dense.a_out.reshape(target.a_in.shape).connect(target.a_in)

    def is_conv(self, projection):
        pads = projection["pads"]
        # lava has no convolution with delays
        at_once = projection["delay"] == 1 and not projection["address"]
        return projection["kind"] == "conv" and at_once and pads[:2] == pads[2:]

    def convolve(self, projection, source, target):
        weights, exponent = chip_weights(self.net.memories[projection["weights"]], projection["shift"])
        # lava's fixed-point convolution leaves the exponent to its user, and is a true convolution
        scaled = weights << exponent if exponent >= 0 else weights >> -exponent
        conv = Conv(
            weight=scaled.transpose(0, 3, 2, 1)[:, ::-1, ::-1].copy(),
            input_shape=source.s_out.shape,
            padding=tuple(projection["pads"][1::-1]),
            stride=tuple(projection["strides"][::-1]),
            dilation=tuple(projection["dilations"][::-1]),
            groups=projection["groups"],
        )
        source.s_out.connect(conv.s_in)
        conv.a_out.connect(target.a_in)

    def shape_of(self, name):
        return next(tuple(p["shape"]) for p in self.net.description["populations"] if p["name"] == name)

    def probe(self, neurons):
        probes = {}
        for name, (body, axon) in neurons.items():
            fires = not isinstance(axon, LIF) or type(axon) is not LIF
            probes[name] = Monitor()
            probes[name].probe(axon.s_out if fires else body.u, self.net.steps)
        return probes

    def read(self, name, probe, codes):
        """[T, …] in the network's layout."""
        (signals,) = probe.get_data().values()
        (signal,) = signals.values()
        series = np.asarray(signal).reshape(self.net.steps, *self.shape_of(name)[::-1])
        series = np.stack([step.T for step in series]).astype(np.int64)
        population = next(p for p in self.net.description["populations"] if p["name"] == name)
        if population["kind"] != "readout":
            return series
        return np.cumsum(series + self.bias(population, codes)[0], axis=0)


def chip_weights(codes, shift):
    """The chip's weights and their exponent: even numbers where signs are mixed (docs/loihi.md)."""
    codes = np.asarray(codes, np.int64)
    mixed = codes.min() < 0 < codes.max()
    weights = codes * 2 if mixed else codes
    assert abs(weights).max() <= 255
    return weights.astype(int), shift - 6 - int(mixed)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("data")
    parser.add_argument("result")
    parser.add_argument("--reset", choices=["custom", "compartments"], default="custom")
    parser.add_argument("--maps", choices=["dense", "conv"], default="dense")
    options = parser.parse_args()
    arrays = dict(np.load(options.data))
    samples = len(next(iter(arrays.values())))
    emulation = Emulation(options.folder, options.reset, options.maps)
    runs = [emulation.run({name: x[n : n + 1] for name, x in arrays.items()}) for n in range(samples)]
    np.savez(options.result, **{name: np.stack([run[name] for run in runs]) for name in runs[0]})


if __name__ == "__main__":
    main()
