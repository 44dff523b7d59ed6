"""Files of arrays, .npy and .npz: never pickled, sizes checked before anything is read."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pathlib
import stat
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from snnc.diagnostics import CompileError, SnncError, UsageError

Array = npt.NDArray[Any]

_SUFFIX = ".npy"
_MOST_ARRAYS = 1000
_LONGEST_HEADER = 10_000


@dataclasses.dataclass(frozen=True)
class Header:
    """What an array is before it is read."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """The size of the array's elements."""
        size = self.dtype.itemsize
        for extent in self.shape:
            size *= extent
        return size


class ArrayFile:
    """A .npy or .npz file whose arrays are listed without being read."""

    def __init__(self, path: pathlib.Path, code: str, max_memory: int) -> None:
        """``code`` is that of the errors; no array larger than ``max_memory`` bytes is read.

        Raises UsageError if the path does not exist, CompileError if it is not such a file.
        """
        self.path, self._code, self._limit = path, code, max_memory
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            raise UsageError.of("SNNC0164", f"there is no file {path}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError.of("SNNC0164", f"cannot read {path}: {reason}") from None
        if not stat.S_ISREG(mode):
            raise CompileError.of(code, f"{path} is not a regular file")
        with self._reading(), path.open("rb") as file:
            magic = file.read(6)
        if magic != b"\x93NUMPY" and magic[:4] not in (b"PK\x03\x04", b"PK\x05\x06"):
            raise CompileError.of(code, f"{path} is neither a .npy nor a .npz file")
        self.zipped = magic[:2] == b"PK"

    def headers(self) -> dict[str, Header]:
        """Every array by its key; the one of a .npy file has the key ''."""
        found = {}
        with self._reading():
            if not self.zipped:
                with self.path.open("rb") as file:
                    return {"": _header(file)}
            with zipfile.ZipFile(self.path) as archive:
                members = [name for name in archive.namelist() if name.endswith(_SUFFIX)]
                if len(members) > _MOST_ARRAYS:
                    raise self._error(f"holds {len(members)} arrays, more than {_MOST_ARRAYS}")
                for member in members:
                    with archive.open(member) as stream:
                        found[member.removesuffix(_SUFFIX)] = _header(stream)
        return found

    def read(self, key: str, limit: int | None = None) -> Array:
        """The first ``limit`` rows of an array, or all; of a .npy file as a read-only map of the file.

        Raises CompileError if the array exceeds the memory limit, is pickled or damaged.
        """
        with self._reading():
            if not self.zipped:
                with self.path.open("rb") as file:
                    _header(file)
                mapped = np.lib.format.open_memmap(self.path, mode="r")
                return np.asarray(mapped[:limit] if mapped.ndim else mapped)
            with zipfile.ZipFile(self.path) as archive, archive.open(key + _SUFFIX) as stream:
                header = _header(stream)
                rows = header.shape[0] if header.shape else 1
                wanted = rows if limit is None or header.fortran else min(limit, rows)
                part = dataclasses.replace(header, shape=(wanted, *header.shape[1:]) if header.shape else ())
                if part.bytes > self._limit:
                    raise self._error(
                        f"array {key!r} takes {part.bytes} bytes, more than the limit of {self._limit}",
                        "raise --max-memory, or use --limit or fewer samples",
                    )
                raw = stream.read(part.bytes)
        if len(raw) != part.bytes:
            raise self._error(f"array {key!r} is cut short")
        flat: Array = np.frombuffer(raw, part.dtype)
        array: Array = flat.reshape(part.shape, order="F" if part.fortran else "C")
        return array[:limit] if array.ndim else array

    def _error(self, message: str, remedy: str = "") -> CompileError:
        return CompileError.of(self._code, f"{self.path}: {message}", remedy=remedy)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Turns whatever a damaged file makes the readers raise into a diagnostic."""
        try:
            yield
        except SnncError:
            raise
        except Exception as error:
            # zipfile, its decompressors and numpy let a dozen kinds of exception out
            raise self._error(f"cannot be read: {error or type(error).__name__}") from None


def _header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    reader = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    if version[0] not in reader:
        raise ValueError(f"unsupported .npy version {version[0]}.{version[1]}")
    # numpy reads as many bytes as are announced, up to 4 GB, before it looks at them
    size = stream.read(2 if version[0] == 1 else 4)
    length = int.from_bytes(size, "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header of {length} bytes is too long")
    shape, fortran, dtype = reader[version[0]](io.BytesIO(size + stream.read(length)))
    if dtype.hasobject:
        raise ValueError("holds Python objects (pickled), which are never read")
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape {list(shape)} is negative")
    return Header(shape, fortran, dtype)
