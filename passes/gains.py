"""The factor that each element of a weighted op's operand still has to be multiplied with.

Spikes of amplitude λ, and scalings before an address map, belong into the next weights
(ECC Eq. 8). Address maps move factors as they move elements; zero padding has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from snnc.diagnostics import CompileError
from snnc.fixedpoint import Floats
from snnc.ir.address import apply_address, windows
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Conv2d, Dense, Pad, Pool, Weighted

GainOf = Callable[[int], Floats | None]
"""The factor a node contributes, [] or [C]; None if its own operands' factors pass through it."""

_NOTHING = -np.inf


def operand_gain(network: Network, node: int, gain_of: GainOf) -> Floats:
    """The factor of every element of ``node``'s first operand, in the operand's shape.

    Raises CompileError if a sum pool mixes elements of different factors.
    """
    drive = network.operands(node)[0]
    reached = network.upstream(drive, lambda n: gain_of(n) is not None)
    uses = Counter(source for n in reached if gain_of(n) is None for source in network.operands(n))
    gains: dict[int, Floats] = {}
    for n in reached:
        sources = network.operands(n)
        own = gain_of(n)
        gains[n] = (
            _moved(network, n, [gains[s] for s in sources]) if own is None else _spread(network, n, own)
        )
        # thousands of address maps must not keep an array each
        for source in sources if own is None else ():
            uses[source] -= 1
            if not uses[source]:
                del gains[source]
    return gains[drive]


def _spread(network: Network, node: int, own: Floats) -> Floats:
    shape = network.type(node).shape
    return np.broadcast_to(own.reshape(own.shape + (1,) * (len(shape) - own.ndim)), shape)


def _moved(network: Network, node: int, parts: list[Floats]) -> Floats:
    op = network.op(node)
    if isinstance(op, Pad):
        pairs = list(zip(op.before, op.after, strict=True))
        return np.asarray(np.pad(parts[0], pairs, constant_values=_NOTHING))
    if isinstance(op, Pool):
        # a window is uniform if its greatest and its least factor are one; the windows are never copied
        least = np.where(np.isfinite(parts[0]), parts[0], np.inf)
        result = windows(op, parts[0], fill=_NOTHING).max(axis=(-2, -1))
        if not _uniform(result, windows(op, least, fill=np.inf).min(axis=(-2, -1))):
            raise _mixed(network, node)
        return np.asarray(result)
    return np.asarray(apply_address(op, parts, len(network.type(network.operands(node)[0]).shape)))


def per_channel(network: Network, node: int, gain: Floats) -> Floats:
    """``gain`` of the operand of ``node`` as one factor per channel.

    A channel of padding takes the greatest factor of the others, so that one factor stays one number.
    """
    rows = gain.reshape(gain.shape[0], -1)
    result = rows.max(axis=1)
    if not _uniform(rows, result[:, None]):
        raise _mixed(network, node)
    arrives = np.isfinite(result)
    return np.where(arrives, result, result[arrives].max() if arrives.any() else 1.0)


def scale_operand(network: Network, node: int, gain: Floats) -> Constant:
    """The weight of a weighted op that takes its operand without the factor ``gain``."""
    op = network.op(node)
    assert isinstance(op, Weighted)
    weight = op.weight.array
    if isinstance(op, Dense):
        return Constant(weight * np.where(np.isfinite(gain), gain, 1.0))
    channels = per_channel(network, node, gain)
    if isinstance(op, Conv2d):
        grouped = channels.reshape(op.groups, 1, -1, 1, 1)
        split = weight.reshape(op.groups, -1, *weight.shape[1:])
        return Constant((split * grouped).reshape(weight.shape))
    return Constant(weight * (channels[0] if (channels == channels[0]).all() else channels))


def _uniform(values: Floats, reference: Floats) -> bool:
    return bool(((values == reference) | ~np.isfinite(values)).all())


def _mixed(network: Network, node: int) -> CompileError:
    return CompileError.of(
        "SNNC0120",
        "elements of different amplitude are mixed before the next weights",
        where=network.op(node).origin,
        remedy="give the clips and quantizers whose results are mixed one range",
    )
