"""The currents of a population at a few positions, for who looks at some neurons of each channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.fast.currents import Currents
from snnc.backends.fast.drive import Workspace
from snnc.backends.fast.layout import Window, image
from snnc.backends.fast.part import Part
from snnc.ir.constants import Constant
from snnc.ir.ops import Conv2d

Array = npt.NDArray[Any]

_FEW = 16


class Glimpse:
    """What flows into a population [M, H, W] at flat ``positions`` [P] of each channel.

    The windows that the positions see are laid side by side: an image of P rows, each of them one window,
    under which a convolution has a kernel of one row. Any drive can compute that.
    """

    def __init__(self, whole: Currents, positions: Array) -> None:
        """``whole`` is what flows into all of the population; ``flow`` is what of it needs to be computed."""
        height, width, self.channels = image(whole.shape)
        self.positions = positions
        # a pool that spikes pass by address has no windows on its operand
        self.partial = len(positions) < height * width and all(part.pool is None for _, part in whole.timed)
        self.flow = whole
        if self.partial:
            self._sites = [_sites(part, positions, width) for _, part in whole.timed]
            parts = [(source, _side_by_side(part, len(positions))) for source, part in whole.timed]
            self.flow = Currents(whole.clock, (self.channels, len(positions), 1), parts)

    def operands(self, operands: list[Array], workspace: Workspace) -> list[Array]:
        """What ``flow`` takes, of the operands [B, H, W, C] of the whole population."""
        return [self._windows(k, x, workspace) for k, x in enumerate(operands)] if self.partial else operands

    def settle(self, operands: list[Array], workspace: Workspace) -> None:
        """Let ``flow`` choose its drives by a few entries in the middle of operands [N, S, H, W, C]."""
        if any(drive.chosen is None for drive in self.flow.drives):
            middle = operands[0].shape[1] // 2
            few = [x[:1, middle : middle + _FEW] if self.flow.clock.delays else x[:_FEW] for x in operands]
            flat = self.operands([x.reshape(-1, *x.shape[2:]) for x in few], workspace)
            seen = [y.reshape(*x.shape[:2], *y.shape[1:]) for x, y in zip(few, flat, strict=True)]
            self.flow.settle(seen, workspace)

    def _windows(self, k: int, x: Array, workspace: Workspace) -> Array:
        entries, height, width, channels = x.shape
        sites = self._sites[k]
        windows = workspace.take(f"windows {k}", entries * sites.size * channels, x.dtype)
        windows = windows.reshape(entries, sites.size, channels)
        rows = x.reshape(entries, height * width, channels)
        # sites beyond the border are clipped, and then cleared
        np.take(rows, sites.ravel(), axis=1, out=windows, mode="clip")
        windows[:, sites.ravel() < 0] = 0
        return windows.reshape(entries, *sites.shape, channels)

    def interior(self, z: Array, entries: int) -> Array:
        """The currents [B, P, M] in the buffer that ``flow`` filled."""
        rows = self.flow.grid.interior(z, entries).reshape(entries, -1, self.channels)
        return rows if self.partial else rows[:, self.positions]


def _sites(part: Part, positions: Array, columns: int) -> npt.NDArray[np.int64]:
    """The sites [P, kh·kw] of the operand that each position sees, −1 beyond the border."""
    window, (height, width, _) = Window.of(part.op), image(part.shape)
    place = np.divmod(positions, columns)
    y, x = (
        place[axis][:, None] * window.strides[axis]
        + np.arange(window.kernel[axis]) * window.dilations[axis]
        - window.pads[axis]
        for axis in (0, 1)
    )
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    sites = np.where(inside, y[:, :, None] * width + x[:, None, :], -1)
    return sites.reshape(len(positions), -1)


def _side_by_side(part: Part, count: int) -> Part:
    """The part on ``count`` windows in rows below one another."""
    op = part.op
    if not isinstance(op, Conv2d):
        return Part(op, (part.shape[0], count, 1), part.low, part.high, part.timed)
    weight = op.weight.array.reshape(*op.weight.shape[:2], 1, -1)
    taps = weight.shape[3]
    row = op.replace(
        weight=Constant(weight), strides=(1, taps), pads=(0, 0, 0, 0), dilations=(1, 1), bias=None
    )
    return Part(row, (part.shape[0], count, taps), part.low, part.high, part.timed)
