"""Tasks that run in the background in their order, and whose results are taken in their order."""

from __future__ import annotations

import collections
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Background:
    """One thread that works through tasks while its owner goes on.

    At the end of a ``with`` block all results are taken. The error of a task is raised where its result is
    taken, and even in the place of an error of the block: what the block did next came after the task.
    """

    def __init__(self, ahead: int) -> None:
        """So many tasks may be unfinished while the owner goes on; with none, it waits for each."""
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(1)
        self._pending: collections.deque[tuple[Future[Any], Callable[[Future[Any]], None]]] = (
            collections.deque()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            # who interrupts does not wait
            if kind is None or issubclass(kind, Exception):
                self.settle()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def give(self, task: Callable[[], T], take: Callable[[Future[T]], None]) -> None:
        """Run ``task`` after those before; its owner's thread will ``take`` what comes of it."""
        # as the owner would run it: NumPy keeps there what it warns of
        self._pending.append((self._pool.submit(contextvars.copy_context().run, task), take))
        while self._pending and (len(self._pending) > self._ahead or self._pending[0][0].done()):
            self._take_next()

    def settle(self) -> None:
        """Take all results."""
        while self._pending:
            self._take_next()

    def _take_next(self) -> None:
        future, take = self._pending.popleft()
        try:
            take(future)
        except BaseException:
            # what comes after a failure is of no interest
            self._pending.clear()
            raise
