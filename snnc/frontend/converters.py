"""The table of supported ONNX ops, and what to do about some that are not."""

from __future__ import annotations

from collections.abc import Callable

from snnc.frontend import convert_activation as activation
from snnc.frontend import convert_linear as linear
from snnc.frontend import convert_pooling as pooling
from snnc.frontend import convert_shape as shape
from snnc.frontend.node import OnnxNode

Converter = Callable[[OnnxNode], int]

CONVERTERS: dict[str, Converter] = {
    "Add": linear.add,
    "AveragePool": pooling.average_pool,
    "BatchNormalization": linear.batch_norm,
    "Cast": activation.cast,
    "Clip": activation.clip,
    "Concat": shape.concat,
    "Conv": linear.conv,
    "Div": linear.divide,
    "Dropout": activation.identity,
    "Flatten": shape.flatten,
    "Gemm": linear.gemm,
    "GlobalAveragePool": pooling.global_average_pool,
    "GlobalMaxPool": pooling.global_max_pool,
    "Identity": activation.identity,
    "MatMul": linear.matmul,
    "MaxPool": pooling.max_pool,
    "Mul": linear.multiply,
    "Pad": shape.pad,
    "ReduceMean": pooling.reduce_mean,
    "Relu": activation.relu,
    "Reshape": shape.reshape,
    "Slice": shape.slice_,
    "Squeeze": shape.squeeze,
    "Sub": linear.subtract,
    "Sum": linear.add,
    "Transpose": shape.transpose,
    "Unsqueeze": shape.unsqueeze,
}
"""Op type of the default domain → function that returns the network node of the first output."""

HOST_OPS = {
    "ArgMax": "argmax",
    "LogSoftmax": "log_softmax",
    "QuantizeLinear": "quantize",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
}
"""Ops that the host applies when they stand directly at an output, and what the output calls them."""

_RETRAIN = "train with Relu or Clip(0, c) in its place"
_FLOAT = "compile the model from before its quantization; snnc quantizes itself"
_AT_OUTPUT = "it is left to the host only directly at an output"

REMEDIES: dict[str, str] = {
    "DequantizeLinear": _FLOAT,
    "Elu": _RETRAIN,
    "Gelu": _RETRAIN,
    "HardSigmoid": _RETRAIN,
    "HardSwish": _RETRAIN,
    "LeakyRelu": _RETRAIN,
    "PRelu": _RETRAIN,
    "QLinearConv": _FLOAT,
    "QuantizeLinear": _FLOAT,
    "Selu": _RETRAIN,
    "Sigmoid": f"{_AT_OUTPUT}; inside, {_RETRAIN}",
    "Softmax": _AT_OUTPUT,
    "Softplus": _RETRAIN,
    "Tanh": _RETRAIN,
}

SHAPE_KEEPING = frozenset(REMEDIES) - {"QLinearConv"} | {
    *("Abs", "Celu", "Ceil", "Erf", "Exp", "Floor", "HardMax", "InstanceNormalization", "LRN"),
    *("LayerNormalization", "Log", "LogSoftmax", "LpNormalization", "Max", "Min", "Mish", "Mul", "Neg"),
    *("Pow", "Reciprocal", "Round", "Sign", "Softsign", "Sqrt", "Swish", "ThresholdedRelu"),
    *("BatchNormalization", "Cast", "Clip", "Dropout"),
}
"""Ops whose first result has the shape of their first computed operand, when they are refused too."""
