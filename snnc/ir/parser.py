"""Reads the text form of a network; errors show the line with a caret under the fault."""

from __future__ import annotations

import functools
import importlib.resources
import json
import math
import pathlib
import re
import types
import typing
from typing import Any

import lark
import numpy as np

from snnc.diagnostics import CompileError, one_by_one
from snnc.ir.constants import DTYPES, Constant
from snnc.ir.network import Network
from snnc.ir.ops import REGISTRY, Op
from snnc.ir.schedule import SCHEDULES
from snnc.ir.verify import verify

VERSION = 1
MOST_CHARACTERS = 1 << 25
"""Parsed, a text takes a hundred times as much memory; large constants are no text."""


def parse(text: str, *, blobs: pathlib.Path | None = None, file: str = "<text>") -> Network:
    """The network that ``text`` describes, verified; ``blobs`` is the folder of its constants.

    Raises CompileError (SNNC0150) with the line and a caret for malformed text, and (SNNC0151) for a
    network that is not valid or whose written types are not the inferred ones.
    """
    if len(text) > MOST_CHARACTERS:
        raise CompileError.of("SNNC0104", f"{file}: the text has more than {MOST_CHARACTERS} characters")
    try:
        tree = _grammar().parse(text)
    except lark.exceptions.UnexpectedInput as error:
        raise _fault(text, file, error.line, error.column, _expectation(error)) from None
    builder = _Builder(text, file, blobs)
    try:
        network = builder.build(tree)
    except RecursionError:
        raise _fault(text, file, 1, 1, "lists are nested too deeply") from None
    verify(network)
    builder.compare_types(network)
    return network


