"""What a converter sees of one ONNX node."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from snnc.frontend.builder import Builder, Rejected
from snnc.frontend.fold import FoldError, integers
from snnc.ir.constants import Constant
from snnc.ir.ops import Op
from snnc.ir.types import Shape

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Unknown:
    """The value of a node that was rejected; ``node`` is its name."""

    node: str


@dataclasses.dataclass(frozen=True)
class Unfit:
    """A model input that cannot be an activation, and why; only what needs one complains."""

    reason: str
    remedy: str = ""
    code: str = "SNNC0115"


Value = int | Array | Unknown | Unfit
"""An ONNX tensor: a node of the network, a constant, unknown, or an input of no use."""


@dataclasses.dataclass(frozen=True)
class OnnxNode:
    """A node with its operands' values; every method raises :class:`Rejected` if the node does not fit.

    ``values`` has None for an absent optional input. ``uses`` counts the readers of each tensor.
    """

    proto: onnx.NodeProto
    opset: int
    values: Sequence[Value | None]
    builder: Builder
    uses: Mapping[str, int]
    batch: int | None

    @property
    def name(self) -> str:
        """The node's name, or its first output's if it has none."""
        return node_name(self.proto)

    @property
    def origin(self) -> tuple[str, ...]:
        """The origin of the ops made from this node."""
        return (self.name,)

    def value(self, index: int) -> Value | None:
        """An operand's value; None if it is absent."""
        return self.values[index] if index < len(self.values) else None

    def tensor(self, index: int = 0) -> int:
        """An operand that is computed from the model's input: its number in the network."""
        value = self.value(index)
        if isinstance(value, Unfit):
            raise Rejected(value.code, value.reason, value.remedy)
        if not isinstance(value, int):
            raise Rejected(
                "SNNC0111", f"{self.proto.op_type} needs its operand {index} computed from the input"
            )
        return value

    def shape(self, index: int = 0) -> Shape:
        """The shape of a computed operand, without batch axis."""
        return self.builder.shape(self.tensor(index))

    def constant(self, index: int, label: str) -> Array | None:
        """A constant operand; None if it is absent."""
        value = self.value(index)
        if isinstance(value, int | Unfit):
            raise Rejected(
                "SNNC0112",
                f"the {label} {self.proto.input[index]!r} is not constant",
                "export the model with its parameters as initializers, not as inputs",
            )
        assert not isinstance(value, Unknown)
        return value

    def weight(self, index: int, label: str) -> Array:
        """A constant parameter in float64, finite."""
        found = self.optional_weight(index, label)
        if found is None:
            raise Rejected("SNNC0111", f"{self.proto.op_type} has no {label}")
        return found

    def optional_weight(self, index: int, label: str) -> Array | None:
        """A constant parameter in float64, finite; None if it is absent."""
        value = self.constant(index, label)
        if value is None:
            return None
        if value.dtype == object:
            raise Rejected("SNNC0111", f"the {label} depends on the batch size")
        with np.errstate(invalid="ignore"):
            real = value.astype(np.float64)
        if not np.isfinite(real).all():
            raise Rejected(
                "SNNC0114",
                f"the {label} {self.proto.input[index]!r} holds NaN or infinite values",
                "train or export the model again",
            )
        return real

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value, strings as str."""
        return attributes(self.proto).get(name, default)

    def pair(self, name: str, default: int) -> tuple[int, int]:
        """An attribute of one integer per spatial axis."""
        value = tuple(self.attribute(name, (default, default)))
        if len(value) != 2:
            raise Rejected("SNNC0111", f"{name} = {list(value)}: only two spatial axes are supported")
        return value

    def ints(self, name: str, index: int) -> tuple[int, ...] | None:
        """Integers that older opsets have as an attribute and newer ones as an input; None if absent."""
        value = self.attribute(name)
        if value is not None:
            return tuple(value)
        constant = self.constant(index, name)
        if constant is None:
            return None
        try:
            return integers(constant)
        except FoldError as error:
            raise Rejected("SNNC0111", f"{name} cannot be used: {error}") from None

    def axis(self, axis: int, rank: int) -> int:
        """An ONNX axis of a tensor of ``rank`` axes, batch included, as an axis of one sample."""
        if not -rank <= axis < rank:
            raise Rejected("SNNC0113", f"there is no axis {axis} among {rank}")
        if axis % rank == 0:
            raise Rejected("SNNC0111", f"{self.proto.op_type} works on the batch axis")
        return axis % rank - 1

    def only_first_output(self) -> None:
        """Refuse a node of whose further outputs one is used."""
        used = [name for name in self.proto.output[1:] if name and self.uses.get(name)]
        if used:
            raise Rejected("SNNC0111", f"the further output {used[0]!r} of {self.proto.op_type} is used")

    def emit(self, kind: type[Op], *operands: int, **fields: Any) -> int:
        """Append an op; arrays among ``fields`` become constants."""
        plain: dict[str, Any] = {
            k: Constant(v) if isinstance(v, np.ndarray) else v for k, v in fields.items()
        }
        return self.builder.add(kind(origin=self.origin, **plain), *operands)


def node_name(proto: onnx.NodeProto) -> str:
    """The node's name, or its first output's if it has none."""
    return proto.name or next((name for name in proto.output if name), proto.op_type)


def attributes(proto: onnx.NodeProto) -> dict[str, Any]:
    """The attributes as Python values, strings as str."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    return {k: v.decode("utf-8", "replace") if isinstance(v, bytes) else v for k, v in values.items()}
