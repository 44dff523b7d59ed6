"""Events against frames: a model of event frames, driven by the events themselves and by their sums.

    python benchmarks/events.py MODEL.onnx RECORDINGS.npz [--steps 16,32] [--preset default,layerwise]

RECORDINGS.npz holds, for `train` and `test`, SPLIT_x, SPLIT_y, SPLIT_p and SPLIT_t_us of all events,
SPLIT_offsets of the recordings and SPLIT_labels. Each recording is cut into three windows of equal time, as
N-MNIST has three saccades. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

import snnc
from snnc.events import count

SHAPE = (2, 34, 34)
WINDOWS = 3
RECORDINGS = {"train": 100, "test": 100}


def windows(data: Mapping[str, Any], split: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts [N, T, 2, 34, 34] of every window of the first recordings, and their labels [N]."""
    offsets = data[f"{split}_offsets"][: RECORDINGS[split] + 1]
    arrays = [data[f"{split}_{name}"] for name in ("x", "y", "p", "t_us")]
    whole = count(*arrays, offsets, shape=SHAPE, steps=WINDOWS * steps)
    labels = np.repeat(data[f"{split}_labels"][: len(offsets) - 1], WINDOWS)
    return whole.reshape(-1, steps, *SHAPE), labels.astype(np.int64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("recordings")
    parser.add_argument("--steps", default="16,32")
    parser.add_argument("--preset", default="default,layerwise")
    arguments = parser.parse_args()
    data = np.load(arguments.recordings)
    print("| preset | T | input | ANN | SNN | SOPs per sample | products of the input |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for steps in map(int, arguments.steps.split(",")):
        (calib, _), (x, y) = windows(data, "train", steps), windows(data, "test", steps)
        for preset in arguments.preset.split(","):
            for coding in ("events", "current"):
                shown = [a if coding == "events" else a.sum(axis=1).astype(np.float32) for a in (calib, x)]
                options = {"preset": preset, "T": steps, "input": coding}
                network = snnc.compile(arguments.model, calibration=shown[0], **options)
                result = network.evaluate(shown[1], y)
                products = network.report()["totals"]["analog_macs"]
                accuracy = f"{result['ann_top1']:.1%} | {result['snn_top1'][-1]:.1%}"
                sops = result["sops_per_sample"] / 1e6
                cells = f"{preset} | {steps} | {coding} | {accuracy} | {sops:.2f} M | {products / 1e6:.2f} M"
                print(f"| {cells} |", flush=True)


if __name__ == "__main__":
    main()
