"""Samples are independent: a run is cut into batches that fit into memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Trace
from snnc.ir.network import Network
from snnc.ir.ops import Output

Array = npt.NDArray[Any]


def last_uses(network: Network, reads: Callable[[int], Iterable[int]]) -> dict[int, int]:
    """The last node that reads the value of each node that is read at all."""
    return {source: node for node in network.nodes for source in reads(node)}


def peak_bytes(
    network: Network, size: Callable[[int], int], reads: Callable[[int], Iterable[int]] | None = None
) -> int:
    """The most that the values of nodes take together, each kept until its last use; at least 1.

    A node ``reads`` its operands, unless told otherwise.
    """
    reads = reads or network.operands
    last = last_uses(network, reads)
    live, most = 0, 1
    for node in network.nodes:
        if not isinstance(network.op(node), Output):
            live += size(node)
        most = max(most, live)
        live -= sum(size(source) for source in set(reads(node)) if last[source] == node)
    return most


Batch = dict[int, Array]


def in_batches(inputs: Mapping[int, Array], size: int, run: Callable[[Batch], Trace], threads: int) -> Trace:
    """``run`` applied to batches of at most ``size`` samples (at least one), the traces joined.

    ``threads`` take equal shares of the samples.
    """
    samples = len(next(iter(inputs.values())))
    size = max(1, min(size, -(-samples // threads)))
    starts = range(0, max(1, samples), size)
    batches = ({node: x[start : start + size] for node, x in inputs.items()} for start in starts)
    if threads == 1:
        return joined(map(run, batches), samples)
    with ThreadPoolExecutor(threads) as pool:
        return joined(pool.map(run, batches), samples)


def joined(traces: Iterable[Trace], samples: int) -> Trace:
    """One trace of all; a batch is let go as soon as it is copied."""
    result, start = Trace(), 0
    for trace in traces:
        count = _samples(trace)
        if count == samples:
            return trace
        for field in dataclasses.fields(Trace):
            whole = getattr(result, field.name)
            for key, part in getattr(trace, field.name).items():
                if key not in whole:
                    whole[key] = np.empty((samples, *part.shape[1:]), part.dtype)
                assert whole[key].dtype == part.dtype
                whole[key][start : start + count] = part
        start += count
    return result


def _samples(trace: Trace) -> int:
    return len(next(iter(trace.outputs.values())))
