"""The network: a directed multigraph of ops. The only class that touches networkx.

An edge is a tensor; its key is the operand's position, so that ``x + x`` and ``Concat(x, x)`` exist.
Order is lexicographic topological: the smallest number whose operands are all there comes first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import networkx as nx

from snnc.ir.constants import Constant
from snnc.ir.ops import Level, Op
from snnc.ir.schedule import Schedule, full_count, spike_values
from snnc.ir.types import TensorType


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
        self._next = 0
        self._order: tuple[int, ...] | None = ()
        self._appended: list[int] = []
        self._types: dict[int, TensorType | None] = {}
        # both are asked for again and again: with thousands of nodes, they would take a third of the time
        self._sources: dict[int, tuple[int, ...]] = {}
        self._contents: dict[int, tuple[Op, str]] = {}

    def copy(self) -> Network:
        """A network that can be edited apart; ops and constants are shared."""
        twin = Network(self.name, steps=self.steps, schedule=self.schedule)
        twin._graph = self._graph.copy()
        twin._next, twin._order, twin._appended = self._next, self._order, list(self._appended)
        twin._types, twin._sources = dict(self._types), dict(self._sources)
        twin._contents = dict(self._contents)
        return twin

    def add(self, op: Op, *operands: int) -> int:
        """Append an op; returns its number."""
        node = self._next
        self._next += 1
        self._graph.add_node(node, op=op)
        self._connect(node, operands)
        # it has the greatest number and no users, so it comes last
        self._appended.append(node)
        return node

    @property
    def next_number(self) -> int:
        """The number that the next added node gets; those of all nodes are below."""
        return self._next

    def __contains__(self, node: int) -> bool:
        return node in self._graph

    def op(self, node: int) -> Op:
        """The op of a node."""
        op: Op = self._graph.nodes[node]["op"]
        return op

    def operands(self, node: int) -> tuple[int, ...]:
        """The nodes whose results a node takes, in order."""
        if node not in self._sources:
            sources = self._graph.pred[node]
            places = sorted((position, source) for source, keys in sources.items() for position in keys)
            self._sources[node] = tuple(source for _, source in places)
        return self._sources[node]

    def upstream(self, node: int, stop: Callable[[int], bool]) -> tuple[int, ...]:
        """``node`` and what it depends on, each once, operands first; nothing beyond where ``stop`` holds."""
        found: dict[int, None] = {}
        pending = [(node, False)]
        while pending:
            n, operands_done = pending.pop()
            if n in found:
                continue
            if operands_done or stop(n):
                found[n] = None
                continue
            pending.append((n, True))
            pending += [(source, False) for source in reversed(self.operands(n))]
        return tuple(found)

    def users(self, node: int) -> tuple[int, ...]:
        """The nodes that take a node's result, each once, ascending."""
        return tuple(sorted(self._graph.successors(node)))

    def use_count(self, node: int) -> int:
        """How many operands of other nodes a node's result is."""
        return int(self._graph.out_degree(node))

    def set(self, node: int, op: Op, operands: Sequence[int] | None = None) -> None:
        """Put another op, and other operands if given, in a node's place."""
        self._graph.nodes[node]["op"] = op
        if operands is not None:
            self._graph.remove_edges_from(list(self._graph.in_edges(node, keys=True)))
            self._connect(node, operands)
            self._order = None
        self._forget_types(node)

    def redirect(self, old: int, new: int, *, keep: Sequence[int] = ()) -> None:
        """Make every user of ``old`` take ``new`` instead, apart from those in ``keep``."""
        for user in self.users(old):
            if user not in keep:
                self._sources.pop(user, None)
                # one by one: a user may have thousands of other operands
                for position in list(self._graph[old][user]):
                    self._graph.remove_edge(old, user, position)
                    self._graph.add_edge(new, user, key=position)
                self._forget_types(user)
        self._order = None

    def remove(self, node: int) -> None:
        """Remove a node that nothing uses."""
        assert not self.users(node), f"node {node} is still in use"
        self._graph.remove_node(node)
        for known in (self._types, self._sources, self._contents):
            known.pop(node, None)
        self._order = None

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
        kept = tuple(n for n in self.nodes if n in needed)
        self._graph.remove_nodes_from([n for n in self.nodes if n not in needed])
        self._types = {n: t for n, t in self._types.items() if n in needed}
        self._sources = {n: s for n, s in self._sources.items() if n in needed}
        self._contents = {n: c for n, c in self._contents.items() if n in needed}
        self._order = kept

    @property
    def nodes(self) -> tuple[int, ...]:
        """All nodes, in lexicographic topological order. Raises ValueError on a cycle."""
        if self._order is None:
            try:
                self._order = tuple(nx.lexicographical_topological_sort(self._graph))
            except nx.NetworkXUnfeasible:
                raise ValueError("the network has a cycle") from None
        elif self._appended:
            self._order += tuple(self._appended)
        self._appended.clear()
        return self._order

    def of(self, *kinds: type[Op]) -> Iterator[int]:
        """The nodes whose op is one of ``kinds``, in order."""
        return (n for n in self.nodes if isinstance(self.op(n), kinds))

    def type(self, node: int) -> TensorType:
        """The type of a node's result. Raises ValueError on a cycle."""
        pending, entered = [node], set[int]()
        while pending:
            n = pending[-1]
            missing = [] if n in self._types else [s for s in self.operands(n) if s not in self._types]
            if missing and n in entered:
                raise ValueError("the network has a cycle")
            entered.add(n)
            pending += missing
            if not missing:
                pending.pop()
                if n not in self._types:
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
        inputs = (op for _, op in self._graph.nodes(data="op") if op.mnemonic == "input")
        return "int" if any(op.bits for op in inputs) else "snn"

    @property
    def spike_values(self) -> tuple[int, ...]:
        """What a spike of each of the T steps counts."""
        assert self.steps is not None
        assert self.schedule is not None
        return spike_values(self.schedule, self.steps)

    @property
    def full_count(self) -> int:
        """N, what a neuron counts that fires at every step."""
        assert self.steps is not None
        assert self.schedule is not None
        return full_count(self.schedule, self.steps)

    def fingerprint(self) -> str:
        """A sha256 of all ops, operands and constants: equal exactly for equal networks."""
        position = {node: i for i, node in enumerate(self.nodes)}
        found = hashlib.sha256(repr((self.name, self.steps, self.schedule)).encode())
        for node in self.nodes:
            operands = [position[s] for s in self.operands(node)]
            found.update(f"{self._said(node)}{operands}\n".encode())
        return found.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self._statements() == other._statements()

    __hash__ = None  # type: ignore[assignment]

    def _statements(self) -> tuple[object, ...]:
        position = {node: i for i, node in enumerate(self.nodes)}
        body = [(_content(self.op(n)), tuple(position[s] for s in self.operands(n))) for n in self.nodes]
        return (self.name, self.steps, self.schedule, body)

    def _said(self, node: int) -> str:
        """The op as text; ops never change, so that of the same op is the same."""
        op, text = self._contents.get(node, (None, ""))
        if op is not self.op(node):
            op = self.op(node)
            text = repr(_content(op))
            self._contents[node] = op, text
        return text

    def _known(self, node: int) -> TensorType:
        found = self._types[node]
        assert found is not None, f"node {node} has no result"
        return found

    def _connect(self, node: int, operands: Sequence[int]) -> None:
        self._sources.pop(node, None)
        for position, source in enumerate(operands):
            assert source in self._graph, f"operand {source} does not exist"
            self._graph.add_edge(source, node, key=position)

    def _forget_types(self, node: int) -> None:
        """Types of a node and of all that depends on it; what is unknown has no known dependents."""
        pending = [node]
        while pending:
            n = pending.pop()
            if n in self._types:
                del self._types[n]
                pending += self._graph.successors(n)


def _content(op: Op) -> tuple[object, ...]:
    """An op as plain values, with constants by dtype, shape and digest."""
    values = []
    for name, value in vars(op).items():
        if isinstance(value, Constant):
            value = (value.type_name, value.shape, value.digest)
        values.append((name, value))
    return (op.mnemonic, tuple(values))
