"""From an int-level network, as ``form-projections`` and ``quantize`` leave it, to a netlist.

The only lowering of snnc: all that stands below it is made from the netlist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from snnc import fixedpoint
from snnc.backends.netlist import model
from snnc.backends.netlist.model import Memory, Netlist
from snnc.diagnostics import Diagnostics
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Concat,
    Conv2d,
    Delay,
    Dense,
    IfNeuron,
    Input,
    MaxGate,
    Op,
    Output,
    Pad,
    Readout,
    Reshape,
    Slice,
    SumPool,
    Transpose,
    Weighted,
    has_time,
)
from snnc.ir.projections import Path, incoming, paths, populations

_ADDRESS = (Reshape, Transpose, Slice, Pad, Concat, SumPool, Delay)
_FORM = "run form-projections and quantize before this backend"


def lower(network: Network) -> Netlist:
    """The netlist of an int-level network; ``p<k>`` is the k-th of ``network.nodes``.

    Raises CompileError: SNNC0155 if the network is not in the form that ``form-projections`` and
    ``quantize`` produce, SNNC0130 if a width is not proved to fit into 63 bits.
    """
    _validate(network)
    lowering = _Lowering(network)
    assert network.steps is not None
    assert network.schedule is not None
    return Netlist(
        name=network.name,
        steps=network.steps,
        schedule=network.schedule,
        inputs=tuple(lowering.inputs()),
        populations=tuple(lowering.populations()),
        projections=tuple(lowering.projections()),
        outputs=tuple(lowering.outputs()),
    )


def _validate(network: Network) -> None:
    found = Diagnostics()
    if network.level != "int":
        found.error("SNNC0155", f"a netlist is made at the int level, not {network.level}", remedy=_FORM)
    found.raise_errors()
    for node in network.nodes:
        op = network.op(node)
        for problem in _problems(network, node):
            found.error("SNNC0155", problem, where=op.origin, remedy=_FORM)
        if isinstance(op, IfNeuron | Readout) and op.acc_bits > fixedpoint.WIDEST_BITS:
            found.error(
                "SNNC0130",
                f"a membrane needs {op.acc_bits} bits, more than {fixedpoint.WIDEST_BITS}",
                where=op.origin,
                remedy="use fewer weight bits or fewer steps",
            )
    found.raise_errors()


def _problems(network: Network, node: int) -> Iterator[str]:
    """What keeps one node from being part of a netlist."""
    op = network.op(node)
    if isinstance(op, Input) and not op.bits:
        yield f"the input {op.name!r} is not quantised"
    if isinstance(op, Output) and not isinstance(network.op(network.operands(node)[0]), Readout):
        yield f"the output {op.name!r} does not come from a readout"
    if isinstance(op, IfNeuron | Readout):
        yield from _population_problems(network, node)
    if isinstance(op, IfNeuron | MaxGate) and not (op.amplitude.array == 1).all():
        yield "an amplitude other than 1 was not moved into the weights"
    if isinstance(op, Weighted | MaxGate):
        yield from _path_problems(network, node)
    if isinstance(op, Weighted):
        if not op.weight.is_integer or op.bias is not None:
            yield f"{op.mnemonic} needs integer weights and no bias of its own"
        if op.shift < 0:
            yield f"a shift of {op.shift} would lose fraction bits"


def _population_problems(network: Network, node: int) -> Iterator[str]:
    op = network.op(node)
    assert isinstance(op, IfNeuron | Readout)
    try:
        incoming(network, node)
    except ValueError as error:
        yield f"{op.mnemonic} is fed by {error} where a weighted op is needed"
    parameters = {"bias": op.bias}
    if isinstance(op, IfNeuron):
        parameters |= {"threshold": op.threshold, "v_init": op.v_init}
        if network.schedule != "rate" and (
            op.reset != "subtract" or op.compare != "ge" or has_time(op.threshold)
        ):
            yield "integrate-then-fire needs soft reset, ≥ and a constant threshold"
    for name, constant in parameters.items():
        if not constant.is_integer and constant.array.any():
            yield f"the {name} is not integer"
        if has_time(constant) and constant.shape[0] != network.steps:
            yield f"the {name} covers {constant.shape[0]} steps, the network runs {network.steps}"


def _path_problems(network: Network, node: int) -> Iterator[str]:
    """A population or weighted op is entered from populations, through address ops only."""
    between = (n for path in paths(network, node) for n, _ in path.steps)
    for inner in dict.fromkeys(between):
        if not isinstance(network.op(inner), _ADDRESS):
            yield f"{network.op(inner).mnemonic} stands before {network.op(node).mnemonic}"


class _Lowering:
    """Names and memories of one lowering."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.names = {node: f"p{position}" for position, node in enumerate(network.nodes)}
        self.multiplicities: dict[int, Memory] = {}

    def inputs(self) -> Iterator[model.InputPort]:
        for node in self.network.of(Input):
            op = self.network.op(node)
            assert isinstance(op, Input)
            yield model.InputPort(
                name=self.names[node],
                input=op.name,
                shape=self.network.type(node).shape,
                array_shape=op.shape,
                perm=op.perm,
                dtype=op.dtype,
                bits=op.bits,
                signed=op.signed,
                scale=op.scale,
                coding="events" if op.coding == "events" else "current",
                max_count=op.max_count,
                origin=op.origin,
                source=op.source,
            )

    def outputs(self) -> Iterator[model.OutputPort]:
        for node in self.network.of(Output):
            op = self.network.op(node)
            assert isinstance(op, Output)
            readout = self.names[self.network.operands(node)[0]]
            yield model.OutputPort(name=op.name, population=readout, activation=op.activation)

    def populations(self) -> Iterator[model.Population]:
        for node in populations(self.network):
            op = self.network.op(node)
            if isinstance(op, MaxGate):
                yield self._gate(node, op)
            elif isinstance(op, IfNeuron):
                yield self._neurons(node, op)
            else:
                assert isinstance(op, Readout)
                yield self._readout(node, op)

    def _gate(self, node: int, op: MaxGate) -> model.Population:
        return model.Population(
            name=self.names[node],
            kind="max",
            shape=self.network.type(node).shape,
            unit=_floats(op.unit),
            window=model.Window(op.kernel, op.strides, op.pads),
            gate=op.gate,
            origin=op.origin,
            source=op.source,
        )

    def _neurons(self, node: int, op: IfNeuron) -> model.Population:
        name = self.names[node]
        return model.Population(
            name=name,
            kind="if",
            shape=self.network.type(node).shape,
            threshold=_parameter(f"{name}_threshold", op.threshold),
            bias=_parameter(f"{name}_bias", op.bias),
            v_init=_parameter(f"{name}_v_init", op.v_init),
            signed=op.signed,
            rectified=op.rectified,
            reset=op.reset,
            compare=op.compare,
            fraction_bits=op.fraction_bits,
            acc_bits=op.acc_bits,
            saturates=op.saturates,
            unit=_floats(op.unit),
            scale=_floats(op.scale),
            origin=op.origin,
            source=op.source,
        )

    def _readout(self, node: int, op: Readout) -> model.Population:
        name = self.names[node]
        return model.Population(
            name=name,
            kind="readout",
            shape=self.network.type(node).shape,
            bias=_parameter(f"{name}_bias", op.bias),
            fraction_bits=op.fraction_bits,
            acc_bits=op.acc_bits,
            saturates=op.saturates,
            unit=(op.unit,),
            scale=(op.scale,),
            origin=op.origin,
            source=op.source,
        )

    def projections(self) -> Iterator[model.Projection]:
        for node in populations(self.network):
            if isinstance(self.network.op(node), MaxGate):
                for path in paths(self.network, node):
                    yield self._projection(path, self.names[node], None, None)
                continue
            for group, weighted in enumerate(incoming(self.network, node)):
                op = self.network.op(weighted)
                assert isinstance(op, Weighted)
                weights = Memory(f"{self.names[node]}_weights{group}", op.weight.array)
                for path in paths(self.network, weighted):
                    yield self._projection(path, self.names[node], op, weights)

    def _projection(
        self, path: Path, target: str, op: Weighted | None, weights: Memory | None
    ) -> model.Projection:
        address, delay = self._address(path)
        conv = op if isinstance(op, Conv2d) else Conv2d(weight=Constant(0))
        return model.Projection(
            source=self.names[path.source],
            target=target,
            kind=_kind(op),
            address=address,
            delay=delay,
            weights=weights,
            shift=op.shift if op is not None else 0,
            register=model.Register(*op.register) if op is not None and op.register_limit else None,
            strides=conv.strides,
            pads=conv.pads,
            dilations=conv.dilations,
            groups=conv.groups,
            origin=op.origin if op is not None else (),
        )

    def _address(self, path: Path) -> tuple[tuple[model.AddressStep, ...], int]:
        """The address steps of a path and its total delay, which commutes with them."""
        steps: list[model.AddressStep] = []
        delay = 0
        for node, position in path.steps:
            op = self.network.op(node)
            if isinstance(op, Delay):
                delay += op.steps
            else:
                steps.append(self._step(node, op, position))
        return tuple(steps), delay

    def _step(self, node: int, op: Op, position: int) -> model.AddressStep:
        match op:
            case Reshape():
                return model.Reshape(op.shape)
            case Transpose():
                return model.Transpose(op.perm)
            case Slice():
                return model.Slice(op.starts, op.stops, op.steps)
            case Pad():
                return model.Pad(op.before, op.after)
            case Concat():
                return _part(op, [t.shape for t in self.network.operand_types(node)], position)
            case SumPool():
                return model.SumPool(op.kernel, op.strides, op.pads, self._multiplicity(node, op))
        raise AssertionError(f"{op.mnemonic} is not an address op")

    def _multiplicity(self, node: int, op: SumPool) -> Memory | None:
        if op.multiplicity is None:
            return None
        name = f"{self.names[node]}_multiplicity"
        return self.multiplicities.setdefault(node, Memory(name, op.multiplicity.array))


def _kind(op: Weighted | None) -> model.ProjectionKind:
    if op is None:
        return "none"
    if isinstance(op, Conv2d):
        return "conv"
    return "dense" if isinstance(op, Dense) else "scale"


def _part(op: Concat, shapes: Sequence[model.Shape], position: int) -> model.Pad:
    """The padding that puts one operand of a concatenation in its place."""
    rank = len(shapes[0])
    sizes = [shape[op.axis] for shape in shapes]
    before, after = [0] * rank, [0] * rank
    before[op.axis], after[op.axis] = sum(sizes[:position]), sum(sizes[position + 1 :])
    return model.Pad(tuple(before), tuple(after))


def _parameter(name: str, constant: Constant) -> Memory:
    """An integer parameter; a real zero, the default of the ops, counts as integer."""
    return Memory(name, constant.array if constant.is_integer else constant.array.astype(np.int64))


def _floats(constant: Constant) -> tuple[float, ...]:
    return tuple(constant.array.ravel().astype(np.float64).tolist())
