"""Read-only arrays, equal by content and stored by content hash."""

from __future__ import annotations

import functools
import hashlib
import io
import math
import os
import pathlib
from typing import Any

import numpy as np

from snnc import files
from snnc.diagnostics import CompileError

DTYPES: dict[str, type[np.generic]] = {
    "f64": np.float64,
    "f32": np.float32,
    "i64": np.int64,
    "i32": np.int32,
    "i16": np.int16,
    "i8": np.int8,
}
_HEADER_BYTES = 1 << 12
_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


class Constant:
    """An immutable array: two constants are equal if dtype, shape and bytes are.

    A constant made by :meth:`from_blob` reads its file when its array is first needed.
    """

    def __init__(self, array: Any) -> None:
        """``array`` is copied; Python numbers become float64 or int64.

        Raises ValueError for a dtype outside :data:`DTYPES`.
        """
        # np.array keeps 0-d arrays 0-d, which np.ascontiguousarray does not
        value = np.array(array, order="C", copy=True)
        if value.dtype not in _NAMES:
            raise ValueError(f"constants of type {value.dtype} are not supported")
        value.setflags(write=False)
        self.dtype = value.dtype
        self.shape: tuple[int, ...] = value.shape
        self._array: np.ndarray[Any, Any] | None = value
        self._blob: pathlib.Path | None = None

    @classmethod
    def from_blob(cls, folder: pathlib.Path, digest: str, dtype: str, shape: tuple[int, ...]) -> Constant:
        """The constant stored as ``folder/<digest>.npy``, read lazily and checked then."""
        self = cls.__new__(cls)
        self.dtype = np.dtype(DTYPES[dtype])
        self.shape = shape
        self._array = None
        self._blob = folder / f"{digest}.npy"
        self.__dict__["digest"] = digest
        return self

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The read-only array. Raises CompileError if its blob is missing or differs."""
        if self._array is None:
            self._array = self._read_blob()
        return self._array

    @property
    def type_name(self) -> str:
        """The dtype as written in IR text, such as ``f64``."""
        return _NAMES[self.dtype]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def is_integer(self) -> bool:
        """Whether the elements are integers."""
        return bool(np.issubdtype(self.dtype, np.integer))

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of the little-endian .npy file that holds this array."""
        return hashlib.sha256(self._npy()).hexdigest()

    def write_blob(self, folder: pathlib.Path) -> None:
        """Store the array as ``folder/<digest>.npy`` unless it is there already."""
        path = folder / f"{self.digest}.npy"
        if path.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(self._npy())
        partial.replace(path)

    def _npy(self) -> bytes:
        buffer = io.BytesIO()
        little = self.array.astype(self.dtype.newbyteorder("<"), copy=False)
        np.lib.format.write_array(buffer, little, version=(1, 0), allow_pickle=False)
        return buffer.getvalue()

    def _read_blob(self) -> np.ndarray[Any, Any]:
        assert self._blob is not None
        wanted = self.size * self.dtype.itemsize
        try:
            data = files.read_inside(self._blob.parent, self._blob.name, limit=wanted + _HEADER_BYTES)
        except OSError as error:
            message = f"cannot read {self._blob}: {error.strerror or error}"
            raise CompileError.of("SNNC0161", message) from None
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise CompileError.of("SNNC0161", f"{self._blob} does not hold what its name says")
        try:
            stored = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
            array = stored.astype(self.dtype, copy=False)
        except Exception:
            # its name may be right and its content wrong: whatever numpy makes of that
            raise CompileError.of("SNNC0161", f"{self._blob} is not an array") from None
        if stored.shape != self.shape or stored.dtype.newbyteorder("=") != self.dtype:
            found = f"{stored.dtype.name}{list(stored.shape)}"
            expected = f"{self.dtype.name}{list(self.shape)}"
            raise CompileError.of("SNNC0161", f"{self._blob} holds {found}, not {expected}")
        array.setflags(write=False)
        return np.asarray(array)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant):
            return NotImplemented
        return self is other or (
            self.dtype == other.dtype and self.shape == other.shape and (self.digest == other.digest)
        )

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape))

    def __repr__(self) -> str:
        return f"Constant({self.type_name}{list(self.shape)})"
