"""Populations in compiled code: one pass over the currents of a block."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.backends.fast import kernels
from snnc.backends.fast.layout import channel_first, channel_last, image
from snnc.backends.reference.fire import over_time, total_bias
from snnc.ir.network import Network
from snnc.ir.ops import IfNeuron
from snnc.ir.types import Shape

Array = npt.NDArray[Any]
Frame = tuple[int, int, int]

_INT32_END = 1 << 31


@dataclasses.dataclass(frozen=True)
class Rule:
    """The parameters of a population in the dtype of its membranes, channel last.

    ``bias`` and ``threshold`` are [1 or T, 1 or H, W·C], ``start`` (the membranes before the first step) and
    ``total`` (v_init and what the bias adds over the run) [1 or H, W·C]; u is cut to ±``limit``.
    ``unit`` is the shift of the currents.
    """

    op: IfNeuron
    unit: int
    bias: Array
    threshold: Array
    start: Array
    total: Array
    limit: int

    @classmethod
    def of(cls, network: Network, op: IfNeuron, shape: Shape, largest: int, unit: int) -> Rule:
        """int32 if no membrane can leave it, with |Z| ≤ ``largest`` at every entry.

        ``op`` is a population of that shape in ``network``, or what might stand in its place.
        """
        steps, width = network.steps, image(shape)[1]
        assert steps is not None
        if max(p.array.ndim for p in (op.bias, op.threshold, op.v_init)) < 3:
            # all positions are alike, and one is looked at
            shape = shape[:1]
        bias, threshold = (over_time(p, shape, steps) for p in (op.bias, op.threshold))
        start = over_time(op.v_init, shape, 1)
        total = start + total_bias(op.bias, shape, network.full_count)
        if network.schedule == "rate":
            largest += int(np.abs(bias).max())
            before = _before_a_step(
                op, int(np.abs(start).max()) + (steps - 1) * largest, int(threshold.max())
            )
        else:
            before = int(np.abs(total).max())
        dtype = np.int32 if before + largest + int(threshold.max()) + 1 < _INT32_END else np.int64
        limit = fixedpoint.symmetric_limit(op.acc_bits) if op.saturates else int(np.iinfo(dtype).max)
        bias, threshold, start, total = (
            _rows(a, shape, width, dtype) for a in (bias, threshold, start, total)
        )
        return cls(op, unit, bias, threshold, start[0], total[0], limit)

    def rest(self, height: int) -> Array:
        """The membranes of a sample before the first step, [H, W·C]."""
        return np.repeat(self.start, height // len(self.start), axis=0)

    def drift(self, still: Array) -> Array:
        """What each step brings, [1 or T, 1 or H, W·C]: the current ``still`` [1 or H, W·C], and the bias."""
        return np.asarray(self.bias + still.astype(self.bias.dtype))

    def advance(
        self,
        z: Array,
        frame: Frame,
        drift: Array,
        first: int,
        state: tuple[Array, Array],
        out: tuple[Array, Array],
    ) -> None:
        """Run the steps from ``first`` on of one sample, which has that :meth:`drift`.

        ``state`` are membranes and counts [H, W·C], both updated; ``out`` takes spikes [s, H, W·C] (int8)
        and membranes [s or 0, H, W·C]. ``z`` as in :func:`snnc.backends.fast.kernels.fire`.
        """
        v, counts = state
        spikes, kept = out
        window = slice(first, first + len(spikes))
        drift = drift[window] if len(drift) > 1 else drift
        threshold = self.threshold[window] if len(self.threshold) > 1 else self.threshold
        kernel, unit, *flags = self._kernel
        kernel(z, frame, unit, drift, threshold, v, spikes, counts, kept, *flags)

    @functools.cached_property
    def _kernel(self) -> tuple[Any, ...]:
        """The recurrence, and the numbers that it takes: unit, limit and what kind of neuron it is."""
        number, op = self.start.dtype.type, self.op
        plain = op.reset == "subtract" and op.compare == "ge" and not op.signed
        kind = (op.compare == "gt", op.reset == "zero", op.signed, op.rectified)
        kernel = kernels.fire(self.start.itemsize, plain)
        return kernel, number(self.unit), number(self.limit), *map(number, kind)

    def encode(self, z: Array, frame: Frame, still: Array, codes: Array, kept: Array, full: int) -> None:
        """The codes [B, H, W·C] of integrate-then-fire; ``kept`` [B or 0, H, W·C] takes V."""
        number = self.total.dtype.type
        kernels.encode(self.total.itemsize)(
            z,
            frame,
            number(self.unit),
            still,
            self.total,
            self.threshold[0],
            codes,
            kept,
            number(self.limit),
            number(-full if self.op.negative else 0),
            number(full),
        )


def spike_counter(network: Network, op: IfNeuron, shape: Shape, largest: int) -> Callable[[Array], Array]:
    """The counts, int32 [N, C, H, W], that a population makes of z [N, T, C, H, W] under ``rate``.

    ``shape`` is [C, H, W]; ``largest`` bounds |z|.
    """
    height, width, channels = image(shape)
    rule, row = Rule.of(network, op, shape, largest, 0), width * channels
    frame = (0, height * row, row)

    def count(z: Array) -> Array:
        samples, steps = z.shape[:2]
        counts = np.zeros((samples, height, row), np.int32)
        spikes, kept = np.empty((steps, height, row), np.int8), np.empty((0, height, row), rule.start.dtype)
        currents = channel_last(z, shape).reshape(samples, -1)
        for current, counted in zip(currents, counts, strict=True):
            rule.advance(current, frame, rule.bias, 0, (rule.rest(height), counted), (spikes, kept))
        return channel_first(counts, shape)

    return count


def _before_a_step(op: IfNeuron, arrived: int, threshold: int) -> int:
    """A bound on |V| where no more than ``arrived`` came in: a spike moves V towards 0, or by θ.

    A membrane that saturates is at most one spike beyond its limit.
    """
    most = min(arrived, fixedpoint.symmetric_limit(op.acc_bits)) if op.saturates else arrived
    return most + threshold


def _rows(value: Array, shape: Shape, width: int, dtype: type[np.signedinteger[Any]]) -> Array:
    """[t, *shape] as [t, H, W·C], or [t, 1, W·C] if all rows are equal; one column stands for ``width``."""
    sites = channel_last(value, shape).astype(dtype)
    rows = np.concatenate([sites.reshape(*sites.shape[:2], -1)] * (width // sites.shape[2]), axis=2)
    # a view of the first row would keep them all
    return rows[:, :1].copy() if (rows == rows[:, :1]).all() else rows
