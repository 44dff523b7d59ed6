"""What flows into a population, and which sums of it are proved exact in floating point."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from snnc import fixedpoint
from snnc.fixedpoint import FLOAT32_EXACT, FLOAT64_EXACT
from snnc.ir.ops import Weighted

Array = npt.NDArray[Any]


class UnprovedError(Exception):
    """A sum is not known to be exact in floating point."""


@dataclasses.dataclass(frozen=True)
class Term:
    """``op``, without its shift, of ``operand``, which counts ``factor``·2^``unit`` times.

    Within ±``bound`` [M] for each channel, all of that included, and every partial sum is so, too. ``codes``
    are the operand as bytes, channel last, where their product is the quicker one.
    """

    op: Weighted
    operand: str
    rank: int
    unit: int
    factor: int
    bound: npt.NDArray[np.int64]
    codes: str = ""


def magnitude_of(op: Weighted, low: int, high: int) -> npt.NDArray[np.int64]:
    """A bound [M] of all partial sums of each channel, without the shift."""
    weight = op.weight.array
    ends = fixedpoint.product_range(weight.reshape(weight.shape[0] if weight.ndim else 1, -1), low, high)
    return np.maximum(-ends[0], ends[1])


def term_of(op: Weighted, operand: str, rank: int, magnitude: Array, scale: int, codes: str = "") -> Term:
    """``op``, whose partial sums lie within ±``magnitude`` [M], ``scale`` times; raises UnprovedError."""
    unit = (scale & -scale).bit_length() - 1
    if int(magnitude.max()) * scale >= FLOAT64_EXACT:
        raise UnprovedError
    return Term(op, operand, rank, unit, scale >> unit, magnitude * scale, codes)


def bound_of(terms: Sequence[Term]) -> npt.NDArray[np.int64]:
    """Of the sum of all, for each channel."""
    return np.asarray(sum(term.bound for term in terms))


def fits_single(terms: Sequence[Term]) -> bool:
    """Whether the sum of the terms, a multiple of the least unit, is exact in float32."""
    return int(bound_of(terms).max()) >> min(term.unit for term in terms) < FLOAT32_EXACT
