"""snnTorch: reset to zero and a strict comparison. Its IF would leak, so the file must hold LIF."""

from __future__ import annotations

from typing import Any

from snnc.interop.reading import Path, expect, read_graph


def load(path: Path) -> Any:
    """A torch module; call ``output, state = model(codes, state)`` once per step, with None at first."""
    from snntorch.import_nir import import_from_nir

    expect(path, "snnTorch", ("lif",), ("zero",))
    return import_from_nir(read_graph(path))
