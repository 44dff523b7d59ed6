"""How many activations are summed before the next nonlinearity."""

from __future__ import annotations

import math

from snnc.ir.network import Network
from snnc.ir.ops import Clip, Conv2d, Dense, FakeQuant, Pool, Relu


def fan_in(network: Network, node: int) -> int:
    """The most values of ``node`` that one output of weights sums, those of pooling windows included.

    ``network`` is at the ann level. 1 where no weights follow.
    """
    most, ahead = 1, [(user, 1) for user in network.users(node)]
    while ahead:
        user, window = ahead.pop()
        op = network.op(user)
        if isinstance(op, Conv2d | Dense):
            most = max(most, window * math.prod(op.weight.shape[1:]))
        elif not isinstance(op, Relu | Clip | FakeQuant):
            wider = window * math.prod(op.kernel) if isinstance(op, Pool) else window
            ahead += [(next_user, wider) for next_user in network.users(user)]
    return most
