"""Norse: reset to zero and a strict comparison, as NIR says; one step of one unit."""

from __future__ import annotations

from typing import Any

from snnc.interop.reading import Path, expect, in_topological_order, read_graph


def load(path: Path) -> Any:
    """A torch module; call ``output, state = model(codes, state)`` once per step, with None at first."""
    import norse.torch

    expect(path, "norse", ("if",), ("zero",))
    graph = read_graph(path)
    return in_topological_order(norse.torch.from_nir(graph, dt=1.0), graph)
