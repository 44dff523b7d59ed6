"""Runs model.nir of a folder through a tool's own importer: ``interop_alone.py TOOL FOLDER STEPS``.

Prints as JSON how many of the outputs, at all steps, differ from expected.npy. Runs where the tool is.
"""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import sys
from typing import Any

import numpy as np


def torch_model(tool: str, path: str) -> Any:
    """The network as the tool's documentation imports it; dt = 1 where one step is one unit."""
    import nir

    if tool == "spikingjelly":
        from spikingjelly.activation_based.nir_exchange import import_from_nir

        return import_from_nir(path, dt=1.0)
    if tool == "sinabs":
        import sinabs.nir

        return sinabs.nir.from_nir(nir.read(path), num_timesteps=1)
    if tool == "norse":
        import norse.torch

        return norse.torch.from_nir(nir.read(path), dt=1.0)
    if tool == "snntorch":
        from snntorch.import_nir import import_from_nir as import_graph

        return import_graph(nir.read(path))
    from rockpool.nn.modules.torch.nir import from_nir

    return from_nir(nir.read(path))


def run_torch(tool: str, path: str, codes: np.ndarray, steps: int) -> np.ndarray:
    """The outputs [N, T, …]."""
    import torch

    model, state, outputs = torch_model(tool, path), None, []
    with torch.no_grad():
        for _ in range(steps):
            result, state = model(torch.from_numpy(codes), state)
            outputs.append(np.array(result.numpy()))
    return np.stack(outputs, axis=1)


def run_spyx(path: str, codes: np.ndarray, steps: int) -> np.ndarray:
    """The outputs [N, T, …]; Spyx is channels-last and time-major."""
    import nir
    import spyx.nir

    x = np.broadcast_to(codes.transpose(0, 2, 3, 1), (steps, *codes.transpose(0, 2, 3, 1).shape))
    _, outputs = spyx.nir.from_nir(nir.read(path), x, dt=1)
    return np.asarray(outputs).swapaxes(0, 1)


def outcome(tool: str, place: pathlib.Path, steps: int) -> str:
    """What the importer makes of the file."""
    codes, expected = np.load(place / "codes.npy"), np.load(place / "expected.npy")
    path = str(place / "model.nir")
    try:
        found = run_spyx(path, codes, steps) if tool == "spyx" else run_torch(tool, path, codes, steps)
    # whatever an importer raises is its result here
    except Exception as error:
        return f"fails: {type(error).__name__}: {error}"[:100]
    if found.size != expected.size:
        return f"returns {list(found.shape[2:])} instead of {list(expected.shape[2:])}"
    share = float((found.reshape(expected.shape) != expected).mean())
    return f"{100 * share:.0f} % of outputs differ" if share else "exact"


def main(tool: str, folder: str, steps: str) -> None:
    """Compare and print."""
    found = outcome(tool, pathlib.Path(folder), int(steps))
    print(json.dumps({"version": importlib.metadata.version(tool), "outcome": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
