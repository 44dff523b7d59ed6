"""An integrate-then-fire network as one model of onnxruntime.

What passes between populations is a code n, a whole number, so that such a network is a quantized ANN:
n = clip(⌊V/θ⌋, 0, N) with V = v_init + Σ 2^shift·W·n_in + B (docs/semantics.md §4). All values are floats,
and every partial sum is proved to be exact: below 2^24 in float32; a larger one is added up from smaller
ones in float64. ⌊V/θ⌋ is right, too: a V/θ that is not whole is further from an integer than it is rounded.

Of a network of real numbers nothing is proved: a code may differ where V/θ is within rounding of an integer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from snnc import fixedpoint
from snnc.backends.fast.byte_product import byte_product, quicker
from snnc.backends.fast.part import parts_of, timed_nodes
from snnc.backends.fast.terms import Term, UnprovedError, bound_of, fits_single, magnitude_of, term_of
from snnc.backends.onnx.build import IR_VERSION, OPSET, Graph, value_name
from snnc.backends.reference.drive import Clock, peak
from snnc.backends.reference.fire import over_time, refuse_variants, total_bias
from snnc.fixedpoint import FLOAT32_EXACT, FLOAT64_EXACT
from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import (
    Add,
    Conv2d,
    Delay,
    Dense,
    IfNeuron,
    Input,
    MaxGate,
    Op,
    Output,
    Readout,
    Scale,
    SumPool,
    Weighted,
)
from snnc.ir.projections import incoming

Array = npt.NDArray[Any]

INEXACT = ("ConvAddFusion", "ConvMulFusion", "MatMulAddFusion")
"""Optimizations of onnxruntime that move a bias or a factor into a sum that was proved without it."""

FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)
"""Permutations that bring channels from the end of [batch, H, W, C] to the front, and back."""

_SINGLE, _DOUBLE, _WHOLE = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32


def code_model(network: Network) -> onnx.ModelProto:
    """The model of an integer network in projection form; raises UnprovedError.

    Its inputs, called by :func:`snnc.backends.onnx.build.value_name`, are those of the network in float32,
    events summed over the run. Its outputs, by :func:`result_name`, are the codes of each population, in
    narrow integers, and what each readout integrates over the run, as floats.
    """
    return _Codes(network).model()


def result_name(node: int) -> str:
    """The ONNX name of a population's codes, or of a readout's current."""
    return f"y{node}"


@dataclasses.dataclass(frozen=True)
class _Frame:
    """What a population's sum is written in: ONNX type, units of 2^``unit``, channels ``last`` or first."""

    kind: int
    unit: int = 0
    last: bool = False


