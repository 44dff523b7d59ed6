"""What the report says of each layer."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_tools import ANN_PASSES, context, differences, run_if_spiking
from random_networks import ann_networks, samples

import snnc

CHANNELS_LAST = """
<ir_version: 8, opset_import: ["": 17]>
nhwc (float[N,6,6,2] x) => (float[N,3] y)
{
    t = Transpose<perm=[0,3,1,2]>(x)
    a = Conv<pads=[1,1,1,1]>(t, w)
    b = Transpose<perm=[0,2,3,1]>(a)
    r = Relu(b)
    u = Transpose<perm=[0,3,1,2]>(r)
    c = Conv<pads=[1,1,1,1]>(u, v)
    d = Transpose<perm=[0,2,3,1]>(c)
    s = Add(d, r)
    l = LeakyRelu<alpha=0.25>(s)
    f = Flatten(l)
    y = MatMul(f, z)
}
"""


def test_every_layer_has_an_sqnr_whatever_its_layout():
    proto, rng = onnx.parser.parse_model(CHANNELS_LAST), np.random.default_rng(0)
    for name, shape in (("w", (4, 2, 3, 3)), ("v", (4, 4, 3, 3)), ("z", (144, 3))):
        values = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    samples = rng.normal(size=(32, 6, 6, 2)).astype(np.float32)
    layers = snnc.compile(proto, calibration=samples, T=64).report()["layers"]
    assert {layer["kind"] for layer in layers} == {"if_neuron", "readout"}
    assert all(layer["sqnr_db"] is not None and layer["sqnr_db"] > 5 for layer in layers)


@settings(max_examples=15, deadline=None)
@given(ann_networks(), st.sampled_from(("T=12", "T=12,schedule=layerwise", "T=4,schedule=phase")))
def test_what_a_network_did_when_it_was_tuned_is_what_it_does(ann, spikify):
    known = context(samples(ann, 20))
    tuned = "form-projections,normalize-currents,inject-tre,quantize,calibrate-bias,legalize"
    network = run_if_spiking(ann, f"{ANN_PASSES},spikify{{{spikify}}},{tuned}", known)
    ran = known.run(network)
    assert {name: x.tolist() for name, x in ran.inputs.items()} == {
        name: x[:16].tolist() for name, x in known.calibration.items()
    }
    assert differences(ran.trace, known.engine.simulate(network, ran.inputs)) == []


@settings(max_examples=10, deadline=None)
@given(ann_networks(), st.sampled_from(("quantize", "quantize,calibrate-bias,legalize{acc_bits=20}")))
def test_a_network_that_was_not_tuned_runs(ann, then):
    known = context(samples(ann, 20))
    begin = f"{ANN_PASSES},spikify{{T=12}},form-projections,normalize-currents,inject-tre"
    network = run_if_spiking(ann, f"{begin},{then}", known)
    ran = known.run(network)
    assert differences(ran.trace, known.engine.simulate(network, ran.inputs)) == []
    for name, x in ran.inputs.items():
        assert np.array_equal(x[[0, -1]], known.calibration[name][[0, -1]])
