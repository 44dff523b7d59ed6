"""Processor seconds of compilation: of chains of convolutions, linear in their number or not, and of models.

    export OPENBLAS_NUM_THREADS=1
    python benchmarks/compile_time.py [--layers 10,100,1000] [--case NAME=MODEL:DATA.npz …]

A model is calibrated on all samples `calib` of DATA.npz. Its limit is three times what onnxruntime needs to
run them, on one thread, plus five seconds. NumPy's own threads would wait busily and count as work.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

import snnc
from snnc.backends.onnx import ModelRunner

CHANNELS, SIZE, STEPS, BLUR = 4, 8, 8, 0.1


def chain(layers: int) -> onnx.ModelProto:
    """Convolutions and ReLUs, each a little blur at random.

    A thousand convolutions of random sign would be chaos: every rounding error grows from layer to layer.
    """
    rng = np.random.default_rng(0)
    nodes, constants, value = [], [], "x"
    for k in range(layers):
        weight = rng.random((CHANNELS, CHANNELS, 3, 3))
        weight *= BLUR / weight.sum(axis=(1, 2, 3), keepdims=True)
        weight[np.arange(CHANNELS), np.arange(CHANNELS), 1, 1] += 1 - BLUR
        constants.append(numpy_helper.from_array(weight.astype(np.float32), f"w{k}"))
        nodes.append(helper.make_node("Conv", [value, f"w{k}"], [f"z{k}"], pads=[1, 1, 1, 1]))
        value = f"a{k}"
        nodes.append(helper.make_node("Relu", [f"z{k}"], [value]))
    weight = rng.normal(0, 0.1, (2, CHANNELS * SIZE * SIZE)).astype(np.float32)
    constants.append(numpy_helper.from_array(weight, "w"))
    nodes.append(helper.make_node("Flatten", [value], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "w"], ["y"], transB=1))
    shapes = {"x": ["n", CHANNELS, SIZE, SIZE], "y": ["n", 2]}
    x, y = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in shapes.items())
    graph = helper.make_graph(nodes, "chain", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def seconds(run: Callable[[], object]) -> float:
    """Processor seconds of all threads."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def compare(name: str, model: str, data: str) -> str:
    """The row of a model."""
    samples = np.load(data)["calib"]
    proto = onnx.load(model)
    runner, entry = ModelRunner(proto), proto.graph.input[0].name
    runner.run({entry: samples[:8]})
    ann = seconds(lambda: runner.run({entry: samples}))
    spent = seconds(lambda: snnc.compile(model, calibration=samples))
    return f"| {name} | {len(samples)} | {ann:.1f} | {spent:.1f} | {3 * ann + 5:.1f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", default="10,100,1000")
    parser.add_argument("--case", action="append", default=[], metavar="NAME=MODEL:DATA")
    arguments = parser.parse_args()
    samples = np.random.default_rng(1).random((16, CHANNELS, SIZE, SIZE)).astype(np.float32)
    # kernels are compiled, and imports done, before anything is timed
    snnc.compile(chain(2), calibration=samples, T=STEPS)
    print("| layers | processor s | ms per layer |\n| ---: | ---: | ---: |")
    for layers in map(int, filter(None, arguments.layers.split(","))):
        model = chain(layers)
        spent = seconds(lambda model=model: snnc.compile(model, calibration=samples, T=STEPS))
        print(f"| {layers} | {spent:.1f} | {1e3 * spent / layers:.0f} |", flush=True)
    print("\n| model | samples | ANN s | compile s | limit |\n| --- | ---: | ---: | ---: | ---: |")
    for text in arguments.case:
        name, _, rest = text.partition("=")
        model, _, data = rest.partition(":")
        print(compare(name, model, data), flush=True)


if __name__ == "__main__":
    main()
