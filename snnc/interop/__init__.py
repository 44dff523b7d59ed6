"""Loads snnc's NIR files into other tools so that they give the same spikes.

    from snnc import interop
    from snnc.interop import spikingjelly

    model = spikingjelly.load("model.nir")
    codes = interop.codes("model.nir", images)

Each module imports its tool when ``load`` is called. Which file runs where, and how exactly, is
measured in docs/interop.md.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.interop.metadata import FORMAT, InputCodes, Metadata, read_metadata


def codes(path: str | os.PathLike[str], x: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """What the network of a file takes at every step for the user's array [N, …]: [N, C, H, W]."""
    return read_metadata(path).input.encode(np.asarray(x))


def answers(path: str | os.PathLike[str], outputs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The model's outputs after each step, [N, T, …], from the currents [N, T, C, 1, 1] that it gave.

    After step t an output is unit·Σ y/t, the readout's membrane in the ANN's units.
    """
    output = read_metadata(path).output
    currents = np.asarray(outputs, np.float64)
    steps = np.arange(1, currents.shape[1] + 1).reshape(1, -1, *(1,) * len(output["shape"]))
    membrane: Any = np.cumsum(currents, axis=1).reshape(*currents.shape[:2], *output["shape"])
    return np.asarray(membrane * output["unit"] / steps)


__all__ = ["FORMAT", "InputCodes", "Metadata", "answers", "codes", "read_metadata"]
