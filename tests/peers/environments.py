"""Other tools in environments of their own, made by ``.ci/peers FOLDER`` and found through SNNC_PEERS."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess

import numpy as np

from snnc.backends.base import Activity, encode
from snnc.backends.netlist import lower
from snnc.backends.nir import Nir
from snnc.backends.reference.engine import ReferenceEngine
from snnc.diagnostics import Diagnostics
from snnc.emission import population_names
from snnc.ir.network import Network
from snnc.ir.ops import Input

SCRIPT = pathlib.Path(__file__).with_name("peer.py")
REPOSITORY = SCRIPT.parent.parent.parent


@dataclasses.dataclass(frozen=True)
class Way:
    """How a tool is given a network: the reset of its neurons and the file's dialect and meaning."""

    tool: str
    reset: str
    dialect: str
    meaning: str = "nir"


WAYS = (
    Way("spikingjelly", "subtract", "if", "metadata"),
    Way("sinabs", "subtract", "if", "metadata"),
    Way("nirtorch", "subtract", "explicit-soft-reset"),
    Way("norse", "zero", "if"),
    Way("snntorch", "zero", "lif"),
    Way("spikingjelly", "zero", "if"),
    Way("spikingjelly", "zero", "lif"),
    Way("sinabs", "zero", "if"),
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """``differing`` of ``neuron_steps`` values; ``spikes`` were fired; ``outputs_equal`` at all steps."""

    neuron_steps: int
    spikes: int
    differing: int
    outputs_equal: bool
    versions: dict[str, str]


def installed() -> pathlib.Path | None:
    """The folder of the environments, if there are any."""
    folder = os.environ.get("SNNC_PEERS")
    return pathlib.Path(folder) if folder and pathlib.Path(folder).is_dir() else None


def export(way: Way, network: Network, x: np.ndarray, folder: pathlib.Path) -> np.ndarray:
    """Write model.nir and codes.npy into ``folder``; returns the readout's currents, [N, T, …]."""
    netlist, backend, diagnostics = lower(network), Nir(way.dialect, way.meaning), Diagnostics()
    backend.validate(netlist, diagnostics)
    diagnostics.raise_errors()
    (folder / "model.nir").write_bytes(backend.emit(netlist, Activity())["model.nir"])
    op = network.op(next(network.of(Input)))
    codes = encode(op, x)
    np.save(folder / "codes.npy", codes.reshape(len(x), *(*codes.shape[1:], 1, 1)[:3]).astype(np.float32))
    (readout,) = ReferenceEngine().simulate(network, {op.name: x}).outputs.values()
    return np.diff(readout, axis=1, prepend=0)


def compare(
    way: Way, network: Network, x: np.ndarray, peers: pathlib.Path, scratch: pathlib.Path
) -> Comparison:
    """Export an integer network, run it in the tool, and compare every spike with the reference simulator."""
    export(way, network, x, scratch)
    paths = [str(peers / way.tool), str(REPOSITORY)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    files = [str(scratch / name) for name in ("model.nir", "codes.npy", "out.npz")]
    command = [str(peers / "torch" / "bin" / "python"), str(SCRIPT), way.tool, *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    op = network.op(next(network.of(Input)))
    return _comparison(network, {op.name: x}, np.load(scratch / "out.npz"))


def _comparison(network: Network, inputs: dict[str, np.ndarray], found) -> Comparison:
    trace = ReferenceEngine().simulate(network, inputs, record=True)
    names = population_names(network)
    differing = sum(int((found[names[n]].reshape(s.shape) != s).sum()) for n, s in trace.spikes.items())
    (readout,) = trace.outputs.values()
    sums = np.cumsum(found["output"].astype(np.int64), axis=1).reshape(readout.shape)
    return Comparison(
        neuron_steps=sum(s.size for s in trace.spikes.values()),
        spikes=sum(int(s.sum()) for s in trace.spikes.values()),
        differing=differing,
        outputs_equal=bool(np.array_equal(sums, readout)),
        versions=json.loads(str(found["versions"])),
    )
