"""A NIR graph before it is one: named nodes with their parameters, and edges, all plain values.

NIR's own classes are used when it is written. Rules that all known importers need: names of letters,
digits and ``_``; one input and one output; biases always present; everything [C, H, W].
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.backends.netlist.model import Netlist, Population, SumPool, volume
from snnc.backends.nir.fold import Convolution, Linear, linear
from snnc.interop.metadata import Dialect

Floats = npt.NDArray[np.float32]

DT = 1e-4
"""Seconds per step: what importers assume where they need one."""

SLOW = 2.0**40
"""τ/dt of a LIF neuron whose leak is nothing in float32."""


@dataclasses.dataclass
class Graph:
    """``nodes[name]`` is a NIR class and its arguments; insertion order is topological."""

    nodes: dict[str, tuple[str, dict[str, Any]]] = dataclasses.field(default_factory=dict)
    edges: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def add(self, name: str, kind: str, *sources: str, **parameters: Any) -> str:
        """Append a node with an edge from each of ``sources``; returns its name."""
        self.nodes[name] = (kind, parameters)
        self.edges += [(source, name) for source in sources]
        return name


def build(netlist: Netlist, dialect: Dialect) -> Graph:
    """The graph of a netlist that passed the checks; populations keep their names."""
    graph = Graph()
    (port,) = netlist.inputs
    names = {port.name: "input"}
    graph.add("input", "Input", input_type=_shape(volume(port.shape), "input"))
    for population in netlist.populations:
        currents = _currents(graph, netlist, population, names)
        names[population.name] = population.name
        if population.kind == "readout":
            shape = _shape(volume(population.shape), "output")
            graph.add("output", "Output", *currents, output_type=shape)
        else:
            _neurons(graph, population, currents, dialect)
    return graph


def _currents(graph: Graph, netlist: Netlist, population: Population, names: dict[str, str]) -> list[str]:
    """The nodes whose sum is Z(t) + b; the bias is in the first."""
    assert population.bias is not None
    bias = uniform_bias(population)
    found = []
    for k, projection in enumerate(netlist.incoming(population.name)):
        parts: Linear = linear(netlist, projection)
        source, operand = names[projection.source], volume(netlist.nodes[projection.source].shape)
        if parts.pool is not None:
            source, operand = _pool(graph, f"{population.name}_pool{k}", source, operand, parts.pool)
        name = f"{population.name}_weights{k}"
        found.append(_convolve(graph, name, source, operand, parts.weights, bias if k == 0 else 0 * bias)[0])
    return found


def uniform_bias(population: Population) -> npt.NDArray[np.int64]:
    """The bias as [C]; the checks have found it equal at all positions of a channel."""
    assert population.bias is not None
    values = population.bias.values.astype(np.int64)
    per_channel = values.reshape(*values.shape[:1], -1)[:, 0] if values.ndim else values
    return np.array(np.broadcast_to(per_channel, population.shape[:1]))


def _pool(
    graph: Graph, name: str, source: str, operand: tuple[int, int, int], pool: SumPool | Convolution
) -> tuple[str, tuple[int, int, int]]:
    """Append a pool; returns its name and the shape of its result."""
    if isinstance(pool, Convolution):
        zero = np.zeros(len(pool.weight), np.int64)
        return _convolve(graph, name, source, operand, pool, zero)
    sizes = {"kernel_size": pool.kernel, "stride": pool.strides, "padding": (0, 0)}
    graph.add(name, "SumPool2d", source, **{key: np.array(pair) for key, pair in sizes.items()})
    return name, volume(pool.result(operand))


def _convolve(
    graph: Graph,
    name: str,
    source: str,
    operand: tuple[int, int, int],
    convolution: Convolution,
    bias: npt.NDArray[np.int64],
) -> tuple[str, tuple[int, int, int]]:
    """Append a convolution; returns its name and the shape of its result."""
    graph.add(
        name,
        "Conv2d",
        source,
        input_shape=operand[1:],
        weight=convolution.weight.astype(np.float32),
        stride=convolution.stride,
        padding=convolution.padding,
        dilation=convolution.dilation,
        groups=1,
        bias=bias.astype(np.float32),
    )
    side = convolution.weight.shape[2]
    windows = [
        (n + 2 * p - (side - 1) * d - 1) // s + 1
        for n, p, d, s in zip(
            operand[1:], convolution.padding, convolution.dilation, convolution.stride, strict=True
        )
    ]
    return name, (len(bias), windows[0], windows[1])


def _neurons(graph: Graph, population: Population, currents: list[str], dialect: Dialect) -> None:
    """Append a population. Thresholds stand half-way between the integers that membranes are.

    u ≥ θ is u > θ − ½ and u > θ is u ≥ θ + ½, so that a consumer's comparison does not matter. Where one
    number is both threshold and soft reset, it is θ.
    """
    assert population.threshold is not None
    theta = float(population.threshold.values.flat[0])
    between = theta - 0.5 if population.compare == "ge" else theta + 0.5
    shape = volume(population.shape)
    if dialect == "explicit-soft-reset":
        membrane, reset = f"{population.name}_membrane", f"{population.name}_reset"
        graph.add(membrane, "I", *currents, r=_full(shape, 1))
        graph.add(population.name, "Threshold", membrane, threshold=_full(shape, between))
        graph.add(reset, "Scale", population.name, scale=_full(shape, -theta))
        graph.edges.append((reset, membrane))
        return
    parameters = {"r": 1.0, "v_threshold": theta if population.reset == "subtract" else between}
    if dialect == "lif":
        parameters |= {"tau": DT * SLOW, "r": SLOW, "v_leak": 0.0}
    arrays = {name: _full(shape, value) for name, value in parameters.items()}
    graph.add(population.name, dialect.upper(), *currents, **arrays)


def _full(shape: tuple[int, ...], value: float) -> Floats:
    return np.full(shape, value, np.float32)


def _shape(shape: tuple[int, ...], name: str) -> dict[str, Any]:
    return {name: np.array(shape)}