class _Codes(Graph):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.clock = network, Clock.of(network)
        self.timed = timed_nodes(network)
        self.outputs: list[onnx.ValueInfoProto] = []
        self.last: dict[int, str] = {}
        """Codes of populations as bytes [batch, H, W, C]; what no product takes, onnxruntime leaves out."""

    def model(self) -> onnx.ModelProto:
        network = self.network
        for node in network.nodes:
            self._step(node)
        inputs = [self._declared(value_name(n), _SINGLE, n) for n in network.of(Input)]
        graph = helper.make_graph(self.nodes, "codes", inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        return model

    def _step(self, node: int) -> None:
        op = self.network.op(node)
        match op:
            case Input() | Output() | Weighted() | Add():
                # inputs are given; weights and joins are what populations pull through
                pass
            case IfNeuron():
                refuse_variants(op)
                self._emit_codes(node, *self._fire(node, op))
            case Readout():
                terms = self._terms(node)
                kind = _SINGLE if fits_single(terms) else _DOUBLE
                self._emit_result(node, self._total(terms, _Frame(kind)), kind)
            case MaxGate():
                (x,) = self._operands(node)
                self._emit_codes(node, self.emit("Relu", self.largest(op, x, outside=0)))
            case _:
                self._emit_value(node, self._address(node, op))

    def _emit_value(self, node: int, result: str) -> None:
        self.nodes.append(helper.make_node("Identity", [result], [value_name(node)]))

    def _emit_result(self, node: int, result: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Identity", [result], [result_name(node)]))
        self.outputs.append(self._declared(result_name(node), kind, node))

    def _declared(self, name: str, kind: int, node: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", *self.network.type(node).shape])

    def _emit_codes(self, node: int, codes: str, last: bool = False) -> None:
        """Codes are whole already, or not negative, so that what is cut off rounds them down."""
        op = self.network.op(node)
        signed = isinstance(op, IfNeuron) and op.negative
        byte, most = (TensorProto.INT8, 127) if signed else (TensorProto.UINT8, 255)
        kind = byte if self.clock.gain <= most else TensorProto.INT32
        whole = other = self.emit("Cast", codes, to=kind)
        if last:
            whole = self.emit("Transpose", other, perm=FIRST)
        elif len(self.network.type(node).shape) == len(FIRST) - 1:
            other = self.emit("Transpose", whole, perm=LAST)
        if kind == TensorProto.UINT8:
            self.last[node] = other
        self._emit_result(node, whole, kind)
        self._emit_value(node, self.emit("Cast", whole, to=_SINGLE))

    def _operands(self, node: int) -> list[str]:
        """What an address op or a gate takes: beside events, a constant current adds up over the run."""
        found = []
        for source in self.network.operands(node):
            still = node in self.timed and source not in self.timed
            x = value_name(source)
            found.append(self.scaled(x, np.asarray(self.clock.gain)) if still else x)
        return found

    def _address(self, node: int, op: Op) -> str:
        if peak(self.network.type(node)) * self.clock.gain >= FLOAT32_EXACT:
            raise UnprovedError
        operands = self._operands(node)
        if isinstance(op, Delay):
            return operands[0]
        if isinstance(op, SumPool):
            return self.sum_pool(op, operands[0], self.network.type(node).shape[0])
        return self.structural(op, operands)

    def _fire(self, node: int, op: IfNeuron) -> tuple[str, bool]:
        """clip(V/θ, 0, N), or clip(⌊V/θ⌋, −N, N) if negative ones occur, and whether its channels come last.

        Above N·θ V may be rounded. All is counted in the least unit of the terms.
        """
        shape, full = self.network.type(node).shape, self.clock.gain
        theta = over_time(op.threshold, shape, 1)[0]
        start = over_time(op.v_init, shape, 1)[0] + total_bias(op.bias, shape, full)
        terms, rows = self._terms(node), (shape[0], -1)
        bound = bound_of(terms) + np.abs(start).reshape(rows).max(axis=1)
        most = int(bound.max())
        if most >= FLOAT64_EXACT:
            raise UnprovedError
        limit = min(most, fixedpoint.symmetric_limit(op.acc_bits)) if op.saturates else most
        matters = np.minimum(bound, full * theta.reshape(rows).max(axis=1)).max()
        exact = max(matters, np.abs(start).max(), theta.max(), limit * (limit < most)) < FLOAT32_EXACT
        kind = _SINGLE if exact and fits_single(terms) else _DOUBLE
        last = len(shape) == 3 and all(term.codes for term in terms)
        frame = _Frame(kind, min(term.unit for term in terms), last)
        v = self._biased_total(terms, frame, _compact(start), within=most < FLOAT32_EXACT)
        if limit < most:
            widest = math.ldexp(limit, -frame.unit)
            v = self._clip(v, -widest, widest, kind)
        quotient = self.emit("Div", v, self._map(_compact(theta), frame))
        if op.negative:
            return self._clip(self.emit("Floor", quotient), -full, full, kind), frame.last
        return self._clip(quotient, 0, full, kind), frame.last

    def _biased_total(self, terms: Sequence[Term], frame: _Frame, start: Array, *, within: bool) -> str:
        """Σ terms + ``start`` [C, …]; in one op with the first term if that is exact."""
        first = terms[0]
        joint = frame.kind == _SINGLE and within and first.factor == 1 and start.size == len(start)
        if joint and not isinstance(first.op, Scale) and not first.codes:
            return self._total(terms, frame, start)
        total = self._total(terms, frame)
        return self.emit("Add", total, self._map(start, frame)) if start.any() else total

    def _total(self, terms: Sequence[Term], frame: _Frame, start: Array | None = None) -> str:
        """Σ terms, with a bias [C, …] for the first one."""
        values = [self._weigh(term, frame, None if k else start) for k, term in enumerate(terms)]
        return self.emit("Sum", *values) if len(values) > 1 else values[0]

    def _weigh(self, term: Term, frame: _Frame, bias: Array | None) -> str:
        unit = term.unit - frame.unit
        if term.codes:
            assert isinstance(term.op, Conv2d | Dense)
            y, kind, factor = byte_product(self, term.op, term.codes), _WHOLE, term.factor << unit
        else:
            extra = [] if bias is None else [self.floats(np.ldexp(bias.ravel(), -frame.unit))]
            y, kind, factor = self._float_product(term, unit, extra), _SINGLE, term.factor
        y = self._cast(y, kind, frame.kind)
        if term.codes and term.rank == len(LAST) - 1 and not frame.last:
            y = self.emit("Transpose", y, perm=FIRST)
        return self.emit("Mul", y, self._number(factor, frame.kind)) if factor != 1 else y

    def _float_product(self, term: Term, unit: int, bias: Sequence[str]) -> str:
        op = term.op
        weight = np.ldexp(op.weight.array.astype(np.float32), unit)
        match op:
            case Conv2d():
                return self.convolve(op, term.operand, weight, *bias)
            case Dense():
                return self.emit("Gemm", term.operand, self.floats(weight), *bias, transB=1)
        return self.emit("Mul", term.operand, self.per_channel(weight, term.rank))

    def _terms(self, node: int) -> list[Term]:
        """What flows into a population or readout."""
        if self.network.level == "snn":
            return self._real_terms(node)
        found, network = [], self.network
        parts = parts_of(network, node, self.clock, self.timed)
        for weighted, (_, part) in zip(incoming(network, node), parts, strict=True):
            (operand,) = network.operands(weighted)
            seen = part.pooled()
            scale = (1 if part.timed else self.clock.gain) << part.op.shift
            codes = self.last.get(operand, "")
            if codes and quicker(seen):
                magnitude = magnitude_of(part.op, seen.low, seen.high)
                found.append(term_of(part.op, codes, len(seen.shape), magnitude, scale, codes))
                continue
            for op, x in self._pieces(part.op, value_name(operand), seen.low, seen.high):
                found.append(term_of(op, x, len(seen.shape), magnitude_of(op, seen.low, seen.high), scale))
        return found

    def _real_terms(self, node: int) -> list[Term]:
        """Those of real numbers, with no bound: in float32, as it comes."""
        found, nothing = [], np.zeros(1, np.int64)
        for weighted in incoming(self.network, node):
            op, (operand,) = self.network.op(weighted), self.network.operands(weighted)
            assert isinstance(op, Weighted)
            rank = len(self.network.type(operand).shape)
            factor = 1 if operand in self.timed else self.clock.gain
            found.append(Term(op, value_name(operand), rank, 0, factor, nothing))
        return found

    def _pieces(self, op: Weighted, x: str, low: int, high: int) -> Iterator[tuple[Weighted, str]]:
        """Ops on parts of the channels of x, low ≤ x ≤ high, whose sums are exact in float32."""
        if magnitude_of(op, low, high).max() < FLOAT32_EXACT and not op.register_limit:
            yield op, x
            return
        inputs = op.weight.shape[1] if len(op.weight.shape) > 1 and getattr(op, "groups", 1) == 1 else 1
        if inputs == 1 or op.register_limit:
            raise UnprovedError
        for start, stop in ((0, inputs // 2), (inputs // 2, inputs)):
            part = self.emit("Slice", x, *(self.ints([k]) for k in (start, stop, 1)))
            weight = Constant(op.weight.array[:, start:stop])
            yield from self._pieces(dataclasses.replace(op, weight=weight), part, low, high)

    def _clip(self, x: str, low: float, high: float, kind: int) -> str:
        return self.emit("Clip", x, self._number(low, kind), self._number(high, kind))

    def _cast(self, x: str, kind: int, other: int) -> str:
        return x if kind == other else self.emit("Cast", x, to=other)

    def _map(self, value: Array, frame: _Frame) -> str:
        """A constant [C, …] beside a population's sum."""
        value = np.ldexp(value, -frame.unit)
        return self._number(np.moveaxis(value, 0, -1) if frame.last else value, frame.kind)

    def _number(self, value: npt.ArrayLike, kind: int) -> str:
        return self.constant(np.asarray(value, np.float32 if kind == _SINGLE else np.float64))


def _compact(value: Array) -> Array:
    """[C, …] as [C, 1, …] if all sites of a channel are equal."""
    sites = value.reshape(len(value), -1)
    return sites[:, :1].reshape(-1, *(1,) * (value.ndim - 1)) if (sites == sites[:, :1]).all() else value
