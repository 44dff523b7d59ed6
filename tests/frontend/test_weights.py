"""Weights in every form that exporters give them are the same network."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from frontend.onnx_models import model
from onnx import TensorProto, helper, numpy_helper

from snnc.diagnostics import CompileError, Diagnostics
from snnc.driver import Request, optimise
from snnc.frontend import load
from snnc.ir.ops import Conv2d

# exact in eight bits of mantissa; half of it is nil
WEIGHT = np.where(np.arange(54) % 2, 0, np.arange(54) - 27).reshape(2, 3, 3, 3).astype(np.float32) / 8


def plain():
    proto = model("c = Conv(x, w) r = Relu(c) y = Flatten(r)", weights="float[2,3,3,3] w")
    (tensor,) = proto.graph.initializer
    tensor.CopyFrom(numpy_helper.from_array(WEIGHT, "w"))
    return proto


def typed(kind):
    def change(proto):
        tensor = helper.make_tensor("w", kind, WEIGHT.shape, WEIGHT.ravel().tolist())
        proto.graph.initializer[0].CopyFrom(tensor)
        if kind != TensorProto.FLOAT:
            through(proto, helper.make_node("Cast", ["w"], ["v"], to=TensorProto.FLOAT))

    return change


def sparse(proto):
    del proto.graph.initializer[:]
    places = np.flatnonzero(WEIGHT)
    values = numpy_helper.from_array(WEIGHT.ravel()[places], "w")
    indices = numpy_helper.from_array(places.astype(np.int64), "w_indices")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, WEIGHT.shape))


def through(proto, *nodes):
    """Let the convolution take v, which the nodes make of the weight."""
    proto.graph.node[0].input[1] = "v"
    for node in reversed(nodes):
        proto.graph.node.insert(0, node)


def stored(array, *nodes, **constants):
    def change(proto):
        proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), "w"))
        proto.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
        through(proto, *nodes)

    return change


FORMS = {
    "numbers instead of bytes": typed(TensorProto.FLOAT),
    "float16": typed(TensorProto.FLOAT16),
    "bfloat16": typed(TensorProto.BFLOAT16),
    "double": typed(TensorProto.DOUBLE),
    "sparse": sparse,
    "behind Identity": stored(WEIGHT, helper.make_node("Identity", ["w"], ["v"])),
    "behind Reshape": stored(
        WEIGHT.ravel(), helper.make_node("Reshape", ["w", "s"], ["v"]), s=np.int64([2, 3, 3, 3])
    ),
    "behind Transpose": stored(
        WEIGHT.transpose(1, 2, 3, 0), helper.make_node("Transpose", ["w"], ["v"], perm=[3, 0, 1, 2])
    ),
    "behind DequantizeLinear": stored(
        (8 * WEIGHT + 100).astype(np.uint8),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        s=np.float32(0.125),
        z=np.uint8(100),
    ),
    "behind DequantizeLinear per channel": stored(
        (WEIGHT * np.float32([8, 16]).reshape(2, 1, 1, 1)).astype(np.int8),
        helper.make_node("DequantizeLinear", ["w", "s"], ["v"], axis=0),
        s=np.float32([0.125, 0.0625]),
    ),
    "as an input with a default": lambda proto: proto.graph.input.append(
        helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHT.shape)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_weight_is_its_values(form):
    proto = plain()
    FORMS[form](proto)
    network = load(proto, Diagnostics()).network
    (conv,) = network.of(Conv2d)
    assert np.array_equal(network.op(conv).weight.array, WEIGHT)


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
def test_every_opset_from_the_seventh_is_read(opset):
    """Ops whose form changed between opsets; onnx writes the same model for each."""
    nodes = (
        "b = BatchNormalization(x, g, k, m, v) c = Conv<pads=[1,1,1,1]>(b, w) r = Relu(c)"
        "p = MaxPool<kernel_shape=[2,2]>(r) a = AveragePool<kernel_shape=[2,2], pads=[1,1,0,0]>(p)"
        "f = Flatten(a) h = Gemm(f, d, e) y = LeakyRelu(h)"
    )
    weights = "float[3] g;float[3] k;float[3] m;float[2,3,3,3] w;float[60,4] d;float[4] e"
    newest = model(nodes, weights=weights, opset=7)
    newest.graph.initializer.append(numpy_helper.from_array(np.float32([1, 2, 3]), "v"))
    proto = newest if opset == 7 else onnx.version_converter.convert_version(newest, opset)
    found, wanted = (optimise(p, Request(pipeline="simplify")) for p in (proto, newest))
    assert found == wanted


def test_weights_that_are_no_numbers_are_named():
    proto = plain()
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.STRING, [1], [b"one"]))
    with pytest.raises(CompileError, match=r"SNNC01\d\d.*\n  at: c"):
        load(proto, Diagnostics())
