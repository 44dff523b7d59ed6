"""Pipelines as text: ``name{option=value,…},name``, parsed into frozen dataclasses and printed back.

The typed fields of a dataclass are its options; int, float, bool, str, Literal and ``X | None`` are
understood. A field with a trailing underscore is an option that is a Python keyword (``lambda_``).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.resources
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from snnc.diagnostics import Diagnostic, UsageError, one_by_one

T = TypeVar("T")

_PLAIN = re.compile(r"[A-Za-z0-9_.+-]+")
_INT = re.compile(r"[-+]?\d{1,18}")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WORDS: dict[str, Any] = {"none": None, "true": True, "false": False}


@dataclasses.dataclass(frozen=True)
class Span:
    """Characters ``start`` … ``end`` of a pipeline text."""

    text: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Value:
    """An option's value as written; ``quoted`` if it was a string literal."""

    text: str
    quoted: bool
    span: Span


@dataclasses.dataclass(frozen=True)
class Spec:
    """One ``name{option=value,…}`` with the place it was written at."""

    name: str
    options: Mapping[str, Value]
    span: Span


class Faults:
    """Problems of one pipeline text, raised together with carets under each of them."""

    def __init__(self) -> None:
        """None yet."""
        self._found: list[tuple[Span, Diagnostic]] = []

    def add(self, span: Span, code: str, message: str, remedy: str = "") -> None:
        """Record a problem at ``span``."""
        self._found.append((span, Diagnostic("error", code, message, (), remedy)))

    def __len__(self) -> int:
        return len(self._found)

    def raise_all(self) -> None:
        """Raise UsageError if there is a problem."""
        if self._found:
            context = _carets([span for span, _ in self._found])
            raise UsageError([diagnostic for _, diagnostic in self._found], context)


def parse_spec(text: str) -> list[Spec]:
    """The items of ``text``; ``#`` starts a comment. Raises UsageError (SNNC0152) with a caret."""
    import lark

    try:
        tree = _grammar().parse(text)
    except lark.exceptions.UnexpectedInput as error:
        faults = Faults()
        message = _expectation(error, text)
        faults.add(_place(error, text), "SNNC0152", message, "write name{option=value,…},name{…}")
        faults.raise_all()
        raise
    faults = Faults()
    specs = [_spec(item, text, faults) for item in tree.children if item is not None]
    faults.raise_all()
    return specs


def bind(spec: Spec, cls: type[T], flags: Mapping[str, Any] | None = None) -> T:
    """The instance of the frozen dataclass ``cls`` that ``spec`` describes.

    ``flags`` are values from the command line: they fill the options that the text leaves open.
    Raises UsageError for unknown or malformed options (SNNC0153, SNNC0152) and for a flag that
    contradicts the text (SNNC0154).
    """
    faults = Faults()
    made = _bind(spec, cls, flags or {}, faults)
    faults.raise_all()
    assert made is not None
    return made


def bind_all(
    text: str, table: Mapping[str, type[T]], flags: Mapping[str, Any] | None = None, *, kind: str = "pass"
) -> tuple[T, ...]:
    """The instances that ``text`` describes; ``table`` holds the known classes of this ``kind`` by name.

    All problems of the text are raised together, as UsageError.
    """
    faults = Faults()
    made: list[T | None] = []
    for spec in parse_spec(text):
        if spec.name in table:
            made.append(_bind(spec, table[spec.name], flags or {}, faults))
        else:
            faults.add(spec.span, "SNNC0153", f"unknown {kind} {spec.name!r}", known(spec.name, table))
    faults.raise_all()
    return tuple(item for item in made if item is not None)


