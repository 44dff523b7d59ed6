"""Real models: every engine and every file of a compiled network give the same spikes."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

import snnc
from snnc.backends.fast.engine import FastEngine
from snnc.backends.netlist import executor
from snnc.backends.reference.engine import ReferenceEngine
from snnc.emission import population_names
from snnc.ir.schedule import SCHEDULES

CASES = [
    "lenet",
    "net5",
    "nmnist",
    "nmnist16",
    "kws",
    "resnet8",
    "resnet20",
    "resnet20-folded",
    "resnet20-dynamo",
    "resnet56",
    "nascifarnet",
    "vgg16",
]
STEPS = 12


@pytest.fixture(scope="module", params=[(c, s) for c in CASES for s in SCHEDULES], ids="-".join)
def compiled(request, load_case):
    name, schedule = request.param
    case = load_case(name, test=2, calib=16)
    return snnc.compile(case.model, calibration=case.calib, bits=8, T=STEPS, schedule=schedule), case.x


@pytest.mark.slow
def test_engines_netlist_and_emitted_simulator_agree_on_every_spike(compiled, tmp_path):
    network, x = compiled
    inputs = {network.network.op(n).name: x for n in network.network.nodes if not network.network.operands(n)}
    oracle = ReferenceEngine().simulate(network.network, inputs, record=True)
    fast = FastEngine(threads=2).simulate(network.network, inputs, record=True)
    folder = network.save(tmp_path / "out.snnc")
    emitted = executor.run(executor.load(folder), inputs, record=True)
    for node, population in population_names(network.network).items():
        for what in ("counts", "spikes", "membranes"):
            expected = getattr(oracle, what).get(node)
            if expected is not None:
                assert np.array_equal(getattr(fast, what)[node], expected), (
                    what,
                    network.network.op(node).origin,
                )
                assert np.array_equal(emitted[what][population], expected), (
                    what,
                    network.network.op(node).origin,
                )
    for name, membrane in oracle.outputs.items():
        assert np.array_equal(fast.outputs[name], membrane)
        assert np.array_equal(emitted["outputs"][name], membrane)
    assert_script_agrees(folder, x, oracle)


def assert_script_agrees(folder: pathlib.Path, x: np.ndarray, oracle) -> None:
    """``simulate.py`` runs without snnc and prints the classes of the readout's last membrane."""
    data = folder.parent / "x.npy"
    np.save(data, x)
    script = [sys.executable, "-I", folder / "simulate.py", data]
    done = subprocess.run(script, capture_output=True, text=True, cwd=folder.parent, check=True)
    (membrane,) = oracle.outputs.values()
    assert [int(word) for word in done.stdout.split()] == membrane[:, -1].argmax(axis=1).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "points"), [("lenet", 0.5), ("net5", 0.5), ("nmnist", 0.5), ("resnet20", 2.0)]
)
def test_few_samples_lose_little(load_case, name, points):
    """A coarse guard; the figures of docs/accuracy.md are measured on 1000 samples."""
    case = load_case(name, test=100, calib=200)
    network = snnc.compile(case.model, calibration=case.calib, bits=8, T=128)
    result = network.evaluate(case.x, case.y)
    assert result["loss_points"] <= points
