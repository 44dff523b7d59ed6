"""Recordings of event cameras as counts per step.

A recording is four arrays over its events, as datasets such as N-MNIST (Orchard 2015) keep them: x, y,
polarity and time. Several recordings lie one after the other, ``offsets`` apart.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from snnc.diagnostics import CompileError
from snnc.ir.ops import Input

Array = npt.NDArray[Any]


class Events(NamedTuple):
    """An input of events: how many steps it has, and how many events a step may count."""

    steps: int
    max_count: int


def count(
    x: Array, y: Array, polarity: Array, time: Array, offsets: Array, *, shape: tuple[int, ...], steps: int
) -> Array:
    """Counts uint8 [N, T, P, H, W] of N recordings, ``shape`` being [P, H, W].

    Recording i has the events ``offsets[i]`` to ``offsets[i + 1]``; T equal steps of time go from its first
    event to its last. Raises CompileError (SNNC0162) for events outside the image, recordings without any,
    and more than 255 on one neuron in a step.
    """
    counts = np.zeros((len(offsets) - 1, steps, *shape), np.int64)
    for i, (start, stop) in enumerate(itertools.pairwise(offsets)):
        own = slice(int(start), int(stop))
        place = [np.asarray(a[own], np.int64) for a in (polarity, y, x)]
        when = np.asarray(time[own], np.int64)
        if not len(when):
            raise CompileError.of("SNNC0162", f"recording {i} has no events")
        if any((p < 0).any() or (p >= size).any() for p, size in zip(place, shape, strict=True)):
            raise CompileError.of("SNNC0162", f"recording {i} has events outside of {list(shape)}")
        since = when - when.min()
        step = np.minimum(since * steps // max(int(since.max()), 1), steps - 1)
        np.add.at(counts[i], (step, *place), 1)
    if counts.max(initial=0) > np.iinfo(np.uint8).max:
        raise CompileError.of("SNNC0162", "more than 255 events fall on one neuron in a step")
    return counts.astype(np.uint8)


def frame_fault(array: Array, steps: int, most: int) -> str:
    """What keeps frames from being the sums of events; empty if nothing does."""
    low, high = array.min(), array.max()
    if low < 0 or any((frame != np.rint(frame)).any() for frame in array):
        return f"has values from {low:g} to {high:g}; events are counts: whole numbers, none negative"
    if high > steps * most:
        return f"has {high:g} events on one element, more than {steps} steps of {most}: raise --max-count"
    return ""


def event_fault(array: Array, op: Input, steps: int, most: float) -> str:
    """What keeps an array from being batches of events; empty if nothing does."""
    if array.shape[1:] != (steps, *op.shape):
        return f"has shape {list(array.shape)}; events of {steps} steps are [N, {steps}, {extents(op)}]"
    if not len(array):
        return "holds no samples"
    if array.dtype.kind not in "biu" or array.min() < 0:
        return f"is of type {array.dtype} from {array.min()} on; events are counts"
    if array.max() > most:
        return f"has {array.max()} events in a step, more than {most}: raise --max-count"
    return ""


def extents(op: Input) -> str:
    """The shape of an input, as it is written in messages."""
    return ", ".join(map(str, op.shape))
