"""The simulator under Loihi's rules is spike for spike what lava-nc's bit-accurate arithmetic does.

lava-nc needs an environment of its own, made by ``.ci/peers FOLDER`` and found through SNNC_PEERS.
"""

from __future__ import annotations

import os
import pathlib
import subprocess

import numpy as np
import pytest
from integer_networks import Builder
from pass_tools import context

import snnc
from snnc.backends.base import Trace
from snnc.backends.netlist import lower
from snnc.backends.reference.engine import ReferenceEngine
from snnc.emission import netlist_files, population_names
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Input, SumPool
from snnc.passes import Legalize

PYTHON = pathlib.Path(os.environ.get("SNNC_PEERS", "no folder"), "lava", "bin", "python")
SCRIPT = pathlib.Path(__file__).with_name("lava_network.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="SNNC_PEERS names no folder with lava-nc"),
]


def one(*values: int) -> Constant:
    return Constant(np.array(values if len(values) > 1 else values[0]))


def convolutions() -> Network:
    """Convolutions with stride and pads, a skip, an overlapping sum pool, a dense layer."""
    b = Builder("rate", 12)
    a = b.fire(b.conv(b.input(2, 5, 6), 3, pads=(1, 1, 1, 1)), threshold=one(60))
    c = b.fire(b.conv(a, 4, (3, 2), pads=(1, 0, 1, 0), strides=(2, 1)), threshold=one(30))
    d = b.fire(b.conv(c, 4, pads=(1, 1, 1, 1)), b.scale(c, one(9), 1), threshold=one(25))
    return b.read(b.fire(b.dense(b.add(SumPool(kernel=(2, 2), strides=(1, 2)), d), 7), threshold=one(35)))


def skips() -> Network:
    """A skip of one layer and one of two, each early by as many steps."""
    b = Builder("rate", 12)
    a = b.fire(b.conv(b.input(2, 5, 6), 3, pads=(1, 1, 1, 1)), threshold=one(60))
    c = b.fire(b.conv(a, 3, pads=(1, 1, 1, 1)), threshold=one(30))
    d = b.fire(b.conv(c, 3, pads=(1, 1, 1, 1)), b.scale(a, one(9), 1), threshold=one(25))
    e = b.fire(b.conv(d, 3, pads=(1, 1, 1, 1)), b.conv(a, 3, (1, 1)), threshold=one(25))
    return b.read(e)


def saturating() -> Network:
    """Dense layers whose membranes meet the 24 bits, both ways."""
    b = Builder("rate", 30)
    a = b.fire(b.dense(b.input(6), 12), threshold=one(6), bias=one(9), v_init=one(0))
    heavy = b.ints(-127, 128, 12, 12, dtype=np.int8)
    c = b.dense(a, 12)
    b.network.set(c, b.network.op(c).replace(weight=heavy, shift=11))
    return b.read(b.fire(c, threshold=one(1 << 17), bias=one(0), v_init=one(0)))


def same_in_lava(network: Network, x: np.ndarray, folder: pathlib.Path, *options: str) -> Trace:
    """What the reference simulator does, after lava-nc did the same in every spike."""
    (name,) = (network.op(n).name for n in network.of(Input))
    for file, content in netlist_files(network).items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(content)
    np.savez(folder / "data.npz", **{name: x})
    paths = [str(folder), str(folder / "data.npz"), str(folder / "result.npz")]
    subprocess.run([str(PYTHON), str(SCRIPT), *paths, *options], check=True, timeout=300)
    found = dict(np.load(folder / "result.npz"))
    trace = ReferenceEngine().simulate(network, {name: x}, record=True)
    names = population_names(network)
    for node, spikes in trace.spikes.items():
        assert 0.05 < spikes.mean() < 0.95
        assert np.array_equal(found.pop(names[node]), spikes), network.op(node)
    (readout,) = found.values()
    assert np.array_equal(readout, *trace.outputs.values())
    return trace


def test_a_compiled_model_is_that_of_lava(tmp_path, digits):
    compiled = snnc.compile(digits.model, preset="loihi", T=32, calibration=f"{digits.data}:calib")
    x = np.load(digits.data)["x"][:2]
    same_in_lava(compiled.network, x, tmp_path, "--reset", "compartments", "--maps", "conv")


@pytest.mark.parametrize("reset", ["custom", "compartments"])
def test_every_spike_is_that_of_lava_where_paths_wait_for_each_other(tmp_path, reset):
    network = Legalize(target="loihi", align=True).apply(skips(), context())
    assert {p.delay for p in lower(network).projections} == {0, 1, 2, 3}
    x = np.random.default_rng(3).uniform(0, 1.9, (2, 2, 5, 6))
    same_in_lava(network, x, tmp_path, "--reset", reset, "--maps", "conv")


@pytest.mark.parametrize("maps", ["dense", "conv"])
@pytest.mark.parametrize("reset", ["custom", "compartments"])
@pytest.mark.parametrize("make", [convolutions, skips, saturating])
def test_every_spike_is_that_of_lava(tmp_path, make, reset, maps):
    network = Legalize(target="loihi").apply(make(), context())
    (shape,) = (network.op(n).shape for n in network.of(Input))
    x = np.random.default_rng(3).uniform(0, 1.9, (2, *shape))
    trace = same_in_lava(network, x, tmp_path, "--reset", reset, "--maps", maps)
    if make is saturating:
        limit = (1 << 23) - 1
        reached = np.abs(trace.membranes[max(trace.membranes)])
        assert reached.max() == limit
