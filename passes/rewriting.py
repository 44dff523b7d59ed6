"""Applies small rewrite rules until none of them changes anything."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

from snnc.ir.network import Network

Rule = Callable[[Network, int], bool]
"""Changes the network around a node, which it may remove, and says whether it did."""


def rewrite(network: Network, rules: Sequence[Rule]) -> Network:
    """A copy of ``network`` in which no rule matches any more."""
    result = network.copy()
    changed = True
    while changed:
        changed = False
        pending = collections.deque(result.nodes)
        while pending:
            node = pending.popleft()
            first_new = result.next_number
            for rule in rules:
                if node in result and rule(result, node):
                    changed = True
            # what a rule adds is looked at in the same round: an op may move past thousands of others
            pending.extend(range(first_new, result.next_number))
    result.prune()
    return result


def sole_user(network: Network, node: int) -> int | None:
    """The one node that takes ``node``'s result, once; None if there are none or more."""
    if network.use_count(node) != 1:
        return None
    return network.users(node)[0]
