"""Images that stand in for calibration data where there are none.

A trained layer answers to structure: neighbouring pixels of a natural image are alike, its spectrum falls
with the frequency f (amplitude ∝ 1/f; Field 1987, "Relations between the statistics of natural images and
the response properties of cortical cells"), and channels share most of it. White noise has none of that,
and activations on it are several times too small. These images have it: 1/f noise, mostly shared between
channels, of random mean and contrast. They are the same on every machine but for rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.ir.network import Network
from snnc.ir.ops import Input

Array = npt.NDArray[Any]
Range = tuple[float, float]

SAMPLES = 64
SHARED = 0.8
"""The part of an image's amplitude that all channels have in common."""
NORMALISED = 2.5
"""Where values of a normalised image lie: what an input of unknown range is taken to be."""


def images(network: Network, declared: Range | None, samples: int = SAMPLES) -> dict[str, Array]:
    """Float64 [N, …] for each input in the user's layout, within ``declared`` or what the dtype suggests."""
    made = {}
    for node in network.of(Input):
        op = network.op(node)
        assert isinstance(op, Input)
        low, high = declared or ((0.0, 255.0) if op.dtype == "uint8" else (-NORMALISED, NORMALISED))
        made[op.name] = low + (high - low) * (1 + _patterns(op, samples)) / 2
    return made


def _patterns(op: Input, samples: int) -> Array:
    """Random images within ±1: [N, …] in the layout of ``op``."""
    generator = np.random.default_rng(0)
    channel = op.perm[0] if op.perm else 0
    shape = list(op.shape)
    common = generator.standard_normal((samples, *shape[:channel], 1, *shape[channel + 1 :]))
    own = generator.standard_normal((samples, *shape))
    space = tuple(axis for axis in range(1, len(shape) + 1) if axis != channel + 1)
    noise = SHARED * common + np.sqrt(1 - SHARED**2) * own
    if space:
        noise = _pink(noise, space)
    noise /= np.maximum(np.abs(noise).max(axis=tuple(range(1, noise.ndim)), keepdims=True), 1e-9)
    each = (samples,) + (1,) * len(shape)
    mean, contrast = generator.uniform(-1, 1, each), generator.uniform(0.25, 2, each)
    return np.asarray(np.clip(mean + contrast * noise, -1, 1))


def _pink(noise: Array, axes: tuple[int, ...]) -> Array:
    """White noise with its spectrum along ``axes`` divided by the frequency."""
    squares: Any = 0.0
    for axis in axes:
        frequency = np.fft.fftfreq(noise.shape[axis]) ** 2
        squares = squares + frequency.reshape([-1 if a == axis else 1 for a in range(noise.ndim)])
    lowest = 1 / max(noise.shape[a] for a in axes)
    return np.asarray(
        np.fft.ifftn(np.fft.fftn(noise, axes=axes) / np.maximum(np.sqrt(squares), lowest), axes=axes).real
    )
