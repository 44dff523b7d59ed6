"""Train a small CNN on scikit-learn's digits in plain NumPy and export it to ONNX.

    OPENBLAS_NUM_THREADS=1 python examples/digits/train.py [FOLDER]

writes ``digits.onnx`` (conv, batch norm, ReLU and average pool twice, then a dense layer) and
``digits.npz`` with ``calib`` (500 training images), ``x`` and ``y`` (500 test images and labels).
Images are float32 [N, 1, 8, 8] in [0, 1]. Needs scikit-learn, for the data alone.
The seed is fixed, but the order in which a BLAS sums depends on its threads and on the machine.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

Array = npt.NDArray[np.float32]

TEST_SAMPLES = 500
CALIBRATION_SAMPLES = 500
EPOCHS = 60
BATCH = 32
BATCH_NORM_EPSILON = 1e-3


class Layer:
    """A layer without parameters; ``weights`` and ``gradients`` go together by name."""

    def __init__(self) -> None:
        self.weights: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

    def forward(self, x: Array, *, training: bool) -> Array:
        """The layer's output for a batch."""
        raise NotImplementedError

    def backward(self, gradient: Array) -> Array:
        """The gradient with respect to the last training input; fills ``gradients``."""
        raise NotImplementedError


class Conv(Layer):
    """A 3×3 convolution that keeps the image size. Its bias is the batch norm's."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int) -> None:
        super().__init__()
        spread = np.sqrt(2 / (9 * inputs))
        self.weights["w"] = rng.normal(0, spread, (outputs, inputs, 3, 3)).astype(np.float32)

    def forward(self, x: Array, *, training: bool) -> Array:
        """[N, C, H, W] to [N, M, H, W]."""
        self._windows = _windows(x)
        return np.tensordot(self._windows, self.weights["w"], ([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)

    def backward(self, gradient: Array) -> Array:
        """The transposed convolution: the flipped kernel over the gradient."""
        self.gradients["w"] = np.tensordot(gradient, self._windows, ([0, 2, 3], [0, 2, 3]))
        flipped = self.weights["w"][:, :, ::-1, ::-1]
        return np.tensordot(_windows(gradient), flipped, ([1, 4, 5], [0, 2, 3])).transpose(0, 3, 1, 2)


class BatchNorm(Layer):
    """Batch normalization per channel, with running statistics for inference."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weights = {"scale": np.ones(channels, np.float32), "bias": np.zeros(channels, np.float32)}
        self.mean = np.zeros(channels, np.float32)
        self.variance = np.ones(channels, np.float32)

    def forward(self, x: Array, *, training: bool) -> Array:
        """Normalize by the batch's statistics when training, by the running ones otherwise."""
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
            self.mean += np.float32(0.1) * (mean - self.mean)
            self.variance += np.float32(0.1) * (variance - self.variance)
        self._deviation = np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
        self._normal = (x - _channel(mean)) / _channel(self._deviation)
        return _channel(self.weights["scale"]) * self._normal + _channel(self.weights["bias"])

    def backward(self, gradient: Array) -> Array:
        """The gradient through the batch's own mean and variance."""
        self.gradients["bias"] = gradient.sum(axis=(0, 2, 3))
        self.gradients["scale"] = (gradient * self._normal).sum(axis=(0, 2, 3))
        count = np.float32(gradient.size / gradient.shape[1])
        through_mean = _channel(self.gradients["bias"] / count)
        through_variance = self._normal * _channel(self.gradients["scale"] / count)
        slope = _channel(self.weights["scale"] / self._deviation)
        return slope * (gradient - through_mean - through_variance)


class Relu(Layer):
    """max(x, 0)."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """Same shape."""
        self._open = x > 0
        return x * self._open

    def backward(self, gradient: Array) -> Array:
        """Nothing passes where the input was negative."""
        return gradient * self._open


class AveragePool(Layer):
    """The mean of each 2×2 window."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """[N, C, H, W] to [N, C, H/2, W/2]."""
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5))

    def backward(self, gradient: Array) -> Array:
        """A quarter to each position of the window."""
        return gradient.repeat(2, axis=2).repeat(2, axis=3) / np.float32(4)


class Dense(Layer):
    """Flatten, then y = W·x + b."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weights["w"] = rng.normal(0, np.sqrt(1 / inputs), (outputs, inputs)).astype(np.float32)
        self.weights["b"] = np.zeros(outputs, np.float32)

    def forward(self, x: Array, *, training: bool) -> Array:
        """[N, …] to [N, outputs]."""
        self._input = x
        return x.reshape(len(x), -1) @ self.weights["w"].T + self.weights["b"]

    def backward(self, gradient: Array) -> Array:
        """Back in the shape of the input."""
        self.gradients["w"] = gradient.T @ self._input.reshape(len(gradient), -1)
        self.gradients["b"] = gradient.sum(axis=0)
        return (gradient @ self.weights["w"]).reshape(self._input.shape)


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(self, layers: list[Layer]) -> None:
        self._layers = layers
        self._moments = [
            {k: (np.zeros_like(v), np.zeros_like(v)) for k, v in la.weights.items()} for la in layers
        ]
        self._steps = 0

    def step(self, rate: float) -> None:
        """Move every weight against its gradient."""
        self._steps += 1
        correction = np.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)
        for layer, moments in zip(self._layers, self._moments, strict=True):
            for name, (first, second) in moments.items():
                gradient = layer.gradients[name]
                first += np.float32(0.1) * (gradient - first)
                second += np.float32(0.001) * (gradient**2 - second)
                layer.weights[name] -= (
                    np.float32(rate * correction) * first / (np.sqrt(second) + np.float32(1e-8))
                )


