"""Converters of activations, and of ops that do nothing at inference."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from snnc.frontend.builder import Rejected
from snnc.frontend.node import OnnxNode
from snnc.ir.ops import Clip, Relu

_REAL = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def relu(node: OnnxNode) -> int:
    """Relu."""
    return node.emit(Relu, node.tensor())


def clip(node: OnnxNode) -> int:
    """Clip from 0 to a positive bound, or to none: a ReLU."""
    low, high = _bound(node, "min", 1, -np.inf), _bound(node, "max", 2, np.inf)
    if low != 0 or not high > 0:
        raise Rejected(
            "SNNC0111",
            f"Clip({low:g}, {high:g}): a firing rate covers 0 to a positive bound",
            "train with Relu or Clip(0, c)",
        )
    if high >= float(np.finfo(np.float32).max):
        return node.emit(Relu, node.tensor())
    return node.emit(Clip, node.tensor(), maximum=high)


def _bound(node: OnnxNode, name: str, index: int, default: float) -> float:
    if node.opset < 11:
        return float(node.attribute(name, default))
    value = node.constant(index, name)
    if value is None:
        return default
    if value.size != 1 or value.dtype == object:
        raise Rejected("SNNC0113", f"the {name} of Clip has shape {value.shape}, not one fixed value")
    return float(value.ravel()[0])


def identity(node: OnnxNode) -> int:
    """Identity, and Dropout at inference."""
    node.only_first_output()
    training = node.constant(2, "training_mode") if node.proto.op_type == "Dropout" else None
    if training is not None and training.any():
        raise Rejected("SNNC0111", "Dropout in training mode", "export the model in evaluation mode")
    return node.tensor()


def cast(node: OnnxNode) -> int:
    """Cast to a floating-point type: activations are real here."""
    target = node.attribute("to")
    if target not in _REAL:
        raise Rejected("SNNC0111", "Cast of an activation to a type that is not floating-point rounds it")
    return node.tensor()
