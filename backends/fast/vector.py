"""Vector instructions that numba has no words for, as LLVM IR; portable to every processor.

LLVM splits the vectors into registers of the machine. Numba's own vectorizer would check at every
call whether the operands overlap, which costs more than adding the few lanes of one event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.extending import intrinsic

Code = tuple[Any, Callable[..., Any]]


def _instruction(function: Callable[..., Code]) -> Callable[..., Any]:
    """``function`` as numba calls it: without the typing context, constants as such."""
    made: Callable[..., Any] = intrinsic(prefer_literal=True)(function)
    return made


_I64 = ir.IntType(64)
_WIDE, _NARROW = 32, 16
_OCTET = 8

_COMPRESSES = get_host_cpu_features().get("avx512vbmi2", False)
"""Elsewhere LLVM would move the elements of a compressed vector one by one."""


class _Array:
    """A one-dimensional contiguous array in generated code."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self.builder = builder
        self.element = context.get_data_type(kind.dtype)
        self.data = context.make_array(kind)(context, builder, value).data

    def at(self, index: Any, lanes: int) -> Any:
        """A pointer to the vector of ``lanes`` elements that begins at ``index``."""
        pointer = self.builder.gep(self.data, [index])
        return self.builder.bitcast(pointer, ir.VectorType(self.element, lanes).as_pointer())

    def load(self, index: Any, lanes: int, wide: Any = None) -> Any:
        """``lanes`` elements from ``index`` on, sign-extended to ``wide`` if that is wider."""
        value = self.builder.load(self.at(index, lanes))
        value.align = self.element.width // 8
        if wide is not None and wide.width > self.element.width:
            value = self.builder.sext(value, ir.VectorType(wide, lanes))
        return value

    def store(self, value: Any, index: Any) -> None:
        """Write a vector from ``index`` on."""
        self.builder.store(value, self.at(index, value.type.count)).align = self.element.width // 8


@_instruction
def add_rows(
    typing: Any,
    z: Any,
    at: Any,
    offsets: Any,
    target: Any,
    weights: Any,
    block: Any,
    rows: Any,
    first: Any,
    last: Any,
    lanes: Any,
    together: Any,
) -> Code:
    """Add Σ w[rows[e]] over first ≤ e < last to z at ``at + offsets[target + k]`` for k < ``together``.

    Row r of the weights, ``weights[block + r·together·lanes:]``, holds ``lanes`` elements for each k. The
    sums stay in registers; ``lanes``, a multiple of 16, and ``together`` are constants, and first < last.
    """
    count, targets = lanes.literal_value, together.literal_value

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        total, places, w, ids = (_Array(context, b, signature.args[k], values[k]) for k in (0, 2, 4, 6))
        pieces = []
        for k in range(targets):
            place = b.load(b.gep(places.data, [b.add(values[3], _i64(k))]))
            begin = b.add(values[1], place)
            pieces += [(b.add(begin, _i64(o)), k * count + o, n) for o, n in _pieces(count)]
        before = [total.load(place, n) for place, _, n in pieces]
        entry, loop, done = b.block, b.append_basic_block("rows"), b.append_basic_block("done")
        b.branch(loop)
        b.position_at_end(loop)
        event = b.phi(_I64)
        event.add_incoming(values[7], entry)
        sums = [b.phi(v.type) for v in before]
        row = b.zext(b.load(b.gep(ids.data, [event])), _I64)
        start = b.add(values[5], b.mul(row, _i64(count * targets)))
        following = b.add(event, _i64(1))
        event.add_incoming(following, loop)
        after = []
        for phi, start_value, (_, o, n) in zip(sums, before, pieces, strict=True):
            phi.add_incoming(start_value, entry)
            after.append(b.add(phi, w.load(b.add(start, _i64(o)), n, total.element)))
            phi.add_incoming(after[-1], loop)
        b.cbranch(b.icmp_signed("<", following, values[8]), loop, done)
        b.position_at_end(done)
        for value, (place, _, _) in zip(after, pieces, strict=True):
            total.store(value, place)
        return context.get_dummy_value()

    arguments = (z, at, offsets, target, weights, block, rows, first, last, lanes, together)
    return types.void(*arguments), generate


