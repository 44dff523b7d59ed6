"""Memory files: integers as Verilog's ``$readmemh`` reads them.

One two's-complement word per line, in row-major order, ⌈bits/4⌉ lower-case hexadecimal digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from snnc.diagnostics import CompileError

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_NEWLINE = ord("\n")
_INVALID = 255


def _decoding_table() -> npt.NDArray[np.uint8]:
    table = np.full(256, _INVALID, np.uint8)
    table[_DIGITS] = np.arange(16)
    return table


_VALUES = _decoding_table()


def encode(values: npt.NDArray[Any], bits: int) -> bytes:
    """The text of ``values``, which must fit into ``bits`` ≤ 64 bits."""
    width = (bits + 3) // 4
    words = np.ravel(values).astype(np.int64).astype(np.uint64) & np.uint64((1 << bits) - 1)
    text = np.empty((words.size, width + 1), np.uint8)
    text[:, width] = _NEWLINE
    for digit in range(width):
        shift = np.uint64(4 * (width - 1 - digit))
        text[:, digit] = _DIGITS[(words >> shift) & np.uint64(15)]
    return text.tobytes()


def decode(text: bytes, bits: int, size: int, name: str) -> npt.NDArray[np.int64]:
    """The ``size`` integers of a memory file, int64 [size].

    Raises CompileError (SNNC0161) unless the text is what :func:`encode` writes; ``name`` is the file's.
    """
    width = (bits + 3) // 4
    if len(text) != size * (width + 1):
        raise CompileError.of("SNNC0161", f"{name} does not hold {size} words of {width} digits")
    lines = np.frombuffer(text, np.uint8).reshape(size, width + 1)
    if (lines[:, width] != _NEWLINE).any() or (_VALUES[lines[:, :width]] == _INVALID).any():
        raise CompileError.of("SNNC0161", f"{name} is not a memory of {width} hexadecimal digits per line")
    words = np.zeros(size, np.uint64)
    for digit in range(width):
        words = (words << np.uint64(4)) | _VALUES[lines[:, digit]]
    if (words > np.uint64((1 << bits) - 1)).any():
        raise CompileError.of("SNNC0161", f"{name} holds words of more than {bits} bits")
    # moving the sign bit to the top and back extends it
    spare = np.uint64(64 - bits)
    return (words << spare).view(np.int64) >> spare.astype(np.int64)
