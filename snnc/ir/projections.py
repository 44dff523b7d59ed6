"""Populations and the projections between them, as `form-projections` leaves them.

A projection is one weighted op and the paths into it: from a population or an input, through an
address map (docs/semantics.md §3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from snnc.diagnostics import CompileError
from snnc.ir.network import Network
from snnc.ir.ops import Add, IfNeuron, Input, MaxGate, Op, Readout, Weighted

MOST_PATHS = 1 << 10
"""Concatenations of slices of concatenations multiply paths without end."""

POPULATIONS = (IfNeuron, MaxGate, Readout)
SOURCES = (Input, IfNeuron, MaxGate)


@dataclasses.dataclass(frozen=True)
class Path:
    """From node ``source`` through the address ops ``steps``, nearest to the source first.

    A step is a node and the operand position by which the path enters it (the part of a concat).
    """

    source: int
    steps: tuple[tuple[int, int], ...]


def populations(network: Network) -> Iterator[int]:
    """The populations and readouts, in order."""
    return network.of(*POPULATIONS)


def incoming(network: Network, population: int) -> tuple[int, ...]:
    """The weighted ops that feed a neuron population or readout.

    Raises ValueError with the offending op's mnemonic if something else does.
    """
    (source,) = network.operands(population)
    joined = network.operands(source) if isinstance(network.op(source), Add) else (source,)
    for node in joined:
        if not isinstance(network.op(node), Weighted):
            raise ValueError(network.op(node).mnemonic)
    return joined


def paths(network: Network, node: int) -> tuple[Path, ...]:
    """Every path from a source to ``node``, a weighted op or a max gate.

    Raises CompileError (SNNC0104) for more than :data:`MOST_PATHS`.
    """
    found: list[Path] = []
    pending: list[tuple[int, tuple[tuple[int, int], ...]]] = [(node, ())]
    while pending:
        current, steps = pending.pop()
        if current != node and isinstance(network.op(current), SOURCES):
            found.append(Path(current, steps))
            if len(found) > MOST_PATHS:
                raise CompileError.of(
                    "SNNC0104",
                    f"more than {MOST_PATHS} paths of slices and concatenations lead into one layer",
                    where=network.op(node).origin,
                )
            continue
        for position, source in reversed(list(enumerate(network.operands(current)))):
            pending.append((source, steps if current == node else ((current, position), *steps)))
    return tuple(found)


def latency(network: Network) -> int:
    """The steps until a sample's answer is complete (docs/semantics.md §4).

    T under ``rate``; under integrate-then-fire T for each population on the longest path, since none
    fires before its inputs have fired. Max gates and readouts take their input while it arrives.
    """
    assert network.steps is not None
    if network.schedule == "rate":
        return network.steps
    depth: dict[int, int] = {}
    for node in network.nodes:
        before = max((depth[source] for source in network.operands(node)), default=0)
        depth[node] = before + isinstance(network.op(node), IfNeuron)
    return network.steps * max(1, *depth.values())


def is_identity(op: Op) -> bool:
    """Whether a weighted op is one number: the skip of a residual block."""
    return isinstance(op, Weighted) and op.weight.shape == ()


def neuron_updates(network: Network) -> int:
    """How often neurons are updated for one sample, at least once: codes are made in one step."""
    steps = network.steps if network.schedule == "rate" and network.steps else 1
    return steps * max(1, sum(network.type(n).size for n in network.of(IfNeuron)))