def known(name: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    """A remedy for an unknown ``name``: the closest of ``names`` and all of them."""
    if not names:
        return "there is none"
    close = difflib.get_close_matches(name, list(names), n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known: {', '.join(sorted(names))}"


def to_text(item: Any, name: str | None = None) -> str:
    """The canonical text of a dataclass instance: every option that is set, in order of declaration."""
    shown = []
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if value is None and field.default is None:
            continue
        shown.append(f"{option_name(field)}={_print(value)}")
    options = f"{{{','.join(shown)}}}" if shown else ""
    return f"{name or item.name}{options}"


def option_name(field: dataclasses.Field[Any]) -> str:
    """The option that a dataclass field is: ``lambda_`` is ``lambda``."""
    return field.name.rstrip("_")


def describe(cls: type[Any]) -> list[tuple[str, str, str]]:
    """Name, type and default of every option of a dataclass, as text; no default is empty."""
    hints = typing.get_type_hints(cls)
    rows = []
    for field in dataclasses.fields(cls):
        default = "" if field.default is dataclasses.MISSING else _print(field.default)
        rows.append((option_name(field), _type_text(hints[field.name]), default))
    return rows


@functools.cache
def _grammar() -> Any:
    import lark

    source = importlib.resources.files("snnc").joinpath("spec.lark").read_text("utf-8")
    return lark.Lark(source, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def _spec(tree: Any, text: str, faults: Faults) -> Spec:
    name, *options = tree.children
    values: dict[str, Value] = {}
    for option in options:
        if option is None:
            continue
        key, raw = option.children
        if key in values:
            faults.add(_span(key, text), "SNNC0152", f"option {str(key)!r} is given twice")
        quoted = raw.type == "STRING"
        content = _unquote(raw, text, faults) if quoted else str(raw)
        values[str(key)] = Value(content, quoted, _span(raw, text))
    return Spec(str(name), values, _span(name, text))


def _unquote(raw: Any, text: str, faults: Faults) -> str:
    try:
        return str(json.loads(raw))
    except ValueError:
        faults.add(_span(raw, text), "SNNC0152", "malformed string", "escapes are those of JSON")
        return ""


def _span(token: Any, text: str) -> Span:
    return Span(text, token.start_pos, token.end_pos)


def _place(error: Any, text: str) -> Span:
    position = error.pos_in_stream
    start = len(text) if position is None or position < 0 else position
    token = getattr(error, "token", None)
    width = len(token) if token is not None and token.type != "$END" else 1
    if token is not None and token.type == "$END":
        start = len(text.rstrip())
    return Span(text, start, start + max(width, 1))


def _expectation(error: Any, text: str) -> str:
    shown = {"LBRACE": "{", "RBRACE": "}", "COMMA": ",", "EQUAL": "=", "WORD": "a name", "STRING": "a string"}
    token = getattr(error, "token", None)
    if token is None:
        return f"unexpected character {text[error.pos_in_stream]!r}"
    wanted = " or ".join(sorted(shown[name] for name in error.expected if name in shown))
    what = "end of text" if token.type == "$END" else repr(str(token))
    return f"unexpected {what}" + (f"; expected {wanted}" if wanted else "")


def _bind(spec: Spec, cls: type[T], flags: Mapping[str, Any], faults: Faults) -> T | None:
    fields = {option_name(f): f for f in dataclasses.fields(typing.cast(Any, cls))}
    hints = typing.get_type_hints(cls)
    given = {name: value for name, value in flags.items() if name in fields and value is not None}
    values: dict[str, Any] = {}
    before = len(faults)
    for name, value in spec.options.items():
        if name not in fields:
            message = f"{spec.name} has no option {name!r}"
            faults.add(value.span, "SNNC0153", message, known(name, fields))
            continue
        try:
            values[name] = _convert(value, hints[fields[name].name])
        except ValueError as error:
            faults.add(value.span, "SNNC0152", f"option {name!r} of {spec.name}: {error}")
            continue
        if given.get(name, values[name]) != values[name]:
            message = f"{spec.name} says {name}={_print(values[name])}, the flag says {_print(given[name])}"
            faults.add(value.span, "SNNC0154", message, "leave one of the two out")
    for name in given.keys() - values.keys():
        _check_choice(spec, name, given[name], hints[fields[name].name], faults)
    values = {**given, **values}
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values and name not in spec.options:
            faults.add(spec.span, "SNNC0152", f"{spec.name} needs the option {name!r}")
    return _construct(spec, cls, fields, values, faults) if len(faults) == before else None


def _check_choice(spec: Spec, name: str, given: Any, annotation: Any, faults: Faults) -> None:
    """A flag serves passes of unlike choices: this one may not have what was given."""
    if typing.get_origin(annotation) is typing.Literal and given not in typing.get_args(annotation):
        message = f"{spec.name} takes {name}={_type_text(annotation)}, the flag says {_print(given)}"
        faults.add(spec.span, "SNNC0154", message, "choose another value, or another pipeline")


def _construct(spec: Spec, cls: type[T], fields: Any, values: Mapping[str, Any], faults: Faults) -> T | None:
    try:
        return cls(**{fields[name].name: value for name, value in values.items()})
    except ValueError as error:
        faults.add(spec.span, "SNNC0152", f"{spec.name}: {error}")
        return None


def _convert(value: Value, annotation: Any) -> Any:
    """The value as the annotated type. Raises ValueError with what was expected."""
    for kind in _alternatives(annotation):
        readings = _readings(value, kind)
        if readings:
            return readings[0]
    raise ValueError(f"{value.text!r} is not {_type_text(annotation)}")


def _readings(value: Value, kind: Any) -> list[Any]:
    """The value as ``kind``; empty if it cannot be read so."""
    text = value.text
    if typing.get_origin(kind) is typing.Literal:
        return [choice for choice in typing.get_args(kind) if str(choice) == text]
    if kind is str:
        return [text] if value.quoted or text not in _WORDS else []
    if value.quoted:
        return []
    if kind is float:
        return [float(text)] if _FLOAT.fullmatch(text) and math.isfinite(float(text)) else []
    if kind is int:
        return [int(text)] if _INT.fullmatch(text) else []
    return [_WORDS[text]] if text in _WORDS and type(_WORDS[text]) is kind else []


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _type_text(annotation: Any) -> str:
    texts = []
    for kind in _alternatives(annotation):
        if typing.get_origin(kind) is typing.Literal:
            texts += [str(choice) for choice in typing.get_args(kind)]
        else:
            texts.append("none" if kind is types.NoneType else kind.__name__)
    return "|".join(texts)


def _print(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value not in _WORDS else json.dumps(value)
    return repr(value)


def _carets(spans: Sequence[Span]) -> str:
    """The lines that hold a span, each with carets under its faults."""
    text = spans[0].text
    shown, offset = [], 0
    for line in text.split("\n"):
        end = offset + len(line) + 1
        here = [s for s in spans if offset <= s.start < end or (s.start >= len(text) and end > len(text))]
        if here:
            width = max(min(s.end, end) for s in here) - offset
            marks = [" "] * max(width, 1)
            for span in here:
                for position in range(span.start - offset, min(span.end, end) - offset):
                    marks[position] = "^"
            shown += [one_by_one(line), "".join(marks).rstrip() or "^"]
        offset = end
    return "\n".join(shown)
