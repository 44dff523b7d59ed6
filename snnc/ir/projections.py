"""Populations and the projections between them, as `form-projections` leaves them.

A projection is one weighted op and the paths into it: from a population or an input, through an
address map (docs/semantics.md §3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from snnc.ir.network import Network
from snnc.ir.ops import Add, IfNeuron, Input, MaxGate, Op, Readout, Weighted

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
    """Every path from a source to ``node``, a weighted op or a max gate."""
    found: list[Path] = []

    def walk(current: int, tail: tuple[tuple[int, int], ...]) -> None:
        for position, source in enumerate(network.operands(current)):
            steps = tail if current == node else ((current, position), *tail)
            if isinstance(network.op(source), SOURCES):
                found.append(Path(source, steps))
            else:
                walk(source, steps)

    walk(node, ())
    return tuple(found)


def is_identity(op: Op) -> bool:
    """Whether a weighted op is one number: the skip of a residual block."""
    return isinstance(op, Weighted) and op.weight.shape == ()
