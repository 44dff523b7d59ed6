"""The canonical text of a network, of which ``parse`` is the exact inverse."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence

from snnc.ir.constants import Constant
from snnc.ir.network import Network
from snnc.ir.ops import Op, Output

HEADER = "snnc-ir 1"
INLINE_LIMIT = 16
"""Constants of up to this many elements are written out; larger ones are blobs."""


def print_network(
    network: Network,
    *,
    blobs: pathlib.Path | None = None,
    errors: Mapping[int, Sequence[str]] | None = None,
) -> str:
    """The text of ``network``.

    Large constants are named by hash, and stored in the folder ``blobs`` if one is given. ``errors``
    are printed below the ops they belong to; key −1 is the network itself.
    """
    errors = errors or {}
    position = {node: i for i, node in enumerate(network.nodes)}
    lines = [HEADER, f"network @{quote(network.name)}{_settings(network)} {{"]
    lines += _errors(errors.get(-1, ()))
    for node in network.nodes:
        lines.append(f"  {_statement(network, node, position, typed=not errors, blobs=blobs)}")
        lines += _errors(errors.get(node, ()))
    return "\n".join([*lines, "}", ""])


def print_value(value: object, blobs: pathlib.Path | None = None) -> str:
    """One attribute as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, tuple):
        return f"[{', '.join(print_value(v) for v in value)}]"
    if isinstance(value, Constant):
        return _constant(value, blobs)
    return repr(value)


def quote(text: str) -> str:
    """A JSON string in ASCII: any name is safe inside it."""
    return json.dumps(text)


def _settings(network: Network) -> str:
    if network.steps is None:
        return ""
    return f" {{T = {network.steps}, schedule = {quote(str(network.schedule))}}}"


def _statement(
    network: Network,
    node: int,
    position: Mapping[int, int],
    *,
    typed: bool,
    blobs: pathlib.Path | None,
) -> str:
    op = network.op(node)
    result = ""
    if not isinstance(op, Output):
        result = f"%{position[node]}"
        # types of a faulty network are unknown
        result += f" : {network.type(node)} = " if typed else " = "
    operands = ", ".join(f"%{position[s]}" for s in network.operands(node))
    return f"{result}{op.mnemonic}({operands}){_attributes(op, blobs)}{_place(op)}"


def _attributes(op: Op, blobs: pathlib.Path | None) -> str:
    shown = [
        f"{field.name} = {print_value(getattr(op, field.name), blobs)}"
        for field in op.attributes()
        if getattr(op, field.name) != field.default
    ]
    return f" {{{', '.join(shown)}}}" if shown else ""


def _place(op: Op) -> str:
    text = f" loc({', '.join(map(quote, op.origin))})" if op.origin else ""
    return text + (f" source({quote(op.source)})" if op.source else "")


def _constant(constant: Constant, blobs: pathlib.Path | None) -> str:
    kind = f"{constant.type_name}[{', '.join(map(str, constant.shape))}]"
    if constant.size <= INLINE_LIMIT:
        return f"{kind}({', '.join(repr(v) for v in constant.array.ravel().tolist())})"
    if blobs is not None:
        constant.write_blob(blobs)
    return f"{kind}(blob {quote(constant.digest)})"


def _errors(messages: Sequence[str]) -> list[str]:
    return [f"  ^^^ error: {message}" for message in messages]
