"""A graph and its metadata as the bytes of a NIR file: the same bytes for the same content."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from snnc.backends.nir.graph import Graph


class _Portable:
    """A NIRGraph as nir 1.0.4 writes it: it has no ``v_reset`` and does not read a file that has."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def to_dict(self) -> dict[str, Any]:
        """What nir.write stores."""
        content: dict[str, Any] = self._graph.to_dict()
        for node in content["nodes"].values():
            node.pop("v_reset", None)
        return content


def to_bytes(graph: Graph, metadata: Mapping[str, str | int | float]) -> bytes:
    """The HDF5 file. Needs the package nir, which checks the types of all edges."""
    import nir

    nodes = {name: getattr(nir, kind)(**parameters) for name, (kind, parameters) in graph.nodes.items()}
    made = nir.NIRGraph(nodes=nodes, edges=graph.edges, metadata=dict(metadata))
    buffer = io.BytesIO()
    nir.write(buffer, _Portable(made))
    return buffer.getvalue()
