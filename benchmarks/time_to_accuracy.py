"""Processor time until the answers are within half a point of the ANN's, each tool at its own best setting.

    python benchmarks/time_to_accuracy.py --case resnet20=MODEL.onnx:DATA.npz [--samples 200]

DATA.npz holds `calib`, `x` and `y`. Every setting is tried on the first half of the samples; of those that
lose no more than half a point of top-1 there, the quickest of each tool is then measured, time and loss, on
the second half. SpikingJelly (see simulators.py) converts the same network and may stop after any step.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx

import snnc
from snnc.backends.fast.engine import FastEngine
from snnc.backends.onnx import ModelRunner
from snnc.data import inputs_of
from snnc.driver import Request, optimise

POINTS = 0.5
SETTINGS = tuple(
    (preset, steps)
    for preset, choices in {"layerwise": (4, 8, 16, 32, 128), "phase": (6, 8), "low-latency": (8, 16)}.items()
    for steps in choices
)
PEER_STEPS = (16, 32, 64, 96, 128, 192, 256)

Answer = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass
class Setting:
    """A way to classify samples."""

    tool: str
    name: str
    answer: Answer


def settings(model: Any, calibration: np.ndarray) -> Iterator[Setting]:
    """Those of snnc, then SpikingJelly's."""
    for preset, steps in SETTINGS:
        compiled = snnc.compile(model, calibration=calibration, preset=preset, T=steps)
        engine, network = FastEngine(), compiled.network
        (name,) = inputs_of(network)

        def answer(x: np.ndarray, engine: Any = engine, network: Any = network, name: str = name) -> Any:
            (outputs,) = engine.simulate(network, {name: x}).outputs.values()
            return outputs[:, -1].argmax(axis=1)

        yield Setting("snnc", f"{preset}, T = {steps}", answer)
    import spikingjelly_peer
    import torch

    torch.set_num_threads(1)
    ann = optimise(model, Request(pipeline="simplify,fold-batchnorm"))
    for steps in PEER_STEPS:
        run = spikingjelly_peer.convert(ann, calibration, steps)

        def reply(x: np.ndarray, run: Any = run) -> Any:
            return np.concatenate([run(x[k : k + 4]) for k in range(0, len(x), 4)]).argmax(axis=1)

        yield Setting("SpikingJelly", f"T = {steps}", reply)


def measured(answer: Answer, x: np.ndarray) -> tuple[np.ndarray, float]:
    """Classes, and processor seconds of a run that follows a first, short one."""
    answer(x[:4])
    begin = time.process_time()
    classes = answer(x)
    return classes, time.process_time() - begin


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", required=True, metavar="NAME=MODEL:DATA")
    parser.add_argument("--samples", type=int, default=200)
    arguments = parser.parse_args()
    name, _, rest = arguments.case.partition("=")
    model, _, data = rest.partition(":")
    arrays = np.load(data)
    half = arguments.samples // 2
    x, y = (arrays[key][: 2 * half] for key in ("x", "y"))
    proto = onnx.load(model)
    runner, entry = ModelRunner(proto), proto.graph.input[0].name
    wanted = runner.run({entry: x})[0].argmax(axis=1)
    hits = [(wanted[s] == y[s]).sum() for s in (slice(half), slice(half, None))]
    best: dict[str, tuple[float, Setting]] = {}
    print(f"{name}, {half} samples to choose and {half} to measure; ANN {hits[1] / half:.1%}\n")
    print("| tool | setting | ms per sample | points lost |\n| --- | --- | ---: | ---: |", flush=True)
    for setting in settings(model, arrays["calib"]):
        if setting.tool in best and setting.tool == "SpikingJelly":
            # every further step costs more
            continue
        classes, spent = measured(setting.answer, x[:half])
        lost = 100 * (hits[0] - (classes == y[:half]).sum()) / half
        print(f"| {setting.tool} | {setting.name} | {spent / half * 1e3:.2f} | {lost:.1f} |", flush=True)
        if lost <= POINTS and (setting.tool not in best or spent < best[setting.tool][0]):
            best[setting.tool] = spent, setting
    print("\nat its best setting, on the other half:\n")
    taken = {}
    for tool, (_, setting) in best.items():
        classes, taken[tool] = measured(setting.answer, x[half:])
        lost = 100 * (hits[1] - (classes == y[half:]).sum()) / half
        print(f"| {tool} | {setting.name} | {taken[tool] / half * 1e3:.2f} | {lost:.1f} |", flush=True)
    if len(taken) > 1:
        print(f"\nSpikingJelly takes {taken['SpikingJelly'] / taken['snnc']:.0f} times as long")


if __name__ == "__main__":
    main()
