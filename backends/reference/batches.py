"""Samples are independent: a run is cut into batches that fit into memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.base import Trace
from snnc.ir.network import Network
from snnc.ir.ops import Output

Array = npt.NDArray[Any]


def peak_bytes(network: Network, size: Callable[[int], int]) -> int:
    """The most that the values of nodes take together, each kept until its last use; at least 1."""
    last = {source: node for node in network.nodes for source in network.operands(node)}
    live: dict[int, int] = {}
    most = 1
    for node in network.nodes:
        if not isinstance(network.op(node), Output):
            live[node] = size(node)
        most = max(most, sum(live.values()))
        for source in set(network.operands(node)):
            if last[source] == node:
                del live[source]
    return most


def in_batches(inputs: Mapping[int, Array], size: int, run: Callable[[dict[int, Array]], Trace]) -> Trace:
    """``run`` applied to batches of ``size`` samples (at least one), the traces joined."""
    size = max(1, size)
    samples = len(next(iter(inputs.values())))
    starts = range(0, max(1, samples), size)
    return _join([run({node: x[start : start + size] for node, x in inputs.items()}) for start in starts])


def _join(traces: list[Trace]) -> Trace:
    if len(traces) == 1:
        return traces[0]
    joined = Trace()
    for field in dataclasses.fields(Trace):
        parts = [getattr(trace, field.name) for trace in traces]
        setattr(joined, field.name, {key: np.concatenate([p[key] for p in parts]) for key in parts[0]})
    return joined
