"""Mutations of a serialized model: of its bytes, and of single protobuf fields of the message."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from onnx import ModelProto

NAMES = [
    *("", "x", "y", "w", "c", "r", "../../etc/passwd", "a/b\\c", "$(touch pwned)", "`id`", 'quote"', "'"),
    *("line\nbreak", "\x1b[31mred", "\u202egnp.exe", "nul\0", "module", "endmodule", "class", "💥", "_", "0"),
    *("n" * 10_000, "ai.onnx", "com.acme", "Relu", "Loop", "Conv", "ConstantOfShape", "Expand", "NOTSET"),
    *(
        "SAME_UPPER",
        "axis",
        "to",
        "value",
        "group",
        "http://host/w",
        "file:///etc/passwd",
        "w.data",
        "kernel_shape",
    ),
]
INTEGERS = [
    *(-(1 << 63), -(1 << 31), -65_536, -129, -2, -1, 0, 1, 2, 3, 4, 7, 13, 17, 255, 65_536, 1 << 20),
    *((1 << 31) - 1, 1 << 31, (1 << 62), (1 << 63) - 1),
]
FLOATS = [
    float("nan"),
    float("inf"),
    -float("inf"),
    -1.0,
    -0.0,
    0.0,
    1e-45,
    1e-7,
    0.5,
    1.0,
    6.0,
    1e20,
    3.4e38,
]

_LIMITS = {
    FieldDescriptor.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_UINT64: (0, (1 << 64) - 1),
}


def mutated(data: bytes, choose: random.Random) -> bytes:
    """``data`` after one to four mutations, all of its bytes or all of its fields."""
    times = choose.choice((1, 1, 1, 2, 3, 4))
    if choose.random() < 0.3:
        content = bytearray(data)
        for _ in range(times):
            mutate_bytes(content, choose)
        return bytes(content)
    message = ModelProto.FromString(data)
    for _ in range(times):
        mutate_field(message, choose)
    return bytes(message.SerializeToString())


def mutate_bytes(content: bytearray, choose: random.Random) -> None:
    """Flip, overwrite, insert, remove, repeat or cut."""
    at = choose.randrange(len(content) or 1)
    match choose.randrange(6):
        case 0 if content:
            content[at] ^= 1 << choose.randrange(8)
        case 1 if content:
            content[at] = choose.choice((0, 1, 0x7F, 0x80, 0xFF))
        case 2:
            content[at:at] = choose.randbytes(choose.randrange(1, 9))
        case 3:
            del content[at : at + choose.randrange(1, 9)]
        case 4:
            content[at:at] = content[at : at + choose.randrange(1, 65)]
        case 5:
            del content[at:]


def mutate_field(message: Any, choose: random.Random) -> None:
    """Change one field of the message or of one nested in it."""
    target, descriptor = choose.choice(_fields(message))
    value = getattr(target, descriptor.name)
    if isinstance(value, str | bytes | int | float):
        setattr(target, descriptor.name, _scalar(descriptor, choose, value))
    elif not hasattr(value, "add") and not hasattr(value, "append"):
        _change_message(target, descriptor.name, choose)
    else:
        _change_list(value, descriptor, choose)


def _fields(message: Any) -> list[tuple[Any, Any]]:
    """Every field that is set in the message and below it, and some that are not."""
    found = [(message, field) for field in message.DESCRIPTOR.fields if field.number < 20]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if hasattr(value, "add") else (value,):
                found += _fields(inner)
    return found


def _scalar(descriptor: Any, choose: random.Random, old: Any) -> Any:
    if isinstance(old, str):
        return choose.choice(NAMES)
    if isinstance(old, bytes):
        content = bytearray(old or b"name")
        mutate_bytes(content, choose)
        return bytes(content)
    if isinstance(old, float):
        return choose.choice(FLOATS)
    if descriptor.enum_type is not None:
        # the messages are proto2: they hold no number that the enumeration does not name
        return choose.choice(descriptor.enum_type.values).number
    low, high = _LIMITS.get(descriptor.type, (-(1 << 63), (1 << 63) - 1))
    return min(max(choose.choice([*INTEGERS, old + 1, old - 1]), low), high)


def _change_message(target: Any, name: str, choose: random.Random) -> None:
    if target.HasField(name) and choose.random() < 0.5:
        target.ClearField(name)
    else:
        getattr(target, name).SetInParent()


def _change_list(values: Any, descriptor: Any, choose: random.Random) -> None:
    how = choose.randrange(4)
    if not values:
        if descriptor.message_type is not None:
            values.add()
        else:
            values.append(_scalar(descriptor, choose, _default(descriptor)))
        return
    at = choose.randrange(len(values))
    if how == 0:
        del values[at]
    elif how == 1:
        values.extend([values[at]])
    elif how == 2 and descriptor.message_type is None:
        values[at] = _scalar(descriptor, choose, values[at])
    else:
        items = list(values)
        choose.shuffle(items)
        del values[:]
        values.extend(items)


def _default(descriptor: Any) -> Any:
    kinds = {FieldDescriptor.CPPTYPE_STRING: "", FieldDescriptor.CPPTYPE_FLOAT: 0.0}
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        return b""
    return kinds.get(descriptor.cpp_type, 0.0 if descriptor.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else 0)
