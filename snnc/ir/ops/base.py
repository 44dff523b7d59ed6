"""What every op has in common, and the fields from which text, parsing and help derive."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Self

from snnc.ir.types import TensorType

Level = Literal["ann", "snn", "int"]
EVERY_LEVEL: frozenset[Level] = frozenset(("ann", "snn", "int"))
SPIKING: frozenset[Level] = frozenset(("snn", "int"))
ANN_ONLY: frozenset[Level] = frozenset(("ann",))

_PLACE = ("origin", "source")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Op:
    """An operation. Its dataclass fields are its attributes, its docstring its equation.

    ``origin`` names the ONNX nodes it comes from; ``source`` is the ONNX tensor that its result
    stands for, the key of statistics and of per-layer error.
    """

    mnemonic: ClassVar[str]
    levels: ClassVar[frozenset[Level]] = EVERY_LEVEL
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    stateful: ClassVar[bool] = False

    origin: tuple[str, ...] = ()
    source: str = ""

    def check(self, operands: Sequence[TensorType]) -> Iterator[str]:
        """The local verifier: one sentence for each thing that is wrong."""
        return iter(())

    def result(self, operands: Sequence[TensorType]) -> TensorType | None:
        """The type of the result, None if there is none; ``operands`` have passed :meth:`check`."""
        raise NotImplementedError

    @classmethod
    def attributes(cls) -> tuple[dataclasses.Field[Any], ...]:
        """The fields that are attributes, in order of declaration."""
        return tuple(f for f in dataclasses.fields(cls) if f.name not in _PLACE)

    @classmethod
    def attribute_types(cls) -> dict[str, Any]:
        """The resolved type annotation of every attribute."""
        # mypy does not see that a class with equal instances is itself hashable
        return _hints(typing.cast(Any, cls))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in cls.attributes()}


def merge_origins(*ops: Op) -> tuple[str, ...]:
    """The union of the ops' origins, in order, for an op that stands for all of them."""
    return tuple(dict.fromkeys(name for op in ops for name in op.origin))
