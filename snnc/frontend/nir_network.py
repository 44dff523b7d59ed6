"""From a NIR graph to a spiking network.

A file of another tool holds real numbers: it becomes a network at the snn level, with neurons that are
reset to zero and compare with >, as NIR defines them. A file of snnc's own holds integers: it becomes the
integer network that it was made from, up to how its address maps were folded.
"""

from __future__ import annotations

import graphlib
from typing import Any

import numpy as np

from snnc.diagnostics import CompileError, Diagnostics
from snnc.frontend.builder import Builder, Rejected
from snnc.frontend.importer import NodeSupport
from snnc.frontend.limits import Limits
from snnc.frontend.nir_neurons import Neurons, explicit_resets, neurons
from snnc.frontend.nir_weights import Weights, as_pool, weights, window
from snnc.interop.metadata import Metadata
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Add, Dense, IfNeuron, Input, Output, Readout, Reshape, Scale, SumPool

STEPS = 128
"""T of a file that does not say it, as everywhere in snnc."""


class NirImporter:
    """Imports one graph; faults go to ``diagnostics``, each with the name of its NIR node."""

    def __init__(
        self, graph: Any, metadata: Metadata | None, name: str, diagnostics: Diagnostics, limits: Limits
    ) -> None:
        """``graph`` is a nir.NIRGraph whose types were not checked."""
        self.rows: list[NodeSupport] = []
        self._metadata = metadata
        self._diagnostics = diagnostics
        self._builder = Builder(name, limits)
        self._network.steps = metadata.T if metadata else STEPS
        self._network.schedule = "rate"
        self._nodes: dict[str, Any] = dict(graph.nodes)
        self._edges = [(str(a), str(b)) for a, b in graph.edges]
        self._resets = explicit_resets(self._nodes, self._edges)
        self._values: dict[str, int] = {}
        self._biases: dict[int, Any] = {}

    @property
    def _network(self) -> Network:
        return self._builder.network

    def run(self) -> Network:
        """The network; it is complete only if no error was recorded."""
        for name in self._order():
            node, kind = self._nodes[name], type(self._nodes[name]).__name__
            sources = [self._values[s] for s, t in self._edges if t == name and s in self._values]
            try:
                if sources or kind == "Input":
                    self._values[name] = self._convert(name, node, kind, sources)
                    self.rows.append(NodeSupport(name, kind, "ok", ""))
                    continue
                reason = "nothing that leads to it can be read"
            except Rejected as fault:
                reason = fault.message
                self._diagnostics.error(fault.code, reason, where=(name,), remedy=fault.remedy)
            self.rows.append(NodeSupport(name, kind, "refused", reason))
        if not any(True for _ in self._network.of(Output)):
            self._diagnostics.error("SNNC0115", "the graph has no output that an input leads to")
        return self._network

    def _order(self) -> list[str]:
        """The nodes, sources first, feedback of explicit resets left out. Raises CompileError."""
        unknown = {name for edge in self._edges for name in edge} - self._nodes.keys()
        if unknown:
            raise CompileError.of("SNNC0137", f"edges lead to nodes that do not exist: {sorted(unknown)[:4]}")
        inside = {reset.feedback for reset in self._resets.values()}
        self._edges = [(a, b) for a, b in self._edges if a not in inside and b not in inside]
        order = graphlib.TopologicalSorter({name: [] for name in self._nodes if name not in inside})
        for source, target in self._edges:
            order.add(target, source)
        try:
            return list(order.static_order())
        except graphlib.CycleError as error:
            raise CompileError.of(
                "SNNC0110",
                "the graph is recurrent: networks here run from input to output",
                where=list(dict.fromkeys(error.args[1])),
                remedy="only the feedback of an explicit soft reset is understood: I, Threshold, Scale",
            ) from None

    def _convert(self, name: str, node: Any, kind: str, sources: list[int]) -> int:
        if kind == "Input":
            return self._input(name, node)
        if name in self._resets:
            # the integrator of an explicit reset only sums: its threshold is the population
            return self._sum(name, sources)
        match kind:
            case "Conv2d" | "Linear" | "Affine" | "Scale":
                return self._weighted(name, node, self._sum(name, sources))
            case "SumPool2d" | "AvgPool2d":
                return self._pool(name, node, kind, self._sum(name, sources))
            case "Flatten":
                return self._flatten(name, node, self._sum(name, sources))
            case "IF" | "LIF" | "Threshold":
                return self._fire(name, node, self._sum(name, sources))
            case "Output":
                return self._output(name, self._sum(name, sources))
        raise Rejected(
            "SNNC0110",
            f"NIR's {kind} is not supported",
            "it reads Conv2d, Affine, Linear, Scale, SumPool2d, AvgPool2d, Flatten, IF and LIF without leak",
        )

    def _input(self, name: str, node: Any) -> int:
        shape = _shape(node.input_type)
        if self._metadata is None:
            op = Input(name=name, shape=shape, coding="current", origin=(name,))
            return self._builder.add(op)
        codes = self._metadata.input
        op = Input(
            name=codes.name,
            shape=codes.array_shape,
            perm=codes.perm,
            dtype=codes.dtype,
            coding="current",
            bits=codes.bits,
            signed=codes.signed,
            scale=codes.scale,
            origin=(name,),
        )
        return self._reshaped(name, self._builder.add(op), shape)

    def _sum(self, name: str, sources: list[int]) -> int:
        """One operand: several edges into a node add up."""
        if len(sources) == 1:
            return sources[0]
        total = self._builder.add(Add(origin=(name,)), *sources)
        biases = [self._biases.pop(source, 0) for source in sources]
        self._biases[total] = sum(biases, start=np.zeros((), np.int64))
        return total

    def _weighted(self, name: str, node: Any, x: int) -> int:
        """A weighted op; at the int level its bias goes to the population that it feeds."""
        exact = self._metadata is not None
        pool = as_pool(node) if exact else None
        if pool is not None and self._feeds_weights(name):
            return self._builder.add(pool.replace(origin=(name,)), x)
        shape = self._builder.shape(x)
        found: Weights = weights(node, shape, exact=exact)
        if found.kind is Dense and len(shape) > 1:
            x = self._reshaped(name, x, (found.weight.shape[1],))
        fields: dict[str, Any] = {**found.window, "shift": found.shift, "origin": (name,)}
        bias = None if exact or found.bias is None else Constant(found.bias)
        result = self._builder.add(found.kind(weight=Constant(found.weight), bias=bias, **fields), x)
        if exact and found.bias is not None:
            self._biases[result] = found.bias
        return result

    def _feeds_weights(self, name: str) -> bool:
        """Whether a node's result goes into weights: in snnc's files, only that of a pool does."""
        targets = [type(self._nodes[t]).__name__ for s, t in self._edges if s == name]
        return bool(targets) and all(kind == "Conv2d" for kind in targets)

    def _pool(self, name: str, node: Any, kind: str, x: int) -> int:
        op = SumPool(**window(node), origin=(name,))
        pooled = self._builder.add(op, x)
        if kind == "SumPool2d":
            return pooled
        share = Constant(1.0 / (op.kernel[0] * op.kernel[1]))
        return self._builder.add(Scale(weight=share, origin=(name,)), pooled)

    def _flatten(self, name: str, node: Any, x: int) -> int:
        shape = self._builder.shape(x)
        start, end = (int(v) % len(shape) for v in (node.start_dim, node.end_dim))
        middle = int(np.prod(shape[start : end + 1]))
        return self._reshaped(name, x, (*shape[:start], middle, *shape[end + 1 :]))

    def _reshaped(self, name: str, x: int, shape: tuple[int, ...]) -> int:
        if self._builder.shape(x) == shape:
            return x
        return self._builder.add(Reshape(shape=shape, origin=(name,)), x)

    def _fire(self, name: str, node: Any, x: int) -> int:
        found: Neurons = neurons(name, node, self._resets, self._builder.shape(x), self._metadata)
        number = np.int64 if self._metadata else np.float64
        op = IfNeuron(
            threshold=found.threshold,
            bias=Constant(np.asarray(self._biases.get(x, 0), number)),
            v_init=Constant(number(0)),
            unit=found.unit,
            reset=found.reset,
            compare=found.compare,
            origin=(name, *found.origin),
            source=found.source,
        )
        return self._builder.add(op, x)

    def _output(self, name: str, x: int) -> int:
        if self._metadata is None:
            readout = self._builder.add(Readout(origin=(name,)), x)
            return self._builder.add(Output(name=name), readout)
        output = self._metadata.output
        bias = Constant(np.asarray(self._biases.get(x, 0), np.int64))
        readout = self._builder.add(Readout(bias=bias, unit=float(output["unit"]), origin=(name,)), x)
        op = Output(name=str(output["name"]), activation=str(output["activation"]))
        return self._builder.add(op, readout)


def _shape(types: Any) -> tuple[int, ...]:
    """A shape as NIR stores it: a dictionary with one entry."""
    found = next(iter(types.values())) if isinstance(types, dict) and types else types
    try:
        shape = tuple(int(n) for n in np.asarray(found).ravel())
    except (TypeError, ValueError):
        shape = ()
    if not shape or min(shape) < 1:
        raise Rejected("SNNC0115", f"the input's shape {found} is not usable")
    return shape
