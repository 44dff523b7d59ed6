"""Models as ONNX text, and what onnxruntime says they compute."""

from __future__ import annotations

import os

import numpy as np
import onnx

from snnc.backends.reference.evaluate import evaluate
from snnc.diagnostics import Diagnostics
from snnc.frontend import load
from snnc.ir.ops import Output


def model(nodes: str, *, x: str = "float[N,3,7,6] x", opset: int = 17, weights: str = ""):
    """A ModelProto with the output y, and initializers like "float[3] a;float[] b" of random values."""
    text = f'<ir_version: 8, opset_import: ["": {opset}]> test ({x}) => (float[N,M] y) {{ {nodes} }}'
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for declaration in filter(None, weights.split(";")):
        kind, name = declaration.split()
        shape = [int(n) for n in kind[kind.index("[") + 1 : -1].split(",") if n]
        dtype = kind[: kind.index("[")]
        values = rng.normal(size=shape).astype({"float": "f4", "float16": "f2", "double": "f8"}[dtype])
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return with_output_rank(proto)


def with_output_rank(proto):
    """The model with the rank of its output y as inferred, where that is possible."""
    open_ = onnx.ModelProto()
    open_.CopyFrom(proto)
    open_.graph.output[0].type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(open_).graph.output[0]
    if found.type.tensor_type.HasField("shape"):
        proto.graph.output[0].CopyFrom(found)
    return proto


def onnxruntime_outputs(proto, feeds):
    """The outputs by name, sample by sample where the model's batch is fixed to one."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # optimised, quantized graphs are computed in integers of their own
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    samples = len(next(iter(feeds.values())))
    runs = [session.run(names, {k: v[i : i + 1] for k, v in feeds.items()}) for i in range(samples)]
    return {name: np.concatenate(parts) for name, *parts in zip(names, *runs, strict=True)}


def network_outputs(network, feeds):
    """The outputs of an ann-level network by name, before what the host applies."""
    values = evaluate(network, feeds)
    return {network.op(n).name: values[network.operands(n)[0]] for n in network.of(Output)}


def host(activation: str, y):
    """What the host makes of an output."""
    if "softmax" in activation.split(","):
        power = np.exp(y - y.max(axis=1, keepdims=True))
        return power / power.sum(axis=1, keepdims=True)
    return np.maximum(y, 0) if activation == "relu" else y


def relative_error(proto, feeds) -> float:
    """The greatest deviation of the imported network from onnxruntime, by the greatest value."""
    imported = load(proto, Diagnostics())
    wanted = onnxruntime_outputs(imported.proto, feeds)
    found = network_outputs(imported.network, feeds)
    worst = 0.0
    for node in imported.network.of(Output):
        op = imported.network.op(node)
        expected, actual = wanted[op.name], host(op.activation, found[op.name])
        assert actual.shape == expected.shape
        worst = max(worst, float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30)))
    return worst
