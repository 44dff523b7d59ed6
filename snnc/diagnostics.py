"""Everything snnc says to its user: stable codes, one exception family, one sink.

A diagnostic says what is wrong, where (ONNX node names) and what to do. All the problems of a
model are collected in a :class:`Diagnostics` and raised together.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

Severity = Literal["error", "warning", "note"]

CODES: dict[str, str] = {
    "SNNC0101": "the model file cannot be read",
    "SNNC0102": "the file is not a valid ONNX model",
    "SNNC0103": "external data is missing, misplaced or unsafe",
    "SNNC0104": "the model exceeds a size limit",
    "SNNC0105": "unsupported opset or operator domain",
    "SNNC0110": "unsupported operator",
    "SNNC0111": "unsupported attribute or form of a supported operator",
    "SNNC0112": "an operand that must be constant is not",
    "SNNC0113": "wrong or inconsistent shapes",
    "SNNC0114": "invalid values in weights or parameters",
    "SNNC0115": "unsupported model input or output",
    "SNNC0116": "part of the model is left to the host",
    "SNNC0117": "an activation keeps one neuron",
    "SNNC0120": "the network has no spiking form",
    "SNNC0121": "a layer never fires",
    "SNNC0122": "no calibration data: thresholds are estimated",
    "SNNC0123": "calibration data does not fit the model",
    "SNNC0124": "saved statistics do not fit the model or the options",
    "SNNC0125": "input values are clipped",
    "SNNC0126": "a signed population stands in for a linear edge",
    "SNNC0127": "a calibration is left out",
    "SNNC0128": "a pass approximates the network",
    "SNNC0129": "populations share a threshold",
    "SNNC0130": "a proof of width or exactness fails",
    "SNNC0131": "the network exceeds a limit of the target",
    "SNNC0132": "hardware and netlist differ",
    "SNNC0135": "the network cannot be said in the format",
    "SNNC0136": "what an exported or imported file leaves open",
    "SNNC0137": "the file is not a valid NIR file, or not a safe one",
    "SNNC0140": "a pass broke the network",
    "SNNC0141": "a pass broke its promise",
    "SNNC0150": "malformed IR text",
    "SNNC0151": "the IR is invalid",
    "SNNC0152": "malformed pipeline text",
    "SNNC0153": "unknown pass, backend or option",
    "SNNC0154": "contradictory options",
    "SNNC0155": "the network is at the wrong level for this pass",
    "SNNC0160": "the output folder cannot be used",
    "SNNC0161": "not an snnc artifact, or a damaged one",
    "SNNC0162": "the evaluation data does not fit",
    "SNNC0163": "an optional package is missing",
    "SNNC0164": "a required file or folder is missing",
    "SNNC0165": "a worker of a sweep is lost or cannot be used",
    "SNNC0166": "a simulator gave no verdict",
    "SNNC0170": "a limit set by the user was missed",
    "SNNC0190": "internal error",
}


def printable(text: str, limit: int = 200) -> str:
    """A name from a model, safe for a terminal: control, bidi and unprintable characters escaped."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if len(safe) <= limit else f"{safe[: limit - 1]}…"


def one_by_one(text: str) -> str:
    """``text`` with a question mark for every unprintable character, so that columns stay."""
    return "".join(c if c.isprintable() else "?" for c in text)


@dataclasses.dataclass(frozen=True)
class Diagnostic:
    """One message: ``code`` is a key of :data:`CODES`, ``where`` the ONNX node names."""

    severity: Severity
    code: str
    message: str
    where: tuple[str, ...] = ()
    remedy: str = ""

    def __post_init__(self) -> None:
        assert self.code in CODES, self.code

    def __str__(self) -> str:
        lines = [f"{self.severity}[{self.code}]: {printable(self.message, 1000)}"]
        if self.where:
            shown = ", ".join(printable(name) for name in self.where[:4])
            more = f" and {len(self.where) - 4} more" if len(self.where) > 4 else ""
            lines.append(f"  at: {shown}{more}")
        if self.remedy:
            lines.append(f"  help: {printable(self.remedy, 1000)}")
        return "\n".join(lines)


class SnncError(Exception):
    """Any failure that snnc foresees. ``exit_code`` is what the command line returns."""

    exit_code: ClassVar[int] = 1

    def __init__(self, diagnostics: Sequence[Diagnostic], context: str = "") -> None:
        """``context`` is a longer text (such as annotated IR) printed before the diagnostics."""
        self.diagnostics = tuple(diagnostics)
        self.context = context
        parts = ([context] if context else []) + [str(d) for d in self.diagnostics]
        super().__init__("\n".join(parts))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.diagnostics, self.context)

    @classmethod
    def of(
        cls,
        code: str,
        message: str,
        *,
        where: Sequence[str] = (),
        remedy: str = "",
        context: str = "",
    ) -> Self:
        """The error with a single diagnostic."""
        return cls([Diagnostic("error", code, message, tuple(where), remedy)], context)


class CompileError(SnncError):
    """The content cannot be compiled (exit code 1)."""


class UsageError(SnncError):
    """The request is wrong: options, missing paths, unusable folders (exit code 2)."""

    exit_code: ClassVar[int] = 2


class GateError(SnncError):
    """A limit that the user set was missed (exit code 3)."""

    exit_code: ClassVar[int] = 3


class InternalError(SnncError):
    """A defect of snnc or of a third-party pass (exit code 4)."""

    exit_code: ClassVar[int] = 4


class Diagnostics:
    """Collects diagnostics; warnings and notes are also logged under the ``snnc`` logger."""

    def __init__(self) -> None:
        self.items: list[Diagnostic] = []
        self._said: set[Diagnostic] = set()
        self._log = logging.getLogger("snnc")

    def error(self, code: str, message: str, *, where: Sequence[str] = (), remedy: str = "") -> None:
        """Record an error; nothing is raised until :meth:`raise_errors`."""
        self.items.append(Diagnostic("error", code, message, tuple(where), remedy))

    def warning(self, code: str, message: str, *, where: Sequence[str] = (), remedy: str = "") -> None:
        """Record and log a warning, once."""
        self._say(Diagnostic("warning", code, message, tuple(where), remedy), logging.WARNING)

    def note(self, code: str, message: str, *, where: Sequence[str] = (), remedy: str = "") -> None:
        """Record and log a note, once."""
        self._say(Diagnostic("note", code, message, tuple(where), remedy), logging.INFO)

    def raise_errors(self, kind: type[SnncError] = CompileError) -> None:
        """Raise all the errors collected so far together, if there is one."""
        errors = [d for d in self.items if d.severity == "error"]
        if errors:
            raise kind(errors)

    def take(self, others: Diagnostics) -> None:
        """Say what another collector has held back, in its order."""
        for diagnostic in others.items:
            if diagnostic.severity == "error":
                self.items.append(diagnostic)
            else:
                self._say(diagnostic, logging.WARNING if diagnostic.severity == "warning" else logging.INFO)

    def _say(self, diagnostic: Diagnostic, level: int) -> None:
        if diagnostic not in self._said:
            self._said.add(diagnostic)
            self.items.append(diagnostic)
            self._log.log(level, "%s", diagnostic)


class HeldBack(Diagnostics):
    """Collects without logging, until another collector takes it over."""

    def _say(self, diagnostic: Diagnostic, level: int) -> None:
        del level
        self.items.append(diagnostic)
