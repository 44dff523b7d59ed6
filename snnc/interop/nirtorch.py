"""nirtorch itself runs the explicit soft reset: an integrator, a threshold and a feedback of −θ."""

from __future__ import annotations

import os
from typing import Any

from snnc.interop.reading import Path, expect


def load(path: Path) -> Any:
    """A torch module; call ``output, state = model(codes, state)`` once per step, with None at first."""
    import nir
    import nirtorch
    import torch

    # without torch's types a subclass of its Module is one of Any
    module: Any = torch.nn.Module

    class Integrator(module):  # type: ignore[misc]
        def forward(self, x: Any, state: Any = None) -> Any:
            membrane = x if state is None else state + x
            return membrane, membrane

    class Threshold(module):  # type: ignore[misc]
        def __init__(self, threshold: Any) -> None:
            super().__init__()
            self.register_buffer("threshold", torch.from_numpy(threshold))

        def forward(self, x: Any) -> Any:
            return (x > self.threshold).to(x.dtype)

    class Scale(module):  # type: ignore[misc]
        def __init__(self, scale: Any) -> None:
            super().__init__()
            self.register_buffer("scale", torch.from_numpy(scale))

        def forward(self, x: Any) -> Any:
            return x * self.scale

    expect(path, "nirtorch", ("explicit-soft-reset",), ("subtract",))
    made = {
        nir.I: lambda node: Integrator(),
        nir.Threshold: lambda node: Threshold(node.threshold),
        nir.Scale: lambda node: Scale(node.scale),
    }
    return nirtorch.nir_to_torch(os.fspath(path), made)
