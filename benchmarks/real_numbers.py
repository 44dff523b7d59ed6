"""The fast simulator against the reference on networks of real numbers, before they are quantized.

    OPENBLAS_NUM_THREADS=1 python benchmarks/real_numbers.py --case lenet=MODEL.onnx:DATA.npz …

DATA.npz holds `calib` and `x`. Both simulate the same samples, one after the other, in `--repeat` rounds:
processor milliseconds per sample, their ratio within a round, median (least-largest), and how many counts
differ.
"""

from __future__ import annotations

import argparse

import numpy as np
from peaks import seconds
from simulators import PRESETS, Case, cases, ratio

import snnc
from snnc.backends.fast.engine import FastEngine
from snnc.backends.reference.engine import ReferenceEngine
from snnc.data import inputs_of


def measure(case: Case, schedule: str, steps: int, repeat: int) -> list[str]:
    """One row of the table."""
    options = {"T": steps} if schedule != "phase" else {}
    preset, data = PRESETS[schedule], case.calibration
    network = snnc.compile(
        case.model, calibration=data, preset=preset, stop_after="inject-tre", **options
    ).network
    inputs = {next(iter(inputs_of(network))): case.samples}
    engine, reference = FastEngine(), ReferenceEngine()
    found, expected = engine.simulate(network, inputs), reference.simulate(network, inputs)
    times: dict[str, list[float]] = {"fast": [], "reference": []}
    for _ in range(repeat):
        times["fast"].append(seconds(lambda: engine.simulate(network, inputs)))
        times["reference"].append(seconds(lambda: reference.simulate(network, inputs)))
    pairs = [(found.counts[node], counts) for node, counts in expected.counts.items()]
    differing = sum(int(np.count_nonzero(a != b)) for a, b in pairs) / sum(b.size for _, b in pairs)
    each = [f"{min(t) / len(case.samples) * 1e3:.2f}" for t in times.values()]
    return [case.name, schedule, *each, ratio(times["reference"], times["fast"]), f"{differing:.2%}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", action="append", default=[], metavar="NAME=MODEL:DATA")
    parser.add_argument("--vgg", default="", metavar="RATE,…")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--schedules", default="rate,layerwise,phase")
    arguments = parser.parse_args()
    print("| network | schedule | fast, ms | reference, ms | reference / fast | differing counts |")
    print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    for case in cases(arguments):
        for schedule in arguments.schedules.split(","):
            row = measure(case, schedule, arguments.steps, arguments.repeat)
            print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
