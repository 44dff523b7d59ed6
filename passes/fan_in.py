"""How many activations are summed before the next nonlinearity."""

from __future__ import annotations

import math

from snnc.ir.network import Network
from snnc.ir.ops import Clip, Conv2d, Dense, FakeQuant, Pool, Relu


def fan_ins(network: Network) -> dict[int, int]:
    """By node, the most of its values that one output of weights sums, those of pooling windows included.

    ``network`` is at the ann level. 0 where no weights follow.
    """
    found: dict[int, int] = {}
    for node in reversed(network.nodes):
        found[node] = max((_summed(network, user, found[user]) for user in network.users(node)), default=0)
    return found


def _summed(network: Network, user: int, behind: int) -> int:
    """How many operands of ``user`` are summed, if so many of its results are."""
    op = network.op(user)
    if isinstance(op, Conv2d | Dense):
        return math.prod(op.weight.shape[1:])
    if isinstance(op, Relu | Clip | FakeQuant):
        return 0
    return behind * math.prod(op.kernel) if isinstance(op, Pool) else behind
