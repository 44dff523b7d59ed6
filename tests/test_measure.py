"""What the report says of each layer."""

from __future__ import annotations

import numpy as np
import onnx

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
