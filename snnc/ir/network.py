"""The network: a directed multigraph of ops. The only class that touches networkx.

An edge is a tensor; its key is the operand's position, so that ``x + x`` and ``Concat(x, x)`` exist.
Order is lexicographic topological: the smallest number whose operands are all there comes first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import networkx as nx

from snnc.ir.constants import Constant
from snnc.ir.ops import Level, Op
from snnc.ir.types import TensorType

Schedule = Literal["rate", "layerwise"]
SCHEDULES: tuple[Schedule, ...] = ("rate", "layerwise")


class Network:
    """Ops and their operands. ``steps`` (T) and ``schedule`` are None before ``spikify``.

    Passes must not change the network they are given: they edit a :meth:`copy`.
    """

    def __init__(self, name: str, *, steps: int | None = None, schedule: Schedule | None = None) -> None:
        """An empty network."""
        self.name = name
        self.steps = steps
        self.schedule = schedule
        self._graph: Any = nx.MultiDiGraph()
        self._order: tuple[int, ...] | None = None
        self._types: dict[int, TensorType | None] | None = None

    def copy(self) -> Network:
        """A network that can be edited apart; ops and constants are shared."""
        twin = Network(self.name, steps=self.steps, schedule=self.schedule)
        twin._graph = self._graph.copy()
        twin._order, twin._types = self._order, self._types
        return twin

    def add(self, op: Op, *operands: int) -> int:
        """Append an op; returns its number."""
        node = max(self._graph.nodes, default=-1) + 1
        self._graph.add_node(node, op=op)
        self._connect(node, operands)
        self._changed()
        return node

    def __contains__(self, node: int) -> bool:
        return node in self._graph

    def op(self, node: int) -> Op:
        """The op of a node."""
        op: Op = self._graph.nodes[node]["op"]
        return op

    def operands(self, node: int) -> tuple[int, ...]:
        """The nodes whose results a node takes, in order."""
        edges = self._graph.in_edges(node, keys=True)
        return tuple(source for source, _, _ in sorted(edges, key=lambda edge: edge[2]))

    def users(self, node: int) -> tuple[int, ...]:
        """The nodes that take a node's result, each once, ascending."""
        return tuple(sorted(self._graph.successors(node)))

    def set(self, node: int, op: Op, operands: Sequence[int] | None = None) -> None:
        """Put another op, and other operands if given, in a node's place."""
        self._graph.nodes[node]["op"] = op
        if operands is not None:
            self._graph.remove_edges_from(list(self._graph.in_edges(node, keys=True)))
            self._connect(node, operands)
        self._changed()

    def redirect(self, old: int, new: int, *, keep: Sequence[int] = ()) -> None:
        """Make every user of ``old`` take ``new`` instead, apart from those in ``keep``."""
        for user in self.users(old):
            if user not in keep:
                sources = [new if s == old else s for s in self.operands(user)]
                self.set(user, self.op(user), sources)

    def remove(self, node: int) -> None:
        """Remove a node that nothing uses."""
        assert not self.users(node), f"node {node} is still in use"
        self._graph.remove_node(node)
        self._changed()

    def bypass(self, node: int) -> None:
        """Remove a node of one operand; its users take that operand."""
        (source,) = self.operands(node)
        self.redirect(node, source)
        self.remove(node)

    def prune(self) -> None:
        """Remove every node that no output depends on; inputs stay."""
        needed = {n for n in self.nodes if self.op(n).mnemonic in ("output", "input")}
        for node in reversed(self.nodes):
            if node in needed:
                needed.update(self.operands(node))
        self._graph.remove_nodes_from([n for n in self.nodes if n not in needed])
        self._changed()

    @property
    def nodes(self) -> tuple[int, ...]:
        """All nodes, in lexicographic topological order. Raises ValueError on a cycle."""
        if self._order is None:
            try:
                self._order = tuple(nx.lexicographical_topological_sort(self._graph))
            except nx.NetworkXUnfeasible:
                raise ValueError("the network has a cycle") from None
        return self._order

    def of(self, *kinds: type[Op]) -> Iterator[int]:
        """The nodes whose op is one of ``kinds``, in order."""
        return (n for n in self.nodes if isinstance(self.op(n), kinds))

    def type(self, node: int) -> TensorType:
        """The type of a node's result."""
        if self._types is None:
            self._types = {}
            for n in self.nodes:
                self._types[n] = self.op(n).result([self._known(s) for s in self.operands(n)])
        return self._known(node)

    def operand_types(self, node: int) -> list[TensorType]:
        """The types of a node's operands."""
        return [self.type(s) for s in self.operands(node)]

    @property
    def level(self) -> Level:
        """Ann before ``spikify``, int once a readout or population counts in integers."""
        if self.steps is None:
            return "ann"
        return "int" if any(getattr(op, "bits", 0) for op in self._inputs()) else "snn"

    def fingerprint(self) -> str:
        """A sha256 of all ops, operands and constants: equal exactly for equal networks."""
        return hashlib.sha256(repr(self._statements()).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self._statements() == other._statements()

    __hash__ = None  # type: ignore[assignment]

    def _statements(self) -> tuple[object, ...]:
        position = {node: i for i, node in enumerate(self.nodes)}
        body = [(_content(self.op(n)), tuple(position[s] for s in self.operands(n))) for n in self.nodes]
        return (self.name, self.steps, self.schedule, body)

    def _inputs(self) -> Iterator[Op]:
        return (self.op(n) for n in self.nodes if self.op(n).mnemonic == "input")

    def _known(self, node: int) -> TensorType:
        assert self._types is not None
        found = self._types[node]
        assert found is not None, f"node {node} has no result"
        return found

    def _connect(self, node: int, operands: Sequence[int]) -> None:
        for position, source in enumerate(operands):
            assert source in self._graph, f"operand {source} does not exist"
            self._graph.add_edge(source, node, key=position)

    def _changed(self) -> None:
        self._order = self._types = None


def _content(op: Op) -> tuple[object, ...]:
    """An op as plain values, with constants by dtype, shape and digest."""
    values = []
    for name, value in vars(op).items():
        if isinstance(value, Constant):
            value = (value.type_name, value.shape, value.digest)
        values.append((name, value))
    return (op.mnemonic, tuple(values))
