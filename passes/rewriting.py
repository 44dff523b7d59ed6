"""Applies small rewrite rules until none of them changes anything."""

from __future__ import annotations

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
        for node in result.nodes:
            for rule in rules:
                if node in result and rule(result, node):
                    changed = True
    result.prune()
    return result


def sole_user(network: Network, node: int) -> int | None:
    """The one node that takes ``node``'s result, once; None if there are none or more."""
    users = network.users(node)
    if len(users) != 1 or network.operands(users[0]).count(node) != 1:
        return None
    return users[0]
