"""Memories of packed words as ``$readmemh`` reads them: one word per line, lower-case hexadecimal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


def encode(fields: Sequence[tuple[npt.ArrayLike, int]]) -> bytes:
    """Words made of ``fields``, (values [N], bits) from the most significant on; values are cut to bits."""
    planes = [_bits(np.asarray(values, np.int64), width) for values, width in fields]
    bits = np.concatenate(planes, axis=1)
    nibbles = -(-bits.shape[1] // 4)
    bits = np.pad(bits, ((0, 0), (4 * nibbles - bits.shape[1], 0))).reshape(-1, nibbles, 4)
    text = np.full((len(bits), nibbles + 1), ord("\n"), np.uint8)
    text[:, :-1] = _DIGITS[bits @ np.array([8, 4, 2, 1], np.uint8)]
    return text.tobytes()


def encode_lanes(rows: Ints, bits: int) -> bytes:
    """Words of one row [lanes] each, lane 0 in the least significant bits."""
    return encode([(rows[:, lane], bits) for lane in reversed(range(rows.shape[1]))])


def _bits(values: Ints, width: int) -> npt.NDArray[np.uint8]:
    shifts = np.arange(width - 1, -1, -1)
    return ((values[:, None] >> np.minimum(shifts, 63)) & 1).astype(np.uint8)
