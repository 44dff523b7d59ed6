"""Results in the order of what they are of, while others are worked on."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def in_order(submit: Callable[[T], Any], items: Iterable[T], most: int) -> Iterator[Any]:
    """The results of the futures that ``submit`` gives for each item, ``most`` at a time."""
    waiting = iter(items)
    pending = collections.deque(submit(item) for item in itertools.islice(waiting, most))
    while pending:
        yield pending.popleft().result()
        pending.extend(submit(item) for item in itertools.islice(waiting, 1))
