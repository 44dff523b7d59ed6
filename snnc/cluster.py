"""Dask clusters: connecting to one whose workers can do the work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from snnc.diagnostics import CompileError, UsageError
from snnc.version import __version__


def connect(address: str) -> Any:
    """A client of the Dask scheduler at ``address``, whose workers have this version of snnc.

    Raises UsageError if there is no such cluster.
    """
    try:
        import distributed
    except ImportError:
        remedy = "install it with: pip install 'snnc[cluster]'"
        raise UsageError.of("SNNC0163", "a cluster needs the package distributed", remedy=remedy) from None
    try:
        client = distributed.Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError.of("SNNC0165", f"there is no Dask scheduler at {address}: {error}") from None
    try:
        _check_workers(client, address)
    except UsageError:
        client.close()
        raise
    return client


@contextlib.contextmanager
def losses(address: str) -> Iterator[None]:
    """Raise CompileError (SNNC0165) where a cluster lost work that it cannot repeat."""
    import distributed
    from distributed.client import FutureCancelledError

    try:
        yield
    except (distributed.KilledWorker, FutureCancelledError) as error:
        message = f"the cluster at {address} lost its workers: {error}"
        raise CompileError.of("SNNC0165", message, remedy="run the command again") from None


def _check_workers(client: Any, address: str) -> None:
    """Raise UsageError unless there are workers, all with this version of snnc."""
    try:
        found = client.run(_version)
    except Exception as error:
        raise UsageError.of("SNNC0165", f"the workers of {address} cannot import snnc: {error}") from None
    if not found:
        raise UsageError.of("SNNC0165", f"the Dask scheduler at {address} has no workers")
    others = sorted(set(found.values()) - {__version__})
    if others:
        raise UsageError.of("SNNC0165", f"workers have snnc {', '.join(others)}, this is {__version__}")


def _version() -> str:
    return __version__
