"""`layerwise` beside SpKeras, the tool of ECC's authors, which computes the same counts without time.

    git clone https://github.com/Dengyu-Wu/spkeras && git -C spkeras checkout 15eae71
    pip install tensorflow-cpu tf-keras        # with snnc, in an environment of its own
    export TF_USE_LEGACY_KERAS=1 PYTHONPATH=spkeras
    python benchmarks/spkeras_layerwise.py MODEL.onnx DATA.npz [--threads 1]

The model is a chain of convolutions, dense layers, ReLUs and average pools; DATA.npz holds `calib`, `x` and
`y`. Both tools have λ = max and T = 128. SpKeras runs in float32, in whichever batch is quickest, snnc with
8-bit weights. Times are processor seconds of all threads; a ratio is taken within a round, and the table
shows its median, least and largest value.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from peaks import seconds
from simulators import ratio

import snnc
from snnc.backends.fast.engine import FastEngine
from snnc.backends.onnx import ModelRunner
from snnc.data import inputs_of
from snnc.driver import Request, optimise
from snnc.ir.network import Network
from snnc.ir.ops import AveragePool, Conv2d, Dense, Input, Op, Output, Relu, Reshape
from snnc.ir.types import Shape

T = 128
BATCHES = (1, 16, 32, 100)


def chain(network: Network, most: float) -> Any:
    """The Keras model: one op after the other, inputs scaled from ``most`` to 1, which SpKeras expects."""
    from tensorflow import keras

    model, shape = keras.Sequential(), ()
    for node in network.nodes:
        op = network.op(node)
        if isinstance(op, Input):
            channels, *sites = network.type(node).shape
            model.add(keras.Input((*sites, channels)))
        else:
            for layer, weights in layers(op, shape):
                model.add(layer)
                if weights:
                    layer.set_weights([weights[0] * np.float32(most), *weights[1:]])
                    most = 1.0
        if isinstance(op, Reshape):
            shape = network.operand_types(node)[0].shape
    model.add(keras.layers.Activation("softmax"))
    return model


def layers(op: Op, flattened: Shape) -> Iterator[tuple[Any, list[np.ndarray]]]:
    """Of one op, with their weights; with channels last, what was ``flattened`` is in another order."""
    from tensorflow.keras import layers as keras

    match op:
        case Conv2d() if op.groups == 1 and op.strides == (1, 1):
            weight = op.weight.array.astype(np.float32).transpose(2, 3, 1, 0)
            padding = "same" if any(op.pads) else "valid"
            yield (
                keras.Conv2D(weight.shape[-1], weight.shape[:2], padding=padding),
                [weight, _bias(op, weight)],
            )
        case Dense():
            weight = op.weight.array.astype(np.float32).T
            if len(flattened) == 3 and np.prod(flattened) == len(weight):
                weight = weight.reshape(*flattened, -1).transpose(1, 2, 0, 3).reshape(weight.shape)
            yield keras.Dense(weight.shape[1]), [weight, _bias(op, weight)]
        case Relu():
            yield keras.Activation("relu"), []
        case AveragePool() if not any(op.pads):
            yield keras.AveragePooling2D(op.kernel, op.strides), []
        case Reshape():
            yield keras.Flatten(), []
        case Output():
            return
        case _:
            raise SystemExit(f"SpKeras has no {op.mnemonic}")


def _bias(op: Conv2d | Dense, weight: np.ndarray) -> np.ndarray:
    zero = np.zeros(weight.shape[-1], np.float32)
    return zero if op.bias is None else op.bias.array.astype(np.float32)


def _from_config(layer: Any, config: dict[str, Any]) -> Any:
    """A layer of SpKeras read by a Keras that writes arrays as dictionaries, which its 2.3 did not."""
    arrays = {key: x["config"]["value"] for key, x in config.items() if isinstance(x, dict)}
    return layer(**(config | arrays))


def peer(model: str, arrays: Any, threads: int) -> Callable[[np.ndarray, int], np.ndarray]:
    """SpKeras on samples [N, C, H, W] in batches of a size; the outputs."""
    import tensorflow as tf
    from spkeras import layers as theirs
    from spkeras.models import cnn_to_snn

    for layer in (theirs.CurrentBias, theirs.SpikeForward):
        layer.from_config = classmethod(_from_config)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    calibration = arrays["calib"].astype(np.float32).transpose(0, 2, 3, 1)
    most = float(calibration.max())
    ann = optimise(model, Request(pipeline="simplify,fold-batchnorm"))
    with contextlib.redirect_stdout(io.StringIO()):
        snn = cnn_to_snn(timesteps=T)(chain(ann, most), calibration / most).model

    def run(samples: np.ndarray, batch: int) -> np.ndarray:
        codes = np.floor(samples.transpose(0, 2, 3, 1) / np.float32(most) * T)
        parts = [snn.predict_on_batch(codes[k : k + batch]) for k in range(0, len(codes), batch)]
        return np.concatenate(parts)

    return run


def main() -> None:
    """Print what each loses and takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arrays = np.load(arguments.data)
    x, y = arrays["x"].astype(np.float32), arrays["y"]
    slow = peer(arguments.model, arrays, arguments.threads)
    compiled = snnc.compile(
        arguments.model, calibration=arrays["calib"], preset="ecc", schedule="layerwise", T=T
    )
    network, engine = compiled.network, FastEngine(threads=arguments.threads)
    name = next(iter(inputs_of(network)))
    proto = onnx.load(arguments.model)
    runner = ModelRunner(proto, arguments.threads)
    few = x[: arguments.samples]
    runs: dict[str, Callable[[], Any]] = {
        "snnc": lambda: engine.simulate(network, {name: few}),
        "ANN": lambda: runner.run({proto.graph.input[0].name: few}),
    }
    batch = min(BATCHES, key=lambda size: (slow(few, size), seconds(lambda: slow(few, size)))[1])
    runs["SpKeras"] = lambda: slow(few, batch)
    times: dict[str, list[float]] = {tool: [] for tool in runs}
    for run in runs.values():
        run()
    for _ in range(arguments.repeat):
        for tool, run in runs.items():
            times[tool].append(seconds(run))
    result = compiled.evaluate({name: x}, y)
    right = {
        "ANN": result["ann_top1"],
        "SpKeras": float((slow(x, batch).argmax(axis=1) == y).mean()),
        "snnc": result["snn_top1"][-1],
    }
    print(
        "| tool | top-1 | ms per sample | of an ANN pass | of snnc's |\n| --- | ---: | ---: | ---: | ---: |"
    )
    for tool, taken in times.items():
        shares = f"{ratio(taken, times['ANN'])} | {ratio(taken, times['snnc'])}"
        print(f"| {tool} | {right[tool]:.1%} | {min(taken) / len(few) * 1e3:.2f} | {shares} |")


if __name__ == "__main__":
    main()
