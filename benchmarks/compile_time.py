"""Processor seconds of compilation for chains of convolutions: linear in their number, or not.

python benchmarks/compile_time.py [--layers 10,100,1000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import onnx
from onnx import helper, numpy_helper

import snnc

CHANNELS, SIZE, STEPS = 4, 8, 8


def chain(layers: int) -> onnx.ModelProto:
    """Convolutions and ReLUs with random weights that keep the scale of their input."""
    rng = np.random.default_rng(0)
    nodes, constants, value = [], [], "x"
    for k in range(layers):
        weight = rng.normal(0, (2 / (9 * CHANNELS)) ** 0.5, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
        constants.append(numpy_helper.from_array(weight, f"w{k}"))
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", default="10,100,1000")
    arguments = parser.parse_args()
    samples = np.random.default_rng(1).random((16, CHANNELS, SIZE, SIZE)).astype(np.float32)
    # kernels are compiled, and imports done, before anything is timed
    snnc.compile(chain(2), calibration=samples, T=STEPS)
    print("| layers | processor s | ms per layer |\n| ---: | ---: | ---: |")
    for layers in map(int, arguments.layers.split(",")):
        model = chain(layers)
        begin = time.process_time()
        snnc.compile(model, calibration=samples, T=STEPS)
        spent = time.process_time() - begin
        print(f"| {layers} | {spent:.1f} | {1e3 * spent / layers:.0f} |", flush=True)


if __name__ == "__main__":
    main()
