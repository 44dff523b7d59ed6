"""The verifier: what must hold of every network, its errors shown inside the printed IR."""

from __future__ import annotations

from snnc.diagnostics import CompileError, Diagnostic
from snnc.ir.network import Network
from snnc.ir.ops import Input, Level, Op, Output, Weighted
from snnc.ir.printer import print_network
from snnc.ir.schedule import MOST_PHASES
from snnc.ir.types import TensorType

MOST_STEPS = 1 << 16


def problems(network: Network) -> dict[int, list[str]]:
    """What is wrong at each node; empty if the network is valid.

    Nodes that depend on a faulty one are not examined: their types are unknown.
    """
    found: dict[int, list[str]] = {}
    types: dict[int, TensorType | None] = {}
    level = network.level
    for node in network.nodes:
        sources = network.operands(node)
        if any(types.get(s) is None for s in sources):
            if any(s in types for s in sources):
                found.setdefault(node, []).append("an operand has no result")
            continue
        operands = [t for s in sources if (t := types[s]) is not None]
        faults = _local(level, network.op(node), operands)
        if faults:
            found[node] = faults
        else:
            types[node] = network.op(node).result(operands)
    _registers(network, found)
    _globally(network, found)
    return found


def _local(level: Level, op: Op, operands: list[TensorType]) -> list[str]:
    least, most = op.arity
    if len(operands) < least or (most is not None and len(operands) > most):
        return [f"takes {least if most == least else f'{least} or more'} operands, not {len(operands)}"]
    faults = list(op.check(operands))
    if level not in op.levels:
        faults.append(f"does not exist at the {level} level")
    return faults


def _registers(network: Network, found: dict[int, list[str]]) -> None:
    for node in network.of(Weighted) if network.schedule != "rate" else ():
        op = network.op(node)
        if isinstance(op, Weighted) and op.register_limit:
            message = "a register holds the current of one step: the schedule must be rate"
            found.setdefault(node, []).append(message)


def _globally(network: Network, found: dict[int, list[str]]) -> None:
    if (network.steps is None) != (network.schedule is None):
        found.setdefault(-1, []).append("T and schedule are set together or not at all")
    if network.steps is not None and not 1 <= network.steps <= MOST_STEPS:
        found.setdefault(-1, []).append(f"T must lie within 1 and {MOST_STEPS}, not {network.steps}")
    if network.schedule == "phase" and (network.steps or 1) > MOST_PHASES:
        found.setdefault(-1, []).append(f"phase takes at most {MOST_PHASES} steps, not {network.steps}")
    spiking = network.steps is not None
    for kind in (Input, Output):
        names: set[str] = set()
        for node in network.of(kind):
            op = network.op(node)
            assert isinstance(op, Input | Output)
            if op.name in names:
                found.setdefault(node, []).append(f"the {op.mnemonic} {op.name!r} exists already")
            names.add(op.name)
            if isinstance(op, Input) and bool(op.coding) != spiking:
                found.setdefault(node, []).append("an input has a coding exactly when T is set")
        if not names:
            found.setdefault(-1, []).append(f"the network has no {kind.mnemonic}")


def verify(network: Network) -> None:
    """Raise CompileError, with the errors inside the printed IR, unless the network is valid."""
    found = problems(network)
    if not found:
        return
    diagnostics = [
        Diagnostic("error", "SNNC0151", message, network.op(node).origin if node >= 0 else ())
        for node, messages in sorted(found.items())
        for message in messages
    ]
    raise CompileError(diagnostics, print_network(network, errors=found))