def _windows(x: Array) -> Array:
    """Every 3×3 neighbourhood of a zero-padded image: [N, C, H, W, 3, 3]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))


def _channel(value: Array) -> Array:
    return value.reshape(1, -1, 1, 1)


def build(rng: np.random.Generator) -> list[Layer]:
    """The untrained network for images [1, 8, 8] and ten classes."""
    return [
        Conv(rng, 1, 16),
        BatchNorm(16),
        Relu(),
        AveragePool(),
        Conv(rng, 16, 32),
        BatchNorm(32),
        Relu(),
        AveragePool(),
        Dense(rng, 32 * 2 * 2, 10),
    ]


def run(layers: list[Layer], x: Array, *, training: bool = False) -> Array:
    """The logits [N, 10] of images [N, 1, 8, 8]."""
    for layer in layers:
        x = layer.forward(x, training=training)
    return x


def shifted(rng: np.random.Generator, images: Array) -> Array:
    """Each image moved by at most one pixel each way, zeros moving in."""
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(images[:, 0], ((0, 0), (1, 1), (1, 1))), (8, 8), axis=(1, 2)
    )
    rows, columns = rng.integers(0, 3, (2, len(images)))
    return windows[np.arange(len(images)), rows, columns][:, None]


def train(layers: list[Layer], rng: np.random.Generator, x: Array, y: npt.NDArray[np.int64]) -> None:
    """Minimise the cross-entropy, with a rate that falls to zero along a cosine."""
    optimizer = Adam(layers)
    for epoch in range(EPOCHS):
        rate = 0.005 * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2
        order = rng.permutation(len(x))
        for batch in np.array_split(order, len(x) // BATCH):
            logits = run(layers, shifted(rng, x[batch]), training=True)
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            gradient = odds / odds.sum(axis=1, keepdims=True)
            gradient[np.arange(len(batch)), y[batch]] -= 1
            gradient /= np.float32(len(batch))
            for layer in reversed(layers):
                gradient = layer.backward(gradient)
            optimizer.step(rate)


def export(layers: list[Layer]) -> onnx.ModelProto:
    """The trained network as an ONNX model with a symbolic batch axis."""
    nodes: list[onnx.NodeProto] = []
    tensors: list[onnx.TensorProto] = []

    def append(op: str, name: str, constants: dict[str, Array], **attributes: Any) -> None:
        source = nodes[-1].output[0] if nodes else "image"
        tensors.extend(numpy_helper.from_array(value, f"{name}.{key}") for key, value in constants.items())
        operands = [source, *(f"{name}.{key}" for key in constants)]
        nodes.append(helper.make_node(op, operands, [f"{name}_out"], name=name, **attributes))

    block = 1
    for layer in layers:
        match layer:
            case Conv():
                append("Conv", f"conv{block}", layer.weights, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            case BatchNorm():
                constants = {**layer.weights, "mean": layer.mean, "variance": layer.variance}
                append("BatchNormalization", f"bn{block}", constants, epsilon=BATCH_NORM_EPSILON)
            case Relu():
                append("Relu", f"relu{block}", {})
            case AveragePool():
                append("AveragePool", f"pool{block}", {}, kernel_shape=[2, 2], strides=[2, 2])
                block += 1
            case Dense():
                append("Flatten", "flatten", {}, axis=1)
                append("Gemm", "classifier", layer.weights, transB=1)
    nodes[-1].output[0] = "logits"
    return _model(nodes, tensors)


def _model(nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]) -> onnx.ModelProto:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "digits", [image], [logits], tensors)
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(
        graph, producer_name="snnc examples/digits/train.py", opset_imports=opsets, ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main(folder: pathlib.Path) -> None:
    """Train, report the test accuracy, and write both files to ``folder``."""
    rng = np.random.default_rng(2022)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    images = (digits.images[order, None] / 16).astype(np.float32)
    labels = digits.target[order].astype(np.int64)
    test, rest = slice(None, TEST_SAMPLES), slice(TEST_SAMPLES, None)

    layers = build(rng)
    train(layers, rng, images[rest], labels[rest])
    right = int((run(layers, images[test]).argmax(axis=1) == labels[test]).sum())
    print(f"test accuracy {100 * right / TEST_SAMPLES:.1f} % ({right} of {TEST_SAMPLES})")

    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(export(layers), folder / "digits.onnx")
    calibration = images[rest][:CALIBRATION_SAMPLES]
    np.savez_compressed(folder / "digits.npz", calib=calibration, x=images[test], y=labels[test])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
