"""Loops compiled by numba, if it is installed; the tables are empty otherwise.

Machine integers are cast at every step because numba widens sums of int32 to int64, which would halve
the number of neurons in a vector register. The inner loops have no branches for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import numba
except ImportError:
    HAVE_NUMBA = False
else:
    HAVE_NUMBA = True

Kernel = Callable[..., None]


def _fire_kernel(integer: type[np.signedinteger[Any]]) -> Kernel:
    def fire(
        z: Any,
        bias: Any,
        threshold: Any,
        v: Any,
        spikes: Any,
        counts: Any,
        kept: Any,
        strict: Any,
        zero: Any,
        signed: Any,
    ) -> None:
        samples, steps, neurons = spikes.shape
        for n in range(samples):
            vn, count = v[n], counts[n]
            for t in range(steps):
                zt, b, theta = z[n, t % z.shape[1]], bias[t % len(bias)], threshold[t % len(threshold)]
                out = spikes[n, t]
                for i in range(neurons):
                    u = integer(integer(vn[i] + integer(zt[i])) + b[i])
                    up = integer(u >= integer(theta[i] + strict))
                    s = integer(up - integer(signed & integer(u < 0)))
                    left = integer(u - integer(theta[i] * s))
                    vn[i] = integer(left * integer(1 - integer(zero & integer(s != 0))))
                    out[i] = np.int8(s)
                    count[i] = integer(count[i] + s)
                if kept.shape[1]:
                    kept[n, t, :] = vn

    return _compiled(fire)


def _gate_kernel() -> Kernel:
    def gate(spikes: Any, passed: Any, kernel: Any, strides: Any, pads: Any) -> None:
        samples, steps, channels, height, width = spikes.shape
        rows, columns = passed.shape[3:]
        for n in range(samples):
            counts = np.zeros((channels, height, width), np.int32)
            best = np.zeros((channels, rows, columns), np.int32)
            for t in range(steps):
                counts += spikes[n, t]
                for c in range(channels):
                    for i in range(rows):
                        top = i * strides[0] - pads[0]
                        for j in range(columns):
                            left = j * strides[1] - pads[1]
                            most = np.int32(0)
                            for y in range(max(top, 0), min(top + kernel[0], height)):
                                for x in range(max(left, 0), min(left + kernel[1], width)):
                                    most = max(most, counts[c, y, x])
                            passed[n, t, c, i, j] = most - best[c, i, j]
                            best[c, i, j] = most

    return _compiled(gate)


def _compiled(function: Kernel) -> Kernel:
    kernel: Kernel = numba.njit(nogil=True, cache=True)(function)
    return kernel


FIRE: dict[str, Kernel] = (
    {"int32": _fire_kernel(np.int32), "int64": _fire_kernel(np.int64)} if HAVE_NUMBA else {}
)
"""The fire loop by dtype of the membranes; see ``Rule.advance`` for its operands."""

GATE: Kernel | None = _gate_kernel() if HAVE_NUMBA else None
"""Max gates of spikes [n, T, C, H, W] into an array [n, T, C, H', W']."""
