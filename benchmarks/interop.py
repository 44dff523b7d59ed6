"""Which tool runs a NIR file of snnc, and how exactly: measured with the real packages.

    .ci/peers PEERS --all && python benchmarks/interop.py PEERS [--update docs/interop.md]

Prints two Markdown tables, or writes them between the marks of a document: each tool through
snnc.interop, and each tool's importer alone on a network as NIR means it (reset to zero).
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from nir_tools import SAYABLE, sayable  # noqa: E402
from peers.environments import WAYS, Comparison, Way, compare, export  # noqa: E402

import snnc  # noqa: E402
from snnc.ir.network import Network  # noqa: E402

START, END = "<!-- measured by benchmarks/interop.py -->", "<!-- end -->"
ALONE = {
    "spikingjelly": Way("spikingjelly", "zero", "if"),
    "sinabs": Way("sinabs", "zero", "if"),
    "norse": Way("norse", "zero", "if"),
    "snntorch": Way("snntorch", "zero", "lif"),
    "spyx": Way("spyx", "zero", "if"),
    "rockpool": Way("rockpool", "zero", "if"),
}


UNMEASURED = {"lava-dl": "not measured: it is not on PyPI"}


def cases(reset: str) -> dict[str, tuple[Network, np.ndarray]]:
    """A compiled chain, and a network with skips, strides and new channels in them."""
    data = np.load(HERE.parent / "examples" / "digits" / "digits.npz")
    model = HERE.parent / "examples" / "digits" / "digits.onnx"
    options = {} if reset == "subtract" else {"reset": "zero"}
    chain = snnc.compile(model, calibration=data["calib"], preset="per-layer", T=64, **options).network
    residual = sayable(SAYABLE["residual"](), reset=reset)
    x = np.random.default_rng(0).normal(0.6, 0.8, (8, 1, 6, 6)).astype(np.float32)
    return {"conv, pool, dense": (chain, data["x"][:8]), "residual": (residual, x)}


def through_helpers(peers: pathlib.Path) -> list[str]:
    """The first table: every spike of every population, at every step."""
    lines = [
        "| consumer | versions | what runs | exactness | how |",
        "|---|---|---|---|---|",
    ]
    for way in WAYS:
        found: dict[str, Comparison] = {}
        for name, (network, x) in cases(way.reset).items():
            with tempfile.TemporaryDirectory() as scratch:
                found[name] = compare(way, network, x, peers, pathlib.Path(scratch))
        wanted = ("torch", "nir", "nirtorch", way.tool)
        named = next(iter(found.values())).versions
        versions = ", ".join(f"{k} {v}" for k, v in named.items() if k in wanted)
        options = f"dialect={way.dialect}" + (",meaning=metadata" if way.meaning == "metadata" else "")
        how = f"`nir{{{options}}}`, `interop.{way.tool}.load`"
        runs = f"{'; '.join(found)}; reset {way.reset}"
        lines.append(f"| {way.tool} | {versions} | {runs} | {exactness(list(found.values()))} | {how} |")
    return lines


def exactness(found: Sequence[Comparison]) -> str:
    """How many of all neurons' steps differ, over several networks."""
    steps, spikes, differing = (
        sum(getattr(f, name) for f in found) for name in ("neuron_steps", "spikes", "differing")
    )
    return f"{differing:,} of {steps:,} neuron-steps differ, {spikes:,} spikes"


def alone(peers: pathlib.Path) -> list[str]:
    """The second table: the outputs at every step, from the tool's own importer and nothing else."""
    lines = [f"| importer alone | version | {' | '.join(cases('zero'))} |", "|---|---|---|---|"]
    for tool, way in ALONE.items():
        cells = []
        for network, x in cases("zero").values():
            with tempfile.TemporaryDirectory() as scratch:
                outcome = run_alone(way, network, x, peers, pathlib.Path(scratch))
            cells.append(outcome["outcome"])
        lines.append(f"| {tool} | {outcome['version']} | {' | '.join(cells)} |")
    return lines + [f"| {tool} | – | {reason} | {reason} |" for tool, reason in UNMEASURED.items()]


def run_alone(way: Way, network: Network, x: np.ndarray, peers: pathlib.Path, scratch: pathlib.Path) -> dict:
    """What one importer makes of one network."""
    expected = export(way, network, x, scratch)
    np.save(scratch / "expected.npy", expected)
    own = peers / way.tool / "bin" / "python"
    python = own if own.exists() else peers / "torch" / "bin" / "python"
    environment = os.environ | {"PYTHONPATH": str(peers / way.tool), "PYTHONWARNINGS": "ignore"}
    command = [str(python), str(HERE / "interop_alone.py"), way.tool, str(scratch), str(network.steps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print, or update a document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("peers", type=pathlib.Path)
    parser.add_argument("--update", type=pathlib.Path)
    arguments = parser.parse_args()
    text = "\n".join([*through_helpers(arguments.peers), "", *alone(arguments.peers)])
    if arguments.update is None:
        print(text)
        return
    before, _, rest = arguments.update.read_text("utf-8").partition(START)
    after = rest.partition(END)[2]
    arguments.update.write_text(f"{before}{START}\n{text}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
