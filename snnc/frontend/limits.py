"""What reading a model may cost; docs/limits.md states every bound."""

from __future__ import annotations

import dataclasses

MOST_ENTRIES = 100_000
"""Nodes, and tensors, that a model may have."""

_BYTES_PER_ELEMENT = 16


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds that keep a hostile or mistaken model from exhausting the machine.

    ``file_bytes`` bounds the model and its external data together (protobuf's own limit by default),
    ``nodes`` and ``tensors`` what it holds, bodies of control flow and functions included. ``elements``
    bounds every activation of one sample, and all constants that are computed or unpacked together;
    ``window`` the elements under a pooling window; ``operations`` the multiplications of one sample.
    """

    file_bytes: int = (1 << 31) - 1
    nodes: int = MOST_ENTRIES
    tensors: int = MOST_ENTRIES
    elements: int = 1 << 27
    window: int = 1 << 18
    operations: int = 1 << 35

    @classmethod
    def within(cls, memory: int, nodes: int = MOST_ENTRIES, tensors: int = MOST_ENTRIES) -> Limits:
        """The bounds for ``memory`` bytes."""
        most = cls.file_bytes
        return cls(min(most, memory), nodes, tensors, max(1, memory // _BYTES_PER_ELEMENT))
