"""Co-simulation of a model's Verilog, with its cycles beside the plain model of an event-driven layer.

    python benchmarks/hardware.py MODEL.onnx DATA.npz [--steps 32] [--lanes 8] [--limit 2] [--simulator S]

DATA.npz holds `calib` and `x`. The plain model is events·⌈C/P⌉·k² + neurons/P per step: it counts taps that
fall off the border, and no constants. Fails at the first spike that differs from the netlist.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time

import numpy as np

import snnc
from snnc.backends.netlist import load_netlist
from snnc.backends.netlist.record import Recording, record
from snnc.backends.verilog import Verilog
from snnc.backends.verilog.plan import Design, Unit
from snnc.cosim import cosimulate


def plain_model(design: Design, unit: Unit, recording: Recording) -> float:
    """Cycles per sample."""
    total = float(design.netlist.steps * unit.geometry.words)
    for port in unit.ports:
        found = recording.codes | recording.spikes
        source = found[port.projection.source] != 0
        kernel = port.projection.weights.shape[2:] if port.projection.kind == "conv" else ()
        total += source.sum() / len(source) * port.words * np.prod(kernel, dtype=int)
    return total


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--limit", type=int, default=2)
    parser.add_argument("--simulator", default="icarus")
    arguments = parser.parse_args()
    backend = Verilog(lanes=arguments.lanes)
    compiled = snnc.compile(
        arguments.model, calibration=arguments.data, bits=8, T=arguments.steps, backends=[backend]
    )
    samples = {compiled_input(compiled): np.load(arguments.data)["x"][: arguments.limit]}
    with tempfile.TemporaryDirectory() as folder:
        out = compiled.save(pathlib.Path(folder) / "out.snnc")
        netlist = load_netlist(out)
        started = time.perf_counter()
        outcome = cosimulate(out, samples, simulator=arguments.simulator)
        seconds = time.perf_counter() - started
    design, recording = backend.design(netlist), record(netlist, samples)
    print("| population | cycles per sample | plain model | ratio |\n|---|---:|---:|---:|")
    for unit in design.units:
        cycles = outcome.work[unit.name] / arguments.limit
        model = plain_model(design, unit, recording)
        name = f"{unit.name} {list(unit.population.shape)}"
        print(f"| {name} | {cycles:.0f} | {model:.0f} | {cycles / model:.3f} |")
    steps = sum(found.size for found in recording.spikes.values())
    latency = sum(outcome.cycles) / arguments.limit
    busiest = max(outcome.work.values()) / arguments.limit
    print(f"\nfirst event to class {latency:.0f} cycles, as predicted; busiest population {busiest:.0f}")
    spikes = sum(int(np.abs(found).sum()) for found in recording.spikes.values())
    print(f"{arguments.limit} samples, T = {arguments.steps}, {arguments.simulator}: {seconds:.1f} s")
    print(f"{spikes} spikes at {steps} steps of neurons, every one equal, and the last membranes")


def compiled_input(compiled: snnc.CompiledNetwork) -> str:
    """The name of the model's only input."""
    (name,) = snnc.data.inputs_of(compiled.network)
    return name


if __name__ == "__main__":
    main()
