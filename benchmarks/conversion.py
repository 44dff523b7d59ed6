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
import subprocess
import sys

STEPS = {"layerwise": "8,16,32", "phase": "8"}
"""T of the presets whose schedule is not rate."""
RATE_STEPS = "16,32,64,128"


def measure(results: pathlib.Path, case: tuple[str, str, str], presets: list[str], limit: int | None) -> None:
    """Sweep over the presets, each in a folder of its own: a model may not take all of them."""
    name, model, data = case
    (results / name).mkdir(parents=True, exist_ok=True)
    for preset in presets:
        command = [sys.executable, "-m", "snnc", "sweep", model, "--calib", data, "--data", data]
        command += ["--preset", preset, "--T", STEPS.get(preset, RATE_STEPS)]
        command += ["-o", str(results / name / preset), *(["--limit", str(limit)] if limit else [])]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            print(f"{name}: {preset} failed", file=sys.stderr)


def cell(rows: list[dict[str, object]], steps: int) -> str:
    """Loss and SOPs in millions of the row for ``steps``."""
    row = next((r for r in rows if r["T"] == steps), None)
    return "–" if row is None else f"{row['loss_points']:.2f} ({float(str(row['sops'])) / 1e6:.3g})"


def table(results: pathlib.Path) -> str:
    """One line for each case and preset."""
    columns = (8, 16, 32, 64, 128)
    lines = [
        "| case | preset | " + " | ".join(f"T = {t}" for t in columns) + " | samples |",
        "| --- | --- |" + " ---: |" * (len(columns) + 1),
    ]
    for path in sorted(results.glob("*/*/sweep.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        cells = " | ".join(cell(rows, t) for t in columns)
        lines.append(f"| {path.parts[-3]} | {path.parts[-2]} | {cells} | {rows[0]['samples']} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, if a case is given, and print the table."""
    from snnc.passes import PRESETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--case", nargs=3, metavar=("NAME", "MODEL", "DATA"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--presets", default=",".join(PRESETS))
    arguments = parser.parse_args()
    if arguments.case:
        measure(arguments.results, tuple(arguments.case), arguments.presets.split(","), arguments.limit)
    print(table(arguments.results))


if __name__ == "__main__":
    main()
