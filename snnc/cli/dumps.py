"""The IR after passes, printed or written in MLIR's manner."""

from __future__ import annotations

import pathlib
from collections.abc import Collection
from typing import TYPE_CHECKING

import click

from snnc.cli.terminal import write_output
from snnc.diagnostics import UsageError

if TYPE_CHECKING:
    from snnc.ir.network import Network
    from snnc.passes.base import Pass


class Dumper:
    """Told of every pass that ran; prints on stderr and writes numbered files."""

    def __init__(self, after: Collection[str], everything: bool, folder: str | None) -> None:
        """``after`` are names of passes. Raises UsageError if ``folder`` cannot be made."""
        self._after, self._everything = after, everything
        self._folder = pathlib.Path(folder) if folder is not None else None
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                message = f"cannot write into {self._folder}: {reason}"
                raise UsageError.of("SNNC0160", message) from None

    def __call__(self, index: int, step: Pass | None, network: Network) -> None:
        """``step`` is None for the network before the first pass."""
        from snnc.ir.printer import print_network

        name = step.name if step is not None else "import"
        if self._everything or name in self._after:
            click.echo(f"// -----// IR after {name} //----- //", err=True)
            click.echo(print_network(network), err=True, nl=False)
        if self._folder is not None:
            try:
                text = print_network(network, blobs=self._folder / "blobs")
            except OSError as error:
                message = f"cannot write into {self._folder}: {error.strerror}"
                raise UsageError.of("SNNC0160", message) from None
            write_output(str(self._folder / f"{index:02}-{name}.snn"), text.encode())
