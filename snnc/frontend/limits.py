"""What reading a model may cost."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds that keep a hostile or mistaken model from exhausting the machine.

    ``file_bytes`` bounds the model and its external data together (protobuf's own limit by default),
    ``elements`` every constant that is computed and every activation of one sample.
    """

    file_bytes: int = (1 << 31) - 1
    nodes: int = 100_000
    elements: int = 1 << 27
