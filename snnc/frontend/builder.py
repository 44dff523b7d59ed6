"""Adds ops to a network one by one, checked, and keeps layout changes out of its way."""

from __future__ import annotations

import math

from snnc.frontend.limits import Limits
from snnc.ir.network import Network
from snnc.ir.ops import Conv2d, Dense, Input, Op, Pool, Reshape, Scale, Transpose
from snnc.ir.types import Shape, TensorType

_LONGEST_NORMALISATION = 8
_MEMORY = "raise --max-memory, or export the model for a smaller input"


class Rejected(Exception):
    """One node cannot be imported. ``code`` is a key of :data:`snnc.diagnostics.CODES`."""

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy


class Builder:
    """A growing ann-level network."""

    def __init__(self, name: str, limits: Limits) -> None:
        """An empty network called ``name``."""
        self.network = Network(name)
        self.limits = limits
        self._operations = 0
        # the network would infer all types anew after each edit
        self._types: dict[int, TensorType | None] = {}
        self._unnamed: list[int] = []

    def add(self, op: Op, *operands: int) -> int:
        """Append ``op``; returns its number. Raises :class:`Rejected` if it does not fit its operands."""
        result = self._checked(op, operands)
        if self.network.next_number >= self.limits.nodes:
            raise Rejected("SNNC0104", f"so far it becomes more than {self.limits.nodes} operations")
        node = self.network.add(op, *operands)
        self._types[node] = result
        self._unnamed.append(node)
        return node

    def set(self, node: int, op: Op) -> None:
        """Put ``op`` in a node's place. Raises :class:`Rejected` if it does not fit its operands."""
        self._types[node] = self._checked(op, self.network.operands(node))
        self.network.set(node, op)

    def name_inner(self, tensor: str) -> None:
        """Give the ops added since the last call that stand for no tensor of the model a source anyway.

        It is ``tensor`` with a number: each population needs a source of its own.
        """
        for position, node in enumerate(self._unnamed):
            op = self.network.op(node)
            if not op.source:
                self.set(node, op.replace(source=f"{tensor}#{position}"))
        self._unnamed.clear()

    def shape(self, node: int) -> Shape:
        """The shape of a node's result, without batch axis."""
        found = self._types[node]
        assert found is not None
        return found.shape

    def transpose(self, x: int, perm: tuple[int, ...], origin: tuple[str, ...]) -> int:
        """``x`` with axis k taken from axis ``perm[k]``.

        Consecutive transpositions become one; it moves before a normalisation by scalars at the
        input, where it is the input's layout.
        """
        source = self.network.op(x)
        if isinstance(source, Transpose):
            perm = tuple(source.perm[axis] for axis in perm)
            (x,) = self.network.operands(x)
        if perm == tuple(range(len(perm))):
            return x
        start, scales = self._leading(x)
        moved = self.add(Transpose(perm=perm, origin=origin), x if start is None else start)
        for scale in scales:
            moved = self.add(scale.replace(source=""), moved)
        return moved

    def reshape(self, x: int, shape: Shape, origin: tuple[str, ...]) -> int:
        """``x`` under another shape; at the input, moving axes of extent 1 is a transposition."""
        if isinstance(self.network.op(x), Reshape):
            (x,) = self.network.operands(x)
        if shape == self.shape(x):
            return x
        perm = _unit_axes_moved(self.shape(x), shape)
        if perm is not None and self._leading(x)[0] is not None:
            return self.transpose(x, perm, origin)
        return self.add(Reshape(shape=shape, origin=origin), x)

    def absorb_layouts(self) -> None:
        """Make a transposition that every user of an input begins with the input's ``perm``."""
        for node in tuple(self.network.of(Input)):
            op = self.network.op(node)
            users = self.network.users(node)
            moves = [m for u in users if isinstance(m := self.network.op(u), Transpose)]
            if not moves or len(moves) < len(users) or len({move.perm for move in moves}) > 1:
                continue
            assert isinstance(op, Input)
            origin = tuple(dict.fromkeys(name for move in moves for name in move.origin))
            source = moves[0].source or op.source
            self.set(node, op.replace(perm=moves[0].perm, origin=origin, source=source))
            for user in users:
                self.network.bypass(user)

    def _leading(self, x: int) -> tuple[int | None, list[Scale]]:
        """The input that ``x`` is, up to the scalings by scalars returned with it; None if it is not."""
        scales: list[Scale] = []
        while len(scales) < _LONGEST_NORMALISATION:
            op = self.network.op(x)
            if isinstance(op, Input):
                return x, scales[::-1]
            if not isinstance(op, Scale) or op.weight.shape or (op.bias is not None and op.bias.shape):
                break
            scales.append(op)
            (x,) = self.network.operands(x)
        return None, []

    def _checked(self, op: Op, operands: tuple[int, ...]) -> TensorType | None:
        types = [t for x in operands if (t := self._types[x]) is not None]
        faults = list(op.check(types))
        if faults:
            raise Rejected("SNNC0113", "; ".join(faults))
        result = op.result(types)
        if result is not None:
            self._check_cost(op, result)
        return result

    def _check_cost(self, op: Op, result: TensorType) -> None:
        limits = self.limits
        if result.size > limits.elements:
            raise Rejected("SNNC0104", f"its result {result} exceeds {limits.elements} elements", _MEMORY)
        window = math.prod(op.kernel) if isinstance(op, Pool) else 1
        if window > limits.window:
            raise Rejected("SNNC0104", f"its window of {window} elements exceeds {limits.window}")
        weights = math.prod(op.weight.shape[1:]) if isinstance(op, Conv2d | Dense) else 1
        self._operations += result.size * window * weights
        if self._operations > limits.operations:
            raise Rejected(
                "SNNC0104", f"up to here one sample takes more than {limits.operations} operations"
            )


def _unit_axes_moved(before: Shape, after: Shape) -> tuple[int, ...] | None:
    """The permutation that turns ``before`` into ``after`` by moving axes of extent 1 alone."""
    if len(before) != len(after) or [n for n in before if n > 1] != [n for n in after if n > 1]:
        return None
    single = (axis for axis, n in enumerate(before) if n == 1)
    others = (axis for axis, n in enumerate(before) if n > 1)
    return tuple(next(single if n == 1 else others) for n in after)