@functools.cache
def _grammar() -> lark.Lark:
    source = importlib.resources.files("snnc.ir").joinpath("ir.lark").read_text("utf-8")
    return lark.Lark(source, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def _expectation(error: lark.exceptions.UnexpectedInput) -> str:
    if isinstance(error, lark.exceptions.UnexpectedToken):
        if error.token.type == "$END":
            return "unexpected end of text"
        wanted = ", ".join(sorted(error.expected)[:6])
        return f"unexpected {str(error.token)!r}; expected one of {wanted}"
    return "unexpected character"


def _fault(text: str, file: str, line: int, column: int, message: str) -> CompileError:
    lines = text.splitlines() or [""]
    at = min(max(line, 1), len(lines))
    shown = lines[at - 1]
    start = max(0, column - 60)
    caret = f"{one_by_one(shown[start : start + 100])}\n{' ' * (max(column, 1) - 1 - start)}^"
    return CompileError.of("SNNC0150", f"{file}:{at}:{max(column, 1)}: {message}", context=caret)


class _Builder:
    """Turns the parse tree into ops."""

    def __init__(self, text: str, file: str, blobs: pathlib.Path | None) -> None:
        self.text, self.file, self.blobs = text, file, blobs
        self.values: dict[str, int] = {}
        self.written: dict[int, tuple[str, Any]] = {}

    def build(self, tree: Any) -> Network:
        version, body = tree.children
        if int(version) != VERSION:
            raise self._error(version, f"IR version {version} is not supported, only {VERSION}")
        name, settings, *statements = body.children
        network = Network(self._text(name))
        if settings is not None:
            steps, schedule = settings.children
            if self._text(schedule) not in SCHEDULES:
                raise self._error(schedule, f"unknown schedule {schedule}")
            network.steps = int(steps)
            network.schedule = typing.cast(Any, self._text(schedule))
        for statement in statements:
            self._statement(network, statement)
        return network

    def compare_types(self, network: Network) -> None:
        """Raise unless every written type is the inferred one."""
        for node, (written, at) in self.written.items():
            if written != str(network.type(node)):
                raise self._error(at, f"the type is {network.type(node)}, not {written}")

    def _statement(self, network: Network, tree: Any) -> None:
        result, mnemonic, operands, attributes, origin, source = tree.children
        if mnemonic not in REGISTRY:
            raise self._error(mnemonic, f"unknown op {str(mnemonic)!r}")
        fields = self._attributes(mnemonic, attributes)
        fields["origin"] = tuple(map(self._text, origin.children)) if origin is not None else ()
        fields["source"] = self._text(source.children[0]) if source is not None else ""
        sources = [self._use(v) for v in operands.children if v is not None]
        op = self._construct(REGISTRY[mnemonic], fields, mnemonic)
        node = network.add(op, *sources)
        if (result is None) != (mnemonic == "output"):
            raise self._error(mnemonic, "every op but output has a result")
        if result is not None:
            value, written = result.children
            if value in self.values:
                raise self._error(value, f"{value} is defined twice")
            self.values[str(value)] = node
            element, *extents = written.children
            shape = ", ".join(str(e) for e in extents if e is not None)
            self.written[node] = (f"{element}[{shape}]", element)

    def _use(self, value: lark.Token) -> int:
        if value not in self.values:
            raise self._error(value, f"{value} is not defined before its use")
        return self.values[str(value)]

    def _attributes(self, mnemonic: lark.Token, tree: Any) -> dict[str, Any]:
        known = REGISTRY[mnemonic].attribute_types()
        fields: dict[str, Any] = {}
        for attribute in tree.children if tree is not None else ():
            name, value = attribute.children
            if name not in known:
                raise self._error(name, f"{mnemonic} has no attribute {str(name)!r}")
            if name in fields:
                raise self._error(name, f"attribute {str(name)!r} is given twice")
            converted = self._value(value)
            if not _matches(converted, known[name]):
                raise self._error(name, f"attribute {str(name)!r} has the wrong type")
            fields[str(name)] = converted
        return fields

    def _construct(self, kind: type[Op], fields: dict[str, Any], at: lark.Token) -> Op:
        try:
            return kind(**fields)
        except TypeError as error:
            missing = re.findall(r"'(\w+)'", str(error))
            raise self._error(at, f"{kind.mnemonic} needs {', '.join(missing)}") from None

    def _value(self, tree: Any) -> Any:
        if tree.data == "number":
            (token,) = tree.children
            return int(token) if token.type == "INT" else float(token)
        if tree.data == "string":
            return self._text(tree.children[0])
        if tree.data == "boolean":
            return tree.children[0] == "true"
        if tree.data == "list":
            return tuple(self._value(v) for v in tree.children if v is not None)
        return self._constant(tree)

    def _constant(self, tree: Any) -> Constant:
        dtype, *extents, content = tree.children
        shape = tuple(int(e) for e in extents if e is not None)
        if content.data == "blob":
            digest = self._text(content.children[0])
            if self.blobs is None or not re.fullmatch("[0-9a-f]{64}", digest):
                raise self._error(dtype, "a blob needs a folder of blobs and a sha256 name")
            return Constant.from_blob(self.blobs, digest, str(dtype), shape)
        numbers = [self._value(v) for v in content.children if v is not None]
        if min(shape, default=0) < 0 or len(numbers) != math.prod(shape):
            raise self._error(dtype, f"{len(numbers)} values do not fill {list(shape)}")
        kind = DTYPES[str(dtype)]
        if issubclass(kind, np.integer) and any(isinstance(n, float) for n in numbers):
            raise self._error(dtype, f"{dtype} takes integers only")
        try:
            return Constant(np.array(numbers, kind).reshape(shape))
        except OverflowError:
            raise self._error(dtype, f"a value is out of the range of {dtype}") from None

    def _text(self, token: lark.Token) -> str:
        try:
            return str(json.loads(token))
        except ValueError:
            raise self._error(token, f"{token} is not a JSON string") from None

    def _error(self, token: lark.Token, message: str) -> CompileError:
        return _fault(self.text, self.file, token.line or 1, token.column or 1, message)


def _matches(value: Any, annotation: Any) -> bool:
    """Whether a parsed value has the annotated type of its field."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, a) for a in arguments)
    if origin is tuple:
        kinds = arguments[:1] * len(value) if Ellipsis in arguments else arguments
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_matches, value, kinds))
    if annotation is float:
        return isinstance(value, float)
    return type(value) is annotation if annotation is not None else value is None
