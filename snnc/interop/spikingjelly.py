"""SpikingJelly: the neurons' reset is set; its comparison is ≥."""

from __future__ import annotations

import os
from typing import Any

from snnc.interop.reading import Path, expect


def load(path: Path) -> Any:
    """A torch module; call ``output, state = model(codes, state)`` once per step, with None at first."""
    from spikingjelly.activation_based import neuron
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    metadata = expect(path, "SpikingJelly", ("if", "lif"), ("subtract", "zero"))
    # its importer takes r = 1/dt for the neuron whose step is v += x
    model = import_from_nir(os.fspath(path), dt=1.0 if metadata.dialect == "if" else metadata.dt)
    for module in model.modules():
        if isinstance(module, neuron.BaseNode):
            module.v_reset = None if metadata.reset == "subtract" else 0.0
    return model
