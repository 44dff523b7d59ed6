"""Every preset on every case, in one table.

    python benchmarks/conversion.py RESULTS --case NAME MODEL.onnx DATA.npz [--limit N] [--presets A,B]
    python benchmarks/conversion.py RESULTS

The first form measures a case; DATA.npz holds `calib`, `x` and `y`. It is resumable: rows that are in the
folder RESULTS already, of the same model, data and version of snnc, are not measured again. Either form
prints the Markdown table of all cases there: the loss in points of top-1 against the ANN on the same
samples, and synaptic operations per sample in millions.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

from snnc.passes import PRESETS

STEPS = {"layerwise": "8,16,32", "layerwise-groups": "8,16", "phase": "8"}
"""T of the presets whose schedule is not rate."""


def measure(arguments: argparse.Namespace) -> None:
    """Sweep over the presets, each in a folder of its own: a model may not take all of them."""
    results, (name, model, data) = arguments.results, arguments.case
    (results / name).mkdir(parents=True, exist_ok=True)
    for preset in arguments.presets.split(","):
        command = [sys.executable, "-m", "snnc", "sweep", model, "--calib", data, "--data", data]
        command += ["--preset", preset, "--T", STEPS.get(preset, arguments.T)]
        command += [
            "-o",
            str(results / name / preset),
            *(["--limit", str(arguments.limit)] if arguments.limit else []),
        ]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            print(f"{name}: {preset} failed", file=sys.stderr)


Cells = dict[tuple[str, int], dict[str, str]]
"""What the table shows, by preset, steps and case."""


def cells(results: pathlib.Path) -> Cells:
    """Loss, SOPs in millions and, where it is not the usual one, the number of samples."""
    paths = sorted(results.glob("*/*/sweep.json"))
    rows = [
        (*path.parts[-3:-1], row) for path in paths for row in json.loads(path.read_text("utf-8"))["rows"]
    ]
    usual = statistics.mode(row["samples"] for *_, row in rows)
    found: Cells = {}
    for case, preset, row in rows:
        other = f", n = {row['samples']}" if row["samples"] != usual else ""
        cell = f"{row['loss_points']:.1f} ({row['sops'] / 1e6:.3g}{other})"
        found.setdefault((preset, row["T"]), {})[case] = cell
    return found


def table(results: pathlib.Path) -> str:
    """One line for each preset and T, one column for each case."""
    found = cells(results)
    cases = sorted({case for line in found.values() for case in line})
    head = ["preset", "T", *cases]
    order = [(preset, steps) for preset in PRESETS for steps in range(1, 1 + max(t for _, t in found))]
    lines = [
        (preset, str(steps), *(found[preset, steps].get(case, "–") for case in cases))
        for preset, steps in order
        if (preset, steps) in found
    ]
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def main() -> None:
    """Measure, if a case is given, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--case", nargs=3, metavar=("NAME", "MODEL", "DATA"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--T", default="16,32,64,128", help="of the presets whose schedule is rate")
    parser.add_argument("--presets", default=",".join(PRESETS))
    arguments = parser.parse_args()
    if arguments.case:
        measure(arguments)
    print(table(arguments.results))


if __name__ == "__main__":
    main()
