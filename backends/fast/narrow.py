"""Spike counts in the narrowest integers that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.reference.drive import Clock, Signal, peak, transmit
from snnc.ir.address import windows
from snnc.ir.network import Network
from snnc.ir.ops import SumPool

Array = npt.NDArray[Any]


def narrow(most: int) -> np.dtype[Any]:
    """The narrowest signed dtype that holds ±``most``."""
    return next(np.dtype(t) for t in (np.int8, np.int16, np.int32, np.int64) if most <= np.iinfo(t).max)


def narrow_address(network: Network, node: int, operands: Sequence[Signal], clock: Clock) -> Signal:
    """The result of an address op; timed sums keep a narrow dtype where the reference has int64."""
    op = network.op(node)
    if not isinstance(op, SumPool) or not operands[0].timed:
        return transmit(network, node, operands, clock)
    dtype = narrow(peak(network.type(node)) * clock.gain)
    view = windows(op, operands[0].array)
    total = np.zeros(view.shape[:-2], dtype)
    for u in range(op.kernel[0]):
        for v in range(op.kernel[1]):
            total += view[..., u, v]
    if op.multiplicity is not None:
        total *= op.multiplicity.array.astype(dtype)
    return Signal(total, True)
