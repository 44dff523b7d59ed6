"""What all loaders begin with."""

from __future__ import annotations

import graphlib
import os
from collections.abc import Sequence
from typing import Any

from snnc.diagnostics import CompileError
from snnc.interop.metadata import Dialect, Metadata, read_metadata

Path = str | os.PathLike[str]


def expect(path: Path, tool: str, dialects: Sequence[Dialect], resets: Sequence[str]) -> Metadata:
    """The file's metadata. Raises CompileError if ``tool`` would not run it exactly."""
    metadata = read_metadata(path)
    if metadata.dialect not in dialects:
        raise CompileError.of(
            "SNNC0135",
            f"{tool} does not run a file in the dialect {metadata.dialect} exactly",
            remedy=f"export it with nir{{dialect={dialects[0]}}}",
        )
    if metadata.reset not in resets:
        raise CompileError.of(
            "SNNC0135",
            f"{tool} has no reset by subtraction for a NIR file",
            remedy="compile with --preset per-layer --reset zero",
        )
    return metadata


def read_graph(path: Path) -> Any:
    """The file as a nir.NIRGraph."""
    import nir

    return nir.read(os.fspath(path))


def in_topological_order(model: Any, graph: Any) -> Any:
    """A nirtorch GraphExecutor that runs every node after all of its sources, as a residual join needs.

    nirtorch.load lists nodes depth first, so that a join would take its second branch one step late.
    """
    nodes = {node.name: node for node in model.execution_order}
    order = graphlib.TopologicalSorter({name: [] for name in graph.nodes})
    for source, target in graph.edges:
        order.add(target, source)
    model.execution_order = [nodes[name] for name in order.static_order()]
    return model
