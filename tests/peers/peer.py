"""Runs a NIR file in another tool: ``python peer.py TOOL FILE CODES.npy OUT.npz``, where that is installed.

OUT.npz gets ``versions``, the current of every step as ``output`` [N, T, C, 1, 1], and every population's
spikes under its name, [N, T, C, H, W].
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys

import numpy as np
import torch

from snnc import interop

PACKAGES = ("torch", "nir", "nirtorch", "spikingjelly", "sinabs", "norse", "snntorch")


def main(tool: str, path: str, codes: str, out: str) -> None:
    metadata = interop.read_metadata(path)
    model = importlib.import_module(f"snnc.interop.{tool}").load(path)
    spikes: dict[str, list[np.ndarray]] = {}

    def keep(name: str):
        return lambda module, args, result: spikes.setdefault(name, []).append(_array(result))

    for name, module in model.named_modules():
        if name in metadata.populations:
            module.register_forward_hook(keep(name))
    x, state, currents = torch.from_numpy(np.load(codes)), None, []
    with torch.no_grad():
        for _ in range(metadata.T):
            result, state = model(x, state)
            currents.append(_array(result))
    arrays = {name: np.stack(values, axis=1) for name, values in spikes.items()}
    np.savez(out, versions=json.dumps(_versions()), output=np.stack(currents, axis=1), **arrays)


def _array(result) -> np.ndarray:
    """A copy: what a module returns may be its state."""
    return np.array((result[0] if isinstance(result, tuple) else result).numpy())


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
