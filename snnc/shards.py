"""Datasets larger than memory: arrays that stay on disk, in one file or in a folder of shards."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc import data
from snnc.diagnostics import CompileError, Diagnostics, UsageError
from snnc.ir.network import Network
from snnc.rows import Rows

Array = npt.NDArray[Any]

_SUFFIXES = (".npy", ".npz")


def evaluation(
    argument: str,
    network: Network,
    diagnostics: Diagnostics,
    *,
    limit: int | None = None,
    max_memory: int = data.DEFAULT_MEMORY,
) -> data.Evaluation:
    """As :func:`snnc.data.evaluation`, where ``FILE`` may be a folder of .npy or .npz shards.

    Shards are taken in the order of their names, have the same arrays and are read one after the other;
    labels are kept. Raises as it does, and UsageError for a folder without shards.
    """
    path, key = data.split_key(argument)
    if not path.is_dir():
        return data.evaluation(argument, network, diagnostics, limit=limit, max_memory=max_memory)
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not files:
        raise UsageError.of("SNNC0164", f"{path} holds no .npy or .npz files")

    def load(shard: int) -> data.Evaluation:
        name = str(files[shard]) + (f":{key}" if key is not None else "")
        # what there is to note of the data is noted of the first shard
        notes = Diagnostics() if shard else diagnostics
        return data.evaluation(name, network, notes, max_memory=max_memory)

    lengths, labels = _survey(files, load, limit)
    kept = functools.lru_cache(maxsize=2)(load)
    inputs = {
        name: Rows(lengths, functools.partial(_input, kept, name), limit) for name in data.inputs_of(network)
    }
    return data.Evaluation(inputs, None if labels is None else labels[:limit])


def _input(load: Callable[[int], data.Evaluation], name: str, shard: int) -> Any:
    return load(shard).inputs[name]


def _survey(
    files: Sequence[pathlib.Path], load: Callable[[int], data.Evaluation], limit: int | None
) -> tuple[list[int], npt.NDArray[np.int64] | None]:
    """The samples of each shard up to ``limit``, and all labels if every shard has some."""
    lengths, labels = list[int](), list[npt.NDArray[np.int64]]()
    for shard, file in enumerate(files):
        part = load(shard)
        lengths.append(part.samples)
        if part.labels is not None:
            labels.append(part.labels)
        if labels and len(labels) != len(lengths):
            message = f"{file} and the shards before it: some have labels y and some do not"
            raise CompileError.of(data.EVALUATION, message)
        if limit is not None and sum(lengths) >= limit:
            break
    return lengths, np.concatenate(labels) if labels else None
