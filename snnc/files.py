"""Files written whole, and read if they are regular: a FIFO would hang, a device may never end."""

from __future__ import annotations

import os
import pathlib
import stat
import tempfile


class NotRegularError(OSError):
    """The path is a folder, FIFO, socket, device or link."""


class TooLargeError(OSError):
    """The file is larger than allowed."""


# O_NONBLOCK lets the open of a FIFO return; Windows has neither flag, nor FIFOs in its file system
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def read_regular(path: pathlib.Path, *, limit: int) -> bytes:
    """The whole of a regular file. Raises OSError, :class:`NotRegularError` or :class:`TooLargeError`."""
    # os.open refuses a folder with a different error on each platform
    if path.is_dir():
        raise NotRegularError("it is a folder")
    with os.fdopen(_open(path, _FLAGS), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise NotRegularError("it is not a regular file")
        if status.st_size > limit:
            raise TooLargeError(f"{status.st_size} bytes, more than {limit}")
        # a file that grows meanwhile must not pass the limit either
        data = file.read(limit + 1)
    if len(data) > limit:
        raise TooLargeError(f"more than {limit} bytes")
    return data


def read_inside(folder: pathlib.Path, name: str, *, limit: int) -> bytes:
    """The whole of the regular file ``name``, a path with slashes, if no link leads from ``folder`` to it.

    Raises as :func:`read_regular`.
    """
    path = folder
    for part in pathlib.PurePosixPath(name).parts:
        path = path / part
        if path.is_symlink():
            raise NotRegularError(f"{part} is a symbolic link")
    return read_regular(path, limit=limit)


def read_private_part(path: pathlib.Path, offset: int, length: int) -> bytes:
    """``length`` bytes at ``offset`` of a regular file that has no other name.

    A hard or symbolic link could name a file outside of the folder that ``path`` seems to lie in.
    Raises OSError, :class:`NotRegularError`, or EOFError if the file is too short.
    """
    if path.is_symlink():
        raise NotRegularError("it is a symbolic link")
    with os.fdopen(_open(path, _FLAGS | _NO_LINK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise NotRegularError("it is not a regular file")
        if status.st_nlink > 1:
            raise NotRegularError("it is a hard link")
        if offset + length > status.st_size:
            raise EOFError(f"bytes {offset} to {offset + length} of a file of {status.st_size}")
        file.seek(offset)
        return file.read(length)


def _open(path: pathlib.Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except ValueError:
        raise NotRegularError("a name cannot hold NUL") from None


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Write a file completely or not at all; what is no regular file, such as a pipe, is written to.

    Raises OSError.
    """
    if os.path.exists(path) and not path.is_file():
        path.write_bytes(content)
        return
    target = path.resolve()
    handle, partial = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".partial", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        pathlib.Path(partial).chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~mask)
        os.replace(partial, target)
    except BaseException:
        pathlib.Path(partial).unlink(missing_ok=True)
        raise
