"""From a path to a NIR graph, without following anything that leads out of the file.

nir.read opens whatever an HDF5 file refers to: other files by external links, external storage and
virtual datasets, and arrays of any declared size. All of that is looked for first.
"""

from __future__ import annotations

import io
import pathlib
from collections.abc import Iterator
from typing import Any

from snnc.diagnostics import CompileError, UsageError
from snnc.frontend.limits import Limits
from snnc.frontend.loader import read_model
from snnc.interop.metadata import Metadata

_DEEPEST = 8
_CODE = "SNNC0137"


def read_graph(path: pathlib.Path, limits: Limits) -> tuple[Any, bytes]:
    """A nir.NIRGraph, its types unchecked, and the file's bytes.

    Raises UsageError for a path that leads to no readable file or a missing package, CompileError
    (SNNC0137, SNNC0104) for content that is unsafe, too large or no NIR graph.
    """
    h5py = _package("h5py")
    nir = _package("nir")
    content = read_model(path, limits)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            problems = list(_unsafe(h5py, file, limits))
            has_graph = "node" in file
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise CompileError.of(_CODE, f"{str(path)!r} is not HDF5, or it is damaged: {error}") from None
    if problems:
        raise CompileError.of(_CODE, f"{str(path)!r} is not read: {'; '.join(problems[:4])}")
    if not has_graph:
        raise CompileError.of(_CODE, f"{str(path)!r} holds no NIR graph")
    try:
        graph = nir.read(io.BytesIO(content), type_check=False)
    # nir checks what it reads with assertions, key lookups and constructors
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise CompileError.of(_CODE, f"{str(path)!r} is not a valid NIR graph: {reason}") from None
    if not isinstance(graph, nir.NIRGraph):
        raise CompileError.of(_CODE, f"{str(path)!r} holds a single NIR node and no graph")
    return graph, content


def metadata_of(graph: Any) -> Metadata | None:
    """What snnc wrote beside the graph; None in a file of another tool."""
    found = graph.metadata
    return Metadata.of(found) if isinstance(found, dict) else None


def _package(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError.of(
            "SNNC0163", f"reading NIR files needs the package {name}", remedy="pip install 'snnc[nir]'"
        ) from None


def _unsafe(h5py: Any, file: Any, limits: Limits) -> Iterator[str]:
    """What must not be read: links out of the tree, data outside of the file, declared sizes."""
    pending: list[tuple[str, Any, int]] = [("", file, 0)]
    total = objects = 0
    while pending:
        place, group, depth = pending.pop()
        if depth > _DEEPEST:
            yield f"{place} is nested too deeply"
            return
        for name in group:
            objects += 1
            where = f"{place}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                yield f"{where} is a link to somewhere else"
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                pending.append((where, item, depth + 1))
                continue
            yield from _unsafe_data(h5py, where, item, limits)
            total += int(item.nbytes) if isinstance(item, h5py.Dataset) else 0
        if total > limits.file_bytes or objects > 16 * limits.nodes:
            yield f"it declares {total} bytes in {objects} objects, which is too much"
            return


def _unsafe_data(h5py: Any, where: str, item: Any, limits: Limits) -> Iterator[str]:
    if not isinstance(item, h5py.Dataset):
        yield f"{where} is neither a group nor an array"
    elif item.external or item.is_virtual:
        yield f"{where} is stored outside of the file"
    elif item.size is not None and item.size > limits.elements:
        yield f"{where} declares {item.size} elements, more than {limits.elements}"
    elif item.dtype.kind not in "biufS" and h5py.check_string_dtype(item.dtype) is None:
        yield f"{where} holds neither numbers nor text"
