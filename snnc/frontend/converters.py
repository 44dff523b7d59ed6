"""The table of supported ONNX ops, and what to do about some that are not."""

from __future__ import annotations

from collections.abc import Callable

from snnc.frontend import convert_activation as activation
from snnc.frontend import convert_arithmetic as arithmetic
from snnc.frontend import convert_linear as linear
from snnc.frontend import convert_onnxruntime as onnxruntime
from snnc.frontend import convert_pooling as pooling
from snnc.frontend import convert_quantized as quantized
from snnc.frontend import convert_repeat as repeat
from snnc.frontend import convert_shape as shape
from snnc.frontend.node import OnnxNode

Converter = Callable[[OnnxNode], int | list[int]]

CONVERTERS: dict[str, Converter] = {
    "Abs": activation.absolute,
    "Add": arithmetic.add,
    "AveragePool": pooling.average_pool,
    "BatchNormalization": linear.batch_norm,
    "Cast": activation.cast,
    "CastLike": activation.cast,
    "Clip": activation.clip,
    "Concat": shape.concat,
    "Conv": linear.conv,
    "ConvTranspose": linear.conv_transpose,
    "DepthToSpace": shape.depth_to_space,
    "DequantizeLinear": quantized.dequantize,
    "Div": arithmetic.divide,
    "Dropout": activation.identity,
    "Expand": repeat.expand,
    "Flatten": shape.flatten,
    "Floor": activation.floor,
    "Gather": shape.gather,
    "Gemm": linear.gemm,
    "GlobalAveragePool": pooling.global_average_pool,
    "GlobalMaxPool": pooling.global_max_pool,
    "HardSigmoid": activation.hard_sigmoid,
    "Identity": activation.identity,
    "LeakyRelu": activation.leaky_relu,
    "MatMul": linear.matmul,
    "Max": activation.maximum,
    "MaxPool": pooling.max_pool,
    "Mean": arithmetic.mean,
    "Min": activation.minimum,
    "Mul": arithmetic.multiply,
    "Neg": arithmetic.negate,
    "PRelu": activation.prelu,
    "Pad": shape.pad,
    "QLinearConv": quantized.qlinear_conv,
    "QLinearMatMul": quantized.qlinear_matmul,
    "QuantizeLinear": quantized.quantize,
    "ReduceMax": pooling.reduce_max,
    "ReduceMean": pooling.reduce_mean,
    "ReduceSum": pooling.reduce_sum,
    "Relu": activation.relu,
    "Reshape": shape.reshape,
    "Resize": repeat.resize,
    "Round": activation.nearest,
    "Slice": shape.slice_,
    "SpaceToDepth": shape.space_to_depth,
    "Split": shape.split,
    "Squeeze": shape.squeeze,
    "Sub": arithmetic.subtract,
    "Sum": arithmetic.add,
    "ThresholdedRelu": activation.thresholded_relu,
    "Tile": repeat.tile_,
    "Transpose": shape.transpose,
    "Unsqueeze": shape.unsqueeze,
    "Upsample": repeat.resize,
}
"""Op type of the default domain → function that returns the network node of each output in use."""

ONNXRUNTIME = "com.microsoft"

CONTRIBUTED: dict[str, Converter] = {
    "DequantizeLinear": quantized.dequantize,
    "FusedConv": onnxruntime.fused_conv,
    "FusedGemm": onnxruntime.fused_gemm,
    "QGemm": onnxruntime.qgemm,
    "QLinearAdd": onnxruntime.qlinear_add,
    "QLinearAveragePool": onnxruntime.qlinear_average_pool,
    "QLinearConcat": onnxruntime.qlinear_concat,
    "QLinearGlobalAveragePool": onnxruntime.qlinear_global_average_pool,
    "QLinearLeakyRelu": onnxruntime.qlinear_leaky_relu,
    "QuantizeLinear": quantized.quantize,
}
"""The same for ops of onnxruntime's own domain."""

HOST_OPS = {
    "ArgMax": "argmax",
    "DequantizeLinear": "dequantize",
    "LogSoftmax": "log_softmax",
    "QuantizeLinear": "quantize",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
}
"""Ops that the host applies when they stand directly at an output, and what the output calls them."""

_RETRAIN = "train with Relu or Clip(0, c) in its place"
_QDQ = "quantize it statically in QDQ format: quantize_static(quant_format=QuantFormat.QDQ)"
_AT_OUTPUT = "it is left to the host only directly at an output"

REMEDIES: dict[str, str] = {
    "ConvInteger": _QDQ,
    "DynamicQuantizeLinear": _QDQ,
    "Elu": _RETRAIN,
    "Gelu": _RETRAIN,
    "HardSwish": _RETRAIN,
    "MatMulInteger": _QDQ,
    "Selu": _RETRAIN,
    "Sigmoid": f"{_AT_OUTPUT}; inside, {_RETRAIN}",
    "Softmax": _AT_OUTPUT,
    "Softplus": _RETRAIN,
    "Tanh": _RETRAIN,
}

EXPORT_STANDARD = "export with standard operators only; onnx.inliner expands functions"

DOMAIN_REMEDIES = {
    ONNXRUNTIME: f"export without onnxruntime's own optimisations; {_QDQ}",
}

SHAPE_KEEPING = frozenset(REMEDIES) - {"ConvInteger", "MatMulInteger"} | {
    *("Abs", "Celu", "Ceil", "Erf", "Exp", "Floor", "HardMax", "HardSigmoid", "InstanceNormalization"),
    *("LRN", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "Max", "Min"),
    *("Mish", "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "Round", "Sign", "Softsign", "Sqrt", "Swish"),
    *("BatchNormalization", "Cast", "Clip", "Dropout", "ThresholdedRelu"),
}
"""Ops whose first result has the shape of their first computed operand, when they are refused too."""
