"""The rows of a sweep on disk: one line of JSON each, under the digest of what was run.

A row is written as soon as it is measured, so that a sweep that was stopped continues where it was.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from snnc.artifact import parse_json, to_json
from snnc.diagnostics import CompileError, UsageError
from snnc.sweep.bench import Row
from snnc.sweep.front import priced

FORMAT, VERSION = "snnc-sweep", 1
ROWS = "rows.jsonl"
_HEADER = json.dumps({"format": FORMAT, "version": VERSION})


class Results:
    """The rows in ``folder``, which is made when the first is stored."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Raises UsageError if the folder cannot be used, CompileError (SNNC0161) if its rows are damaged."""
        self.folder = folder
        self._path = folder / ROWS
        if folder.exists() and not self._path.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError.of(
                "SNNC0160",
                f"{folder} exists and holds no sweep",
                remedy="choose another output, or remove it yourself",
            )
        parent = folder.resolve().parent
        if not parent.is_dir():
            raise UsageError.of("SNNC0164", f"there is no folder {parent}", remedy="make it first")
        with self._usable():
            self._rows = self._read() if self._path.exists() else {}

    def get(self, key: str) -> Row | None:
        """The row of an earlier run."""
        return self._rows.get(key)

    def add(self, key: str, row: Row) -> None:
        """Store a row; it is on the disk when this returns. Raises UsageError if that is impossible."""
        with self._usable():
            self.folder.mkdir(exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                if not file.tell():
                    file.write(f"{_HEADER}\n")
                file.write(json.dumps({"key": key, "row": row}, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self._rows[key] = row

    def write(self, name: str, content: bytes) -> None:
        """Put a file beside the rows, at once or not at all. Raises UsageError if that is impossible."""
        partial = self.folder / f".{name}.partial"
        with self._usable():
            partial.write_bytes(content)
            partial.replace(self.folder / name)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError.of("SNNC0160", f"cannot use {self.folder}: {error.strerror}") from None

    def _read(self) -> dict[str, Row]:
        content = self._path.read_bytes()
        whole, _, torn = content.rpartition(b"\n")
        if torn:
            # the line that was being written when the sweep was killed
            os.truncate(self._path, len(content) - len(torn))
        header, *lines = whole.split(b"\n")
        if whole and header != _HEADER.encode():
            raise CompileError.of("SNNC0161", f"{self._path} is not {FORMAT} version {VERSION}")
        entries = [parse_json(line, f"{self._path}, line {i}") for i, line in enumerate(lines, 2)]
        return {entry["key"]: entry["row"] for entry in entries}


def to_csv(rows: Sequence[Row]) -> bytes:
    """A table with a header; energies are columns ``<name>_picojoules``."""
    flat = [_flat(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().encode()


def to_document(rows: Sequence[Row]) -> bytes:
    """All rows as one strict JSON document."""
    return to_json({"format": FORMAT, "version": VERSION, "rows": list(rows)})


def _flat(row: Row) -> dict[str, Any]:
    plain = {name: value for name, value in row.items() if name != "energy"}
    energies = {f"{name}_picojoules": priced(row, name) for name in row["energy"]}
    return plain | energies
