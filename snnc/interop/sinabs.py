"""Sinabs: one spike per step, no floor under the membrane, the network's own reset; it compares with ≥."""

from __future__ import annotations

from typing import Any

from snnc.interop.reading import Path, expect, in_topological_order, read_graph


def load(path: Path) -> Any:
    """A torch module; call ``output, _ = model(codes)`` once per step, ``reset_states`` between samples."""
    import sinabs.activation
    import sinabs.layers
    import sinabs.nir

    metadata = expect(path, "sinabs", ("if",), ("subtract", "zero"))
    # one step per call leaves the batch size open
    graph = read_graph(path)
    model = in_topological_order(sinabs.nir.from_nir(graph, num_timesteps=1), graph)
    for module in model.modules():
        if isinstance(module, sinabs.layers.IAF):
            module.spike_fn = sinabs.activation.SingleSpike
            module.min_v_mem = None
            if metadata.reset == "zero":
                module.reset_fn = sinabs.activation.MembraneReset()
    return model
