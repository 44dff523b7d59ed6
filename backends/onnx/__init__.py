"""The ANN under onnxruntime: the network's and the user's own model."""

from snnc.backends.onnx.build import to_onnx
from snnc.backends.onnx.runner import AnnRunner, ModelRunner, run_model

__all__ = ["AnnRunner", "ModelRunner", "run_model", "to_onnx"]
