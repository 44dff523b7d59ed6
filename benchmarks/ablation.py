"""The ablation of ECC: its parts left out one by one, each column its own compilation.

    python benchmarks/ablation.py MODEL.onnx DATA.npz [--steps 16,32,64,128] [--schedule rate] [--limit N]

DATA.npz holds `calib`, `x` and `y`. Prints a Markdown table of the loss in points of top-1 against the
ANN on the same samples (ECC §4.6, Fig. 5).
"""

from __future__ import annotations

import argparse
import sys

import snnc

PIPELINE = (
    "simplify,fold-batchnorm{{epsilon={epsilon}}},lower-pooling,fuse-linear,"
    "spikify{{T={steps},schedule={schedule},lambda={estimate},per={per}}},form-projections,"
    "normalize-currents,inject-tre{{eta={eta}}},quantize{{bits=8,per={per}}},legalize"
)
FULL = {"epsilon": "model", "estimate": "percentile", "eta": 0.5, "per": "channel"}
VARIANTS = {
    "all parts": {},
    "without the model's epsilon": {"epsilon": "none"},
    "without residual elimination": {"eta": 0.0},
    "maximum instead of percentile": {"estimate": "max"},
    "layer instead of channel": {"per": "layer"},
}


def loss(model: str, data: str, limit: int | None, **options: object) -> tuple[float, int]:
    """Points of top-1 lost against the ANN at the last step, and the number of samples."""
    text = PIPELINE.format(**{**FULL, **options})
    result = snnc.compile(model, calibration=data, pipeline=text).evaluate(data, limit=limit)
    return result["loss_points"], result["samples"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--steps", default="16,32,64,128")
    parser.add_argument("--schedule", default="rate")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    steps = [int(t) for t in arguments.steps.split(",")]
    print("| variant |", " | ".join(f"T = {t}" for t in steps), "| samples |")
    print("| --- |" + " ---: |" * (len(steps) + 1))
    for name, changes in VARIANTS.items():
        options = {**changes, "schedule": arguments.schedule}
        cells = [loss(arguments.model, arguments.data, arguments.limit, steps=t, **options) for t in steps]
        print(f"| {name} |", " | ".join(f"{points:.2f}" for points, _ in cells), f"| {cells[0][1]} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
