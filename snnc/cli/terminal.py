"""What commands say: results on stdout, diagnostics and progress on stderr."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from snnc.diagnostics import Diagnostic, SnncError, UsageError
from snnc.files import write_whole

if TYPE_CHECKING:
    from rich.console import RenderableType

_LEAST = (logging.WARNING, logging.INFO, logging.DEBUG)

PATIENCE = 2.0
"""Seconds of silence before progress is shown."""


@dataclasses.dataclass
class Terminal:
    """The settings that every command shares."""

    verbosity: int = 0
    quiet: bool = False
    debug: bool = False
    diagnostics: str = "text"

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """What snnc logs goes to stderr, as far as it was asked for."""
        log = logging.getLogger("snnc")
        before = log.handlers, log.propagate, log.level
        log.handlers, log.propagate = [_Handler(self)], False
        log.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            log.handlers, log.propagate = before[:2]
            log.setLevel(before[2])

    def fail(self, error: SnncError) -> None:
        """Print an error with its context."""
        if self.diagnostics == "json":
            for diagnostic in error.diagnostics:
                self.diagnose(diagnostic)
            return
        if error.context:
            click.echo(error.context, err=True)
        for diagnostic in error.diagnostics:
            self.diagnose(diagnostic)

    def diagnose(self, diagnostic: Diagnostic) -> None:
        """Print one diagnostic: text, or a line of JSON."""
        as_json = self.diagnostics == "json"
        text = json.dumps(dataclasses.asdict(diagnostic)) if as_json else str(diagnostic)
        click.echo(text, err=True)

    @contextlib.contextmanager
    def progress(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """A function to call with (done, total): a bar appears after two seconds, on a terminal only."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, total: None
            return
        bar = _Bar(label)
        try:
            yield bar.update
        finally:
            bar.close()


class _Handler(logging.Handler):
    """Diagnostics as they are; other messages only with -v."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        if self._terminal.quiet:
            return
        content = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if isinstance(content, Diagnostic):
            self._terminal.diagnose(content)
        elif record.levelno >= _LEAST[min(self._terminal.verbosity, 2)]:
            click.echo(record.getMessage(), err=True)


class _Bar:
    def __init__(self, label: str) -> None:
        self._label = label
        self._begin = time.monotonic()
        self._shown: Any = None
        self._task: Any = None

    def update(self, done: int, total: int) -> None:
        if self._shown is None:
            if time.monotonic() - self._begin < PATIENCE:
                return
            from rich.console import Console
            from rich.progress import MofNCompleteColumn, Progress, TextColumn

            columns = (
                *Progress.get_default_columns(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
            )
            self._shown = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._shown.add_task(self._label, total=total, rate="")
            self._shown.start()
        rate = f"{done / (time.monotonic() - self._begin):.3g}/s"
        self._shown.update(self._task, completed=done, total=total, rate=rate)

    def close(self) -> None:
        if self._shown is not None:
            self._shown.stop()


def write_output(target: str, content: bytes) -> None:
    """Write a file completely or not at all. Raises UsageError (SNNC0160) if that is impossible."""
    try:
        write_whole(pathlib.Path(target), content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError.of("SNNC0160", f"cannot write {target}: {reason}") from None


def show(*items: RenderableType) -> None:
    """Print tables and texts on stdout; as wide as they need where stdout is not a terminal."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, soft_wrap=False)
    for item in items:
        console.print(item)
