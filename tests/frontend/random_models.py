"""Random legal ONNX models over the supported operators, as a hypothesis strategy.

Structure and attributes are drawn, so that failures shrink; weights come from a drawn seed.
"""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

IMAGE = (2, 6, 5)


@st.composite
def models(draw: st.DrawFn, most: int = 5) -> onnx.ModelProto:
    """A chain of up to ``most`` blocks on a [N, 2, 6, 5] input, and a classifier."""
    make = Maker(draw)
    for _ in range(draw(st.integers(1, most))):
        draw(st.sampled_from(BLOCKS))(make)
    make.classify()
    return make.model()


class Maker:
    """A growing graph; ``x`` is the tensor that the next block takes, of ``shape`` without batch axis."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.x, self.shape = "x", IMAGE

    def one_of(self, *values):
        return self.draw(st.sampled_from(values))

    def constant(self, value) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def normal(self, *shape, scale=1.0) -> str:
        return self.constant(self.rng.normal(0, scale, shape).astype(np.float32))

    def ints(self, *values) -> str:
        return self.constant(np.asarray(values, np.int64))

    def emit(self, op, *inputs, outputs=1, **attributes):
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def step(self, op, *inputs, shape=None, **attributes) -> None:
        """Put an op after ``x``."""
        self.x = self.emit(op, self.x, *inputs, **attributes)
        self.shape = shape or self.shape

    def extent(self, kernel, strides, pads, dilations=(1, 1)):
        return tuple(
            (self.shape[1 + a] + pads[a] + pads[a + 2] - (kernel[a] - 1) * dilations[a] - 1) // strides[a] + 1
            for a in (0, 1)
        )

    def classify(self) -> None:
        size = int(np.prod(self.shape))
        self.step("Flatten", shape=(size,))
        weight = self.normal(size, 3, scale=size**-0.5)
        if self.draw(st.booleans()):
            self.step("Gemm", weight, self.normal(3), shape=(3,))
        else:
            self.step("MatMul", weight, shape=(3,))
            self.step("Add", self.normal(3))

    def model(self) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *IMAGE])
        y = helper.make_tensor_value_info(self.x, TensorProto.FLOAT, ["N", 3])
        graph = helper.make_graph(self.nodes, "random", [x], [y], self.constants)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        proto.ir_version = 8
        return proto


def convolve(make: Maker) -> None:
    channels, outputs = make.shape[0], make.draw(st.integers(1, 4))
    groups = int(make.one_of(1, np.gcd(channels, outputs)))
    kernel = tuple(make.one_of(*range(1, 1 + min(3, n))) for n in make.shape[1:])
    strides, dilations = (make.one_of(1, 2), 1), (1, make.one_of(1, 2) if make.shape[2] > 4 else 1)
    pads = tuple(make.one_of(0, 1) for _ in range(4))
    weight = make.normal(outputs, channels // groups, *kernel, scale=(channels * np.prod(kernel)) ** -0.5)
    bias = (make.normal(outputs),) if make.draw(st.booleans()) else ()
    extent = make.extent(kernel, strides, pads, dilations)
    if min(extent) > 0:
        options = {"strides": strides, "pads": pads, "dilations": dilations, "group": groups}
        make.step("Conv", weight, *bias, shape=(outputs, *extent), **options)


def transposed(make: Maker) -> None:
    strides, pads, kernel = (make.one_of(1, 2), 1), (make.one_of(0, 1), 0, 0, make.one_of(0, 1)), (2, 3)
    sizes = zip(make.shape[1:], strides, kernel, pads, pads[2:], strict=False)
    extent = tuple((n - 1) * s + k - a - b for n, s, k, a, b in sizes)
    if min(extent) > 0 and max(extent) < 16:
        weight = make.normal(make.shape[0], 2, *kernel, scale=0.4)
        make.step("ConvTranspose", weight, shape=(2, *extent), strides=strides, pads=pads)


def normalise(make: Maker) -> None:
    channels = make.shape[0]
    positive = make.constant(make.rng.uniform(0.3, 2, channels).astype(np.float32))
    parameters = [make.normal(channels) for _ in range(3)]
    make.step("BatchNormalization", *parameters, positive, epsilon=1e-3)


def activate(make: Maker) -> None:
    kind = make.one_of("Relu", "LeakyRelu", "HardSigmoid", "Abs", "PRelu", "Clip", "Max")
    low, high = np.float32(make.one_of(-1.0, 0.0)), np.float32(make.one_of(0.5, 2.0))
    operands = {
        "PRelu": lambda: (make.normal(make.shape[0], 1, 1),),
        "Clip": lambda: (make.constant(low), make.constant(high)),
        "Max": lambda: (make.constant(low),),
    }.get(kind, tuple)()
    make.step(kind, *operands)


def arithmetic(make: Maker) -> None:
    shape = make.one_of((), (make.shape[0], 1, 1), make.shape[2:], make.shape)
    kind = make.one_of("Add", "Sub", "Mul", "Div")
    values = make.rng.uniform(0.5, 1.5, shape).astype(np.float32)
    make.step(kind, make.constant(values))


def pool(make: Maker) -> None:
    kernel = tuple(min(2, n) for n in make.shape[1:])
    pads = (make.one_of(0, 1) * (kernel[0] > 1), 0, 0, 0)
    options = {"kernel_shape": kernel, "strides": (make.one_of(1, 2), 1), "pads": pads}
    extent = make.extent(kernel, options["strides"], pads)
    if make.draw(st.booleans()):
        options["count_include_pad"] = make.one_of(0, 1)
        make.step("AveragePool", shape=(make.shape[0], *extent), **options)
    else:
        make.step("MaxPool", shape=(make.shape[0], *extent), **options)


def join(make: Maker) -> None:
    before = make.x
    activate(make)
    kind = make.one_of("Add", "Sub", "Concat", "Mean")
    if kind == "Concat":
        make.step("Concat", before, shape=(2 * make.shape[0], *make.shape[1:]), axis=1)
    else:
        make.step(kind, before)


def split(make: Maker) -> None:
    if make.shape[0] < 2:
        return
    left, right = make.emit("Split", make.x, make.ints(1, make.shape[0] - 1), outputs=2, axis=1)
    make.x = make.emit("Concat", make.emit("Relu", right), left, axis=1)


def channels_last(make: Maker) -> None:
    make.step("Transpose", perm=(0, 2, 3, 1))
    activated = make.one_of("Relu", "Neg")
    make.step(activated)
    make.step("Add", make.normal(make.shape[0]))
    make.step("Transpose", perm=(0, 3, 1, 2))


def rearrange(make: Maker) -> None:
    channels, height, width = make.shape
    kind = make.one_of("Pad", "Slice", "Resize", "Squeeze", "Reshape")
    if kind == "Pad":
        mode = make.one_of("constant", "edge")
        pads = make.ints(0, 0, 1, 0, 0, 0, 0, 2)
        make.step("Pad", pads, shape=(channels, height + 1, width + 2), mode=mode)
    elif kind == "Slice" and height > 1:
        bounds = (make.ints(1), make.ints(2**31), make.ints(2))
        make.step("Slice", *bounds, shape=(channels, height - 1, width))
    elif kind == "Resize" and max(height, width) < 8:
        scales = make.constant(np.asarray([1, 1, 2, 1], np.float32))
        options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        make.step("Resize", "", scales, shape=(channels, 2 * height, width), **options)
    elif kind == "Squeeze":
        make.step("Unsqueeze", make.ints(2))
        make.step("Squeeze", make.ints(2))
    else:
        make.step("Reshape", make.ints(0, channels, -1), shape=(channels, height * width))
        make.step("Conv", make.normal(2, channels, 3, scale=0.4), shape=(2, height * width), pads=(1, 1))
        make.step("Reshape", make.ints(-1, 2, height, width), shape=(2, height, width))


def reduce(make: Maker) -> None:
    if make.draw(st.booleans()):
        make.step("ReduceMean", axes=[-1], shape=(*make.shape[:2], 1))
    else:
        make.step("GlobalAveragePool", shape=(make.shape[0], 1, 1))


BLOCKS = (
    *(convolve, transposed, normalise, activate, arithmetic, pool, join, split),
    *(channels_last, rearrange, reduce),
)
