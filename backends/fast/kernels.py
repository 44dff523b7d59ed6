"""The inner loops of the fast simulator, compiled by numba.

Arrays are channel last. Machine integers are cast at every step because numba widens sums of int32 to
int64, which would halve the number of neurons in a vector register; the loops over neurons have no
branches for the same reason.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from snnc.backends.fast.vector import add_product, add_rows, append_events
from snnc.jit import Kernel, compiled

_INTEGERS: dict[int, Any] = {4: np.int32, 8: np.int64}

LANES = 16
"""Channels that one instruction looks at when it searches for events."""

KIND_BITS = 24
"""Below the place where a site adds stands its kind, so that both are one number."""


@compiled
def find_events(
    flat: Any,
    shape: Any,
    bits: Any,
    spots: Any,
    step: Any,
    rows: Any,
    first: Any,
    places: Any,
) -> Any:
    """The groups of events of one entry and site, in order; how many.

    The operand, ``flat``, is [B, S, C] by its ``shape``. An event is a set bit ``bits[p]`` of channel c: row
    p·C + c of the weights. Group g has the rows ``rows[first[g]:first[g + 1]]``, and ``places[g]`` is the one
    of ``spots`` [S], a place and a kind, moved on by ``step`` for each entry. ``rows`` needs 16 elements to
    spare.
    """
    entries, sites, channels = shape
    whole = channels - channels % LANES
    # a signed index that the compiler cannot bound is looked at for its sign, which takes as long as the rest
    end, group = np.int64(0), np.uint64(0)
    for entry in range(entries):
        moved = np.int64(entry * step) << KIND_BITS
        for site in range(sites):
            start = end
            at = np.int64((entry * sites + site) * channels)
            for plane in range(len(bits)):
                bit = bits[np.uint64(plane)]
                for c in range(0, whole, LANES):
                    row = np.int64(plane * channels + c)
                    end += append_events(rows, end, flat, np.int64(at + c), bit, row, 16)
                for c in range(whole, channels):
                    rows[np.uint64(end)] = plane * channels + c
                    end += np.int64((flat[np.uint64(at + c)] & bit) != 0)
            first[group] = start
            places[group] = moved + spots[np.uint64(site)]
            group += np.uint64(end > start)
    first[group] = end
    return np.int64(group)


@functools.cache
def scatter(lanes: int, together: int) -> Kernel:
    """A kernel that adds rows of ``lanes`` weights for each of ``together`` targets at a time."""

    def run(
        groups: Any,
        rows: Any,
        first: Any,
        places: Any,
        z: Any,
        weights: Any,
        targets: Any,
        bounds: Any,
        depth: Any,
    ) -> None:
        """z[place + target] += the weights of a group's events, for the targets of its kind.

        ``weights`` is [chunks, targets / together, depth, together, lanes], flat: one chunk at a time, so
        that it stays in cache. ``bounds`` are multiples of ``together``.
        """
        block = depth * lanes
        chunks = len(weights) // (len(targets) * block)
        for chunk in range(chunks):
            for group in range(groups):
                at = np.int64((places[group] >> KIND_BITS) + chunk * lanes)
                kind = places[group] & ((1 << KIND_BITS) - 1)
                begin, end = first[group], first[group + 1]
                for k in range(bounds[kind], bounds[kind + 1], together):
                    w = np.int64((chunk * len(targets) + k) * block)
                    add_rows(z, at, targets, np.int64(k), weights, w, rows, begin, end, lanes, together)

    return compiled(run)


@compiled
def add_diagonal(
    flat: Any, shape: Any, w: Any, where: Any, kinds: Any, step: Any, z: Any, targets: Any, bounds: Any
) -> None:
    """z[where + target + c] += w[target, c]·x[…, c]: depthwise convolutions and skips.

    The operand, ``flat``, is [B, S, C] by its ``shape``, and ``w`` flat [targets, C], in the dtype of ``z``.
    """
    entries, sites, channels = shape
    whole = channels - channels % LANES
    for entry in range(entries):
        for site in range(sites):
            place = np.int64((entry * sites + site) * channels)
            for k in range(bounds[kinds[site]], bounds[kinds[site] + 1]):
                at = np.int64(entry * step + where[site] + targets[k])
                row = np.int64(k * channels)
                for c in range(0, whole, LANES):
                    add_product(z, np.int64(at + c), w, np.int64(row + c), flat, np.int64(place + c), 16)
                for c in range(whole, channels):
                    z[at + c] += w[row + c] * flat[place + c]


@compiled
def take_columns(
    x: Any, channels: Any, kernel: Any, strides: Any, pads: Any, dilations: Any, columns: Any
) -> None:
    """The windows under a kernel: [B, H, W·C] to ``columns`` [B, H', W', kh, kw·C], zeros outside.

    A row of a window is one run of memory unless it is dilated or leaves the image.
    """
    height, width = x.shape[1], x.shape[2] // channels
    entries, rows, cols = columns.shape[:3]
    run = kernel[1] * channels
    for entry in range(entries):
        for i in range(rows):
            for u in range(kernel[0]):
                y = i * strides[0] + u * dilations[0] - pads[0]
                if y < 0 or y >= height:
                    columns[entry, i, :, u] = 0
                    continue
                row = x[entry, y]
                for j in range(cols):
                    left = j * strides[1] - pads[1]
                    target = columns[entry, i, j, u]
                    if dilations[1] == 1 and left >= 0 and left + kernel[1] <= width:
                        source = row[left * channels : left * channels + run]
                        for k in range(run):
                            target[k] = source[k]
                    else:
                        _take_row(row, left, dilations[1], channels, target)


@compiled
def _take_row(row: Any, left: Any, dilation: Any, channels: Any, target: Any) -> None:
    """Channels of the sites ``left``, ``left`` + dilation, … of a row, zeros where there are none."""
    for v in range(len(target) // channels):
        at = (left + v * dilation) * channels
        for c in range(channels):
            target[v * channels + c] = row[at + c] if 0 <= at < len(row) else 0


@functools.cache
def fire(size: int, plain: bool) -> Kernel:
    """The recurrence with membranes of ``size`` bytes; ``plain`` is soft reset, ≥, spikes of one sign."""
    integer = _INTEGERS[size]

    def run(
        z: Any,
        frame: Any,
        unit: Any,
        drift: Any,
        threshold: Any,
        v: Any,
        spikes: Any,
        counts: Any,
        kept: Any,
        limit: Any,
        strict: Any,
        zero: Any,
        signed: Any,
        rectified: Any,
    ) -> None:
        """Run the steps of ``spikes`` [s, R, n], row by row, so that a row's membranes stay in cache.

        A row takes in z[origin + t·step + y·pitch:][:n]·2^unit + drift; ``frame`` is (origin, step, pitch).
        ``drift`` and ``threshold`` are [1 or s, 1 or R, n], ``v`` and ``counts`` [R, n]; ``kept``
        [s or 0, R, n] takes the membranes.
        """
        steps, height, width = spikes.shape
        origin, step, pitch = frame
        for y in range(height):
            vy, count = v[y], counts[y]
            for t in range(steps):
                start = origin + t * step + y * pitch
                zt, out = z[start : start + width], spikes[t, y]
                drifting = drift[t % len(drift), y % drift.shape[1]]
                theta = threshold[t % len(threshold), y % threshold.shape[1]]
                for i in range(width):
                    u = integer(vy[i] + integer(integer(integer(zt[i]) << unit) + drifting[i]))
                    u = min(max(u, integer(-limit)), limit)
                    if plain:
                        s = integer(u >= theta[i])
                        vy[i] = integer(u - integer(theta[i] * s))
                    else:
                        up = integer(u >= integer(theta[i] + strict))
                        none_left = integer(rectified & integer(count[i] <= 0))
                        low = integer(-integer(rectified * integer(theta[i] >> 1)))
                        down = integer(signed & integer(u < low)) & integer(1 - none_left)
                        s = integer(up - down)
                        left = integer(u - integer(theta[i] * s))
                        vy[i] = integer(left * integer(1 - integer(zero & integer(s != 0))))
                    out[i] = np.int8(s)
                    count[i] = np.int32(count[i] + np.int32(s))
                if len(kept):
                    # a slice would bring half of numba into the kernel
                    for i in range(width):
                        kept[t, y, i] = vy[i]

    return compiled(run)


@functools.cache
def encode(size: int) -> Kernel:
    """The codes of integrate-then-fire with membranes of ``size`` bytes."""
    integer, exact_in_float = _INTEGERS[size], size == 4

    def run(
        z: Any,
        frame: Any,
        unit: Any,
        still: Any,
        start: Any,
        threshold: Any,
        codes: Any,
        kept: Any,
        limit: Any,
        lowest: Any,
        highest: Any,
    ) -> None:
        """Codes [B, R, n] = clip(⌊V/θ⌋, lowest, highest), V = start + still + z·2^unit within ±limit.

        ``frame`` and z as in :func:`fire`, ``still`` is [B or 1, 1 or R, n], ``start`` and ``threshold``
        [1 or R, n]; ``kept`` [B or 0, R, n] takes V. The quotient of two integers below 2^31 is right
        in float64 after rounding down: if it is not whole, it is further from an integer than its error.
        """
        entries, height, width = codes.shape
        origin, step, pitch = frame
        for entry in range(entries):
            for y in range(height):
                at = origin + entry * step + y * pitch
                zt, out = z[at : at + width], codes[entry, y]
                steady = still[entry % len(still), y % still.shape[1]]
                begin, theta = start[y % len(start)], threshold[y % len(threshold)]
                for i in range(width):
                    v = integer(integer(integer(zt[i]) << unit) + integer(steady[i] + begin[i]))
                    v = min(max(v, integer(-limit)), limit)
                    if exact_in_float:
                        n = integer(np.floor(np.float64(v) / np.float64(theta[i])))
                    else:
                        n = v // theta[i]
                    out[i] = min(max(n, lowest), highest)
                    if len(kept):
                        kept[entry, y, i] = v

    return compiled(run)


@compiled
def _largest(counts: Any, top: Any, left: Any, kernel: Any, most: Any) -> None:
    """The largest of ``counts`` [H, W, C] in a window, 0 outside, channel by channel."""
    most[:] = 0
    for y in range(max(top, 0), min(top + kernel[0], counts.shape[0])):
        for x in range(max(left, 0), min(left + kernel[1], counts.shape[1])):
            running = counts[y, x]
            for c in range(len(most)):
                most[c] = max(most[c], running[c])


@compiled
def pass_busiest(spikes: Any, passed: Any, counts: Any, kernel: Any, strides: Any, pads: Any) -> None:
    """A max gate of spikes [T, H, W, C] into ``passed`` [T, H', W', C], and their zeroed ``counts``."""
    steps, height, width, channels = spikes.shape
    arrived = np.zeros((height, width, channels), np.int32)
    most = np.empty(channels, np.int32)
    for t in range(steps):
        now, running = spikes[t].ravel(), arrived.ravel()
        for k in range(len(now)):
            running[k] = np.int32(running[k] + np.int32(now[k]))
        for i in range(passed.shape[1]):
            for j in range(passed.shape[2]):
                _largest(arrived, i * strides[0] - pads[0], j * strides[1] - pads[1], kernel, most)
                out, before = passed[t, i, j], counts[i, j]
                for c in range(channels):
                    out[c] = np.int8(most[c] - before[c])
                    before[c] = most[c]


@compiled
def pass_leading(spikes: Any, passed: Any, counts: Any, kernel: Any, strides: Any, pads: Any) -> None:
    """As :func:`pass_busiest`, of each window the spikes of the first input that has the most so far."""
    steps, height, width, channels = spikes.shape
    arrived = np.zeros((height, width, channels), np.int32)
    most = np.empty(channels, np.int32)
    for t in range(steps):
        arrived += spikes[t]
        for i in range(passed.shape[1]):
            for j in range(passed.shape[2]):
                top, left = i * strides[0] - pads[0], j * strides[1] - pads[1]
                out, total = passed[t, i, j], counts[i, j]
                most[:] = 0
                out[:] = 0
                for y in range(max(top, 0), min(top + kernel[0], height)):
                    for x in range(max(left, 0), min(left + kernel[1], width)):
                        for c in range(channels):
                            if arrived[y, x, c] > most[c]:
                                most[c], out[c] = arrived[y, x, c], spikes[t, y, x, c]
                for c in range(channels):
                    total[c] += out[c]
