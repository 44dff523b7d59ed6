"""Every known importer, with its real package, gives the integer simulator's spikes at every step."""

import functools

import pytest

pytest.importorskip("nir", reason="the package nir is missing: pip install 'snnc[nir]'")

from integer_networks import samples
from nir_tools import SAYABLE, sayable
from peers.environments import WAYS, compare, installed

import snnc
from snnc.ir.ops import IfNeuron

pytestmark = pytest.mark.slow

NAMES = [f"{way.tool} {way.dialect} {way.reset}" for way in WAYS]


@pytest.fixture(scope="module")
def peers():
    folder = installed()
    if folder is None:
        pytest.skip("no environments of other tools: run .ci/peers FOLDER and set SNNC_PEERS=FOLDER")
    return folder


def check(way, network, x, peers, folder):
    found = compare(way, network, x, peers, folder)
    assert found.spikes > 0
    assert found.differing == 0, f"{found.differing} of {found.neuron_steps} differ with {found.versions}"
    assert found.outputs_equal


@pytest.mark.parametrize("name", SAYABLE)
@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_every_form_of_projection(way, name, peers, tmp_path):
    network = sayable(SAYABLE[name](), reset=way.reset, compare="ge")
    (x,) = samples(network).values()
    check(way, network, x, peers, tmp_path)


@pytest.mark.parametrize("tool", ["norse", "snntorch", "nirtorch"])
def test_a_strict_comparison(tool, peers, tmp_path):
    way = next(way for way in WAYS if way.tool == tool)
    network = sayable(SAYABLE["residual"](), reset=way.reset, compare="gt")
    (x,) = samples(network).values()
    check(way, network, x, peers, tmp_path)


@functools.cache
def compiled(load, case, reset):
    real = load(case, test=2, calib=50)
    options = {} if reset == "subtract" else {"reset": "zero", "compare": "gt"}
    made = snnc.compile(real.model, calibration=real.calib, preset="per-layer", T=16, **options)
    return made.network, real.x


@pytest.mark.parametrize("case", ["resnet20", "kws"])
@pytest.mark.parametrize("way", WAYS[:5], ids=NAMES[:5])
def test_real_networks_residual_and_depthwise(way, case, load_case, peers, tmp_path):
    network, x = compiled(load_case, case, way.reset)
    assert {network.op(n).reset for n in network.of(IfNeuron)} == {way.reset}
    check(way, network, x, peers, tmp_path)