@_instruction
def add_product(typing: Any, z: Any, at: Any, weights: Any, row: Any, x: Any, site: Any, lanes: Any) -> Code:
    """z[at:at+lanes] += weights[row:row+lanes]·x[site:site+lanes], element by element."""
    count = lanes.literal_value

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        total, w, operand = (_Array(context, b, signature.args[k], values[k]) for k in (0, 2, 4))
        factor = w.load(values[3], count, total.element)
        product = b.mul(factor, operand.load(values[5], count, total.element))
        total.store(b.add(total.load(values[1], count), product), values[1])
        return context.get_dummy_value()

    return types.void(z, at, weights, row, x, site, lanes), generate


@_instruction
def append_events(
    typing: Any, rows: Any, end: Any, x: Any, site: Any, bit: Any, row: Any, lanes: Any
) -> Code:
    """Append ``row + k`` to ``rows[:end]`` for every k < lanes with x[site + k] & bit; how many.

    Writes ``lanes`` elements, of which those past the returned number mean nothing.
    """
    count = lanes.literal_value

    def generate(context: Any, b: Any, signature: Any, values: Any) -> Any:
        ids, operand = (_Array(context, b, signature.args[k], values[k]) for k in (0, 2))
        found = b.and_(operand.load(values[3], count), _splat(b, values[4], operand.element, count))
        mask = b.icmp_unsigned("!=", found, ir.Constant(found.type, [0] * count))
        if _COMPRESSES:
            vector = ir.VectorType(ids.element, count)
            numbers = b.add(ir.Constant(vector, list(range(count))), _splat(b, values[5], ids.element, count))
            kind = ir.FunctionType(vector, [vector, mask.type, vector])
            name = f"llvm.experimental.vector.compress.v{count}i{ids.element.width}"
            compress = b.module.globals.get(name) or ir.Function(b.module, kind, name)
            ids.store(b.call(compress, [numbers, mask, ir.Constant(vector, ir.Undefined)]), values[1])
            return b.zext(b.ctpop(b.bitcast(mask, ir.IntType(count))), _I64)
        end, rest = values[1], b.bitcast(mask, ir.IntType(count))
        for lane in range(0, count, _OCTET):
            bits = b.trunc(b.lshr(rest, ir.Constant(rest.type, lane)), ir.IntType(_OCTET))
            place = b.gep(_set_bits(b.module, ids.element), [_i64(0), b.zext(bits, _I64)])
            first = b.add(values[5], ir.Constant(values[5].type, lane))
            ids.store(b.add(b.load(place), _splat(b, first, ids.element, _OCTET)), end)
            end = b.add(end, b.zext(b.ctpop(bits), _I64))
        return b.sub(end, values[1])

    return types.int64(rows, end, x, site, bit, row, lanes), generate


def _pieces(lanes: int) -> list[tuple[int, int]]:
    """Offsets and widths of the vectors that make up ``lanes``: all equal.

    The next event often adds one site further. It then loads just what was stored, not halves of two
    vectors, for which it would have to wait until both are in the cache.
    """
    width = _WIDE if lanes % _WIDE == 0 else _NARROW
    return [(o, width) for o in range(0, lanes, width)]


def _set_bits(module: Any, element: Any) -> Any:
    """A table: for each byte, the numbers of its set bits, and then zeros."""
    if "set_bits" in module.globals:
        return module.globals["set_bits"]
    vector = ir.VectorType(element, _OCTET)
    table = []
    for byte in range(1 << _OCTET):
        numbers = [k for k in range(_OCTET) if byte >> k & 1]
        table.append(ir.Constant(vector, numbers + [0] * (_OCTET - len(numbers))))
    kind = ir.ArrayType(vector, len(table))
    made = ir.GlobalVariable(module, kind, "set_bits")
    made.linkage, made.global_constant, made.initializer = "internal", True, ir.Constant(kind, table)
    return made


def _i64(value: int) -> Any:
    return ir.Constant(_I64, value)


def _splat(b: Any, value: Any, element: Any, lanes: int) -> Any:
    """``value`` truncated to ``element`` in every lane."""
    if value.type.width > element.width:
        value = b.trunc(value, element)
    nothing = ir.Constant(ir.VectorType(element, lanes), ir.Undefined)
    index = ir.IntType(32)
    one = b.insert_element(nothing, value, ir.Constant(index, 0))
    return b.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(index, lanes), [0] * lanes))
