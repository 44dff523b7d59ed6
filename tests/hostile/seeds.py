"""Small valid models that mutations start from, and that hostile models are made of."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

DTYPES = {"float": np.float32, "int8": np.int8}

TEXTS = {
    "plain": (
        "float[N,1,6,6] x",
        "float[3,1,3,3] w; float[3] b; float[4,27] d; float[4] e",
        "c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)"
        "f = Flatten(p) y = Gemm<transB=1>(f, d, e)",
    ),
    "residual": (
        "float[N,2,4,4] x",
        "float[2,2,1,1] w; float[2] g; float[2,3] d",
        "c = Conv(x, w) n = BatchNormalization<epsilon=0.001>(c, g, g, g, v) s = Add(n, x) r = Relu(s)"
        "m = GlobalAveragePool(r) f = Flatten(m) y = MatMul(f, d)",
    ),
    "joined": (
        "float[N,2,4,4] x",
        "float[2,1,3,3] w; float[2] b; float[3,2,1,1] u",
        "l = Constant<value_float=0.0>() h = Constant<value_float=6.0>()"
        "c = Conv<group=2, pads=[1,1,1,1]>(x, w, b) r = Clip(c, l, h) j = Concat<axis=1>(r, r)"
        "k = Constant<value_ints=[0]>() n = Constant<value_ints=[2]>() a = Constant<value_ints=[1]>()"
        "q = Slice(j, k, n, a) z = Conv(q, u) t = Relu(z)"
        "y = AveragePool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(t)",
    ),
    "shapes": (
        "float[N,4,4,1] x",
        "float[2,1,2,2] w; float[18,3] d",
        "m = Constant<value_float=0.5>() i = Mul(x, m) t = Transpose<perm=[0,3,1,2]>(i) c = Conv(t, w)"
        "r = Relu(c) s = Shape(r) o = Constant<value_ints=[0]>() g = Gather(s, o)"
        "e = Constant<value_ints=[-1]>() q = Concat<axis=0>(g, e) f = Reshape(r, q)"
        "z = MatMul(f, d) y = Softmax(z)",
    ),
    "quantized": (
        "float[N,2,4,4] x",
        "int8[3,2,3,3] wq; int8[] z; int8[12,3] dq",
        "s = Constant<value_float=0.05>() q = QuantizeLinear(x, s, z) a = DequantizeLinear(q, s, z)"
        "w = DequantizeLinear(wq, s, z) c = Conv(a, w) p = QuantizeLinear(c, s, z)"
        "e = DequantizeLinear(p, s, z) f = Flatten(e) d = DequantizeLinear(dq, s, z) y = MatMul(f, d)",
    ),
    "varied": (
        "float[N,2,4,4] x",
        "float[2,2,2,2] w; float[2,1,1] s; float[128,3] d",
        "h, l = Split<axis=2>(x) j = Concat<axis=2>(l, h) t = ConvTranspose<strides=[2,2]>(j, w)"
        "p = PRelu(t, s) m = AveragePool<kernel_shape=[2,2], strides=[2,2]>(p) k = HardSigmoid(m)"
        'n = Constant<value_floats=[1.0, 1.0, 2.0, 2.0]>() u = Resize<mode="nearest", nearest_mode="floor", '
        'coordinate_transformation_mode="asymmetric">(k, , n)'
        "f = Flatten(u) y = MatMul(f, d)",
    ),
}


def seeds() -> list[ModelProto]:
    """The models of :data:`TEXTS`, one with control flow and one with functions."""
    return [*(model(*text) for text in TEXTS.values()), control_flow(), functions()]


def model(x: str, weights: str, nodes: str, *, opset: int = 17) -> ModelProto:
    """A model with the output y and random initializers; ``v`` is a positive variance of two channels."""
    text = f'<ir_version: 8, opset_import: ["": {opset}]> g ({x}) => (float[N,M] y) {{ {nodes} }}'
    proto = onnx.parser.parse_model(text)
    generator = np.random.default_rng(0)
    for declaration in filter(None, weights.split(";")):
        kind, name = declaration.split()
        dtype, _, extents = kind.rstrip("]").partition("[")
        shape = [int(n) for n in extents.split(",") if n]
        values = generator.normal(0, 40 if dtype == "int8" else 1, shape).astype(DTYPES[dtype])
        proto.graph.initializer.append(numpy_helper.from_array(values, name))
    if "(c, g, g, g, v)" in nodes:
        proto.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "v"))
    for node in proto.graph.node:
        node.name = f"node_{node.output[0]}"
    return proto


def control_flow() -> ModelProto:
    """An If beside a network; what it chooses is not constant."""
    proto = model(*TEXTS["plain"])
    value = helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, None)
    bodies = [
        helper.make_graph([helper.make_node(op, ["y"], ["o"])], op, [], [value])
        for op in ("Relu", "Identity")
    ]
    flag = numpy_helper.from_array(np.array(True), "flag")
    node = helper.make_node("If", ["flag"], ["z"], then_branch=bodies[0], else_branch=bodies[1])
    proto.graph.initializer.append(flag)
    proto.graph.node.append(node)
    proto.graph.output[0].name = "z"
    return proto


def functions() -> ModelProto:
    """A network that calls a function of its own."""
    proto = model(*TEXTS["residual"])
    domain = [helper.make_opsetid("", 17)]
    body = [helper.make_node("Relu", ["a"], ["b"])]
    proto.functions.append(helper.make_function("own", "act", ["a"], ["b"], body, domain))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    relu = next(node for node in proto.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "act", "own"
    return proto
