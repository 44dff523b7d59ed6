"""Compilation by numba, kept between processes in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import pathlib
import sys
import threading
from collections.abc import Callable
from typing import Any, cast

import numba
from numba.core import config
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys

Kernel = Callable[..., Any]

# its attributes come from the environment, unknown to type checkers
_NUMBA: Any = config

_SOURCES = ("jit.py", "ir/counting.py", "backends/fast/kernels.py", "backends/fast/vector.py")


def cache_folder() -> pathlib.Path:
    """Where compiled kernels are kept: numba's own choice if the user made it, else the platform's.

    A subfolder for each state of the sources, for numba looks at one file alone and not at what it imports.
    """
    if _NUMBA.CACHE_DIR:
        return pathlib.Path(_NUMBA.CACHE_DIR)
    home = pathlib.Path.home()
    if sys.platform == "win32":
        base = pathlib.Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    here = pathlib.Path(__file__).parent
    digest = hashlib.sha256(b"".join((here / name).read_bytes() for name in _SOURCES))
    return base / "snnc" / f"kernels-{digest.hexdigest()[:16]}"


def _usable(folder: pathlib.Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


try:
    _FOLDER: pathlib.Path | None = cache_folder()
except (OSError, RuntimeError):
    # no home folder, or sources that cannot be read
    _FOLDER = None
_CACHED = _FOLDER is not None and _usable(_FOLDER)
# numba reads the setting twice: reset in between by another thread, it would cache in the current folder
_SETTING = threading.Lock()


class _Runtime:
    """A target with the runtime that arrays need, whether or not it is ready to compile."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def refresh(self) -> None:
        rtsys.initialize(self._target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


class _Cache(FunctionCache):
    """Numba's own prepares the target to compile, which takes half a second, before it looks for a kernel."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kernel for these types, None if there is none."""
        return super().load_overload(sig, _Runtime(target_context))  # type: ignore[no-untyped-call]


def compiled(function: Kernel) -> Kernel:
    """``function`` in machine code, without the interpreter lock; compiled at its first call."""
    with _SETTING:
        before = _NUMBA.CACHE_DIR
        # read when the kernel is made; other users of numba in this process keep their own folder
        _NUMBA.CACHE_DIR = str(_FOLDER) if _CACHED else before
        try:
            kernel: Any = numba.njit(nogil=True, error_model="numpy")(function)
            if _CACHED:
                kernel._cache = _Cache(function)  # type: ignore[no-untyped-call]
        finally:
            _NUMBA.CACHE_DIR = before
    return cast(Kernel, kernel)
