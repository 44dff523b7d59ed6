"""What snnc and SpikingJelly lose in as many steps, on the same model, calibration data and samples.

    python benchmarks/same_steps.py MODEL.onnx DATA.npz [--samples 1000] [--T 4,8,16,32]

DATA.npz holds `calib`, `x` and `y`. Prints points of top-1 lost against the ANN, a row for each tool. snnc's
are networks of integers with 8-bit weights, each T its own compilation; SpikingJelly's have weights in
float32, and it needs an environment of its own (see simulators.py). All answer T steps after the first input
but `layerwise` and `phase`, under which every layer waits for the one before.
"""

from __future__ import annotations

import argparse

import numpy as np
import onnx
import spikingjelly_peer
import torch

import snnc
from snnc.backends.fast.engine import FastEngine
from snnc.backends.onnx import ModelRunner
from snnc.data import inputs_of
from snnc.driver import Request, optimise
from snnc.ir.schedule import MOST_PHASES

PRESETS = ("low-latency", "low-latency-groups", "layerwise", "layerwise-groups", "phase")
BATCH = 50


def compiled(model: str, calibration: np.ndarray, preset: str, steps: int, x: np.ndarray) -> np.ndarray:
    """The classes that a network of integers answers with."""
    network = snnc.compile(model, calibration=calibration, preset=preset, T=steps, bits=8).network
    (name,) = inputs_of(network)
    (outputs,) = FastEngine().simulate(network, {name: x}).outputs.values()
    return outputs[:, -1].reshape(len(x), -1).argmax(axis=1)


def converted(model: str, calibration: np.ndarray, steps: int, x: np.ndarray) -> np.ndarray:
    """The classes that SpikingJelly answers with."""
    ann = optimise(model, Request(pipeline="simplify,fold-batchnorm"))
    run = spikingjelly_peer.convert(ann, calibration, steps)
    answers = [run(x[k : k + BATCH]) for k in range(0, len(x), BATCH)]
    return np.concatenate(answers).reshape(len(x), -1).argmax(axis=1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--T", default="4,8,16,32")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arrays = np.load(arguments.data)
    x, y = (arrays[key][: arguments.samples] for key in ("x", "y"))
    proto = onnx.load(arguments.model)
    ann = ModelRunner(proto).run({proto.graph.input[0].name: x})[0]
    hits = (ann.reshape(len(x), -1).argmax(axis=1) == y).sum()
    steps = [int(t) for t in arguments.T.split(",")]
    print(f"{len(x)} samples; ANN {hits / len(x):.1%}\n")
    show("", [f"T = {t}" for t in steps])
    show("---", ["---:"] * len(steps))

    def lost(classes: np.ndarray) -> str:
        return f"{100 * (hits - (classes == y).sum()) / len(x):.1f}"

    show("SpikingJelly", [lost(converted(arguments.model, arrays["calib"], t, x)) for t in steps])
    for preset in PRESETS:
        most = MOST_PHASES if preset == "phase" else max(steps)
        taken = [compiled(arguments.model, arrays["calib"], preset, t, x) for t in steps if t <= most]
        show(preset, [*map(lost, taken), *["–"] * (len(steps) - len(taken))])


def show(title: str, cells: list[str]) -> None:
    """A line of the table."""
    print(f"| {' | '.join((title, *cells))} |", flush=True)


if __name__ == "__main__":
    main()
