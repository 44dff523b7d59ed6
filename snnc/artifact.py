"""The directory that a compilation writes: complete or not there, every file named by its sha256.

A report holds measured times, so the manifest lists it without a digest; it carries its own, and the
rest of the directory is the same bytes wherever it is made.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import pathlib
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from snnc import files
from snnc.diagnostics import CompileError, Diagnostic, UsageError

FORMAT, VERSION = "snnc-artifact", 1
MANIFEST = "manifest.json"
REPORT = "report.json"
NETWORK = "network.snn"
BLOBS = "blobs"
SOURCE = "source/model.onnx"
STATISTICS = "calibration.json"
BUILD = "build"
"""Where the Makefile of a hardware backend writes: what lies there belongs to no artifact."""

TEXT_BYTES = 1 << 25
"""No text of an artifact may be larger: parsed, it takes a hundred times as much memory."""

MODEL_BYTES = (1 << 31) - 1

_SYNCED_TOGETHER = 8
_EXCHANGE = 2
_CURRENT_FOLDER = -100


def to_json(value: Any) -> bytes:
    """Strict, canonical JSON: sorted keys, ASCII, no NaN; ends with a newline."""
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def parse_json(content: bytes, name: str) -> Any:
    """The value of strict JSON. Raises CompileError (SNNC0161) naming the file if it is not."""
    try:
        return json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise CompileError.of("SNNC0161", f"{name} is not JSON") from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def check_output(out: pathlib.Path) -> None:
    """Raise UsageError unless an artifact can be put at ``out``.

    That is a new name, an empty folder or an artifact, in a folder that exists and can be written.
    """
    parent = out.resolve().parent
    if not parent.is_dir():
        raise UsageError.of("SNNC0164", f"there is no folder {parent}", remedy="make it first")
    if not os.access(parent, os.W_OK):
        raise UsageError.of("SNNC0160", f"cannot write into {parent}")
    if not os.path.lexists(out) or _is_artifact(out) or _is_empty(out):
        return
    what = "a folder that is not an snnc artifact" if out.is_dir() else "not a folder"
    raise UsageError.of(
        "SNNC0160", f"{out} exists and is {what}", remedy="choose another output, or remove it yourself"
    )


@contextlib.contextmanager
def replacing(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder beside ``out`` that takes its place if the block ends well, and vanishes if not."""
    check_output(out)
    target = out.resolve()
    partial = pathlib.Path(
        tempfile.mkdtemp(prefix=f".{target.name[:100]}.", suffix=".partial", dir=target.parent)
    )
    try:
        partial.chmod(0o777 & ~_umask())
        yield partial
        _sync(partial)
        _put(partial, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise UsageError.of("SNNC0160", f"cannot write {out}: {error.strerror or error}") from None
    finally:
        # after an exchange this is what stood at OUT before
        shutil.rmtree(partial, ignore_errors=True)


def seal(folder: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Write the manifest of all files in ``folder``; ``content`` is what else it says."""
    digests = {name: None if name == REPORT else sha256(path) for name, path in _files(folder).items()}
    manifest = {"format": FORMAT, "version": VERSION, "files": digests, **content}
    (folder / MANIFEST).write_bytes(to_json(manifest))


def report_bytes(report: Mapping[str, Any]) -> bytes:
    """A report with the digest of its own content."""
    return to_json({**report, "digest": hashlib.sha256(to_json(report)).hexdigest()})


def manifest(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest of an artifact. Raises UsageError if the folder is missing, CompileError if it is none."""
    if not folder.exists():
        raise UsageError.of("SNNC0164", f"there is no folder {folder}")
    path = folder / MANIFEST
    if not path.is_file():
        raise CompileError.of("SNNC0161", f"{folder} is not an snnc artifact: it has no {MANIFEST}")
    content = parse_json(_bytes(folder, MANIFEST, TEXT_BYTES), str(path))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CompileError.of("SNNC0161", f"{path} is not the manifest of an snnc artifact")
    if content.get("version") != VERSION:
        message = f"{folder} has artifact version {content.get('version')!r}, this snnc reads {VERSION}"
        raise CompileError.of("SNNC0161", message)
    if not _well_formed(content.get("files")):
        raise CompileError.of("SNNC0161", f"{path} has no list of files")
    return content


def emitted(content: Mapping[str, Any]) -> list[str]:
    """The files that backends wrote, of an artifact with this manifest."""
    own = {REPORT, NETWORK, SOURCE, STATISTICS}
    return sorted(name for name in content["files"] if name not in own and not name.startswith(f"{BLOBS}/"))


def verify_artifact(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest, if every file is there, unchanged, and no other.

    Raises CompileError (SNNC0161) with all that was changed, is missing or was added.
    """
    content = manifest(folder)
    present = _files(folder)
    problems = [f"{name} is missing" for name in sorted(content["files"].keys() - present.keys())]
    problems += [
        f"{name} was added" for name in sorted(present.keys() - content["files"].keys() - {MANIFEST})
    ]
    for name in sorted(content["files"].keys() & present.keys()):
        if not _unchanged(present[name], content["files"][name]):
            problems.append(f"{name} was changed")
    if problems:
        raise CompileError([Diagnostic("error", "SNNC0161", f"{folder}: {p}") for p in problems])
    return content


def read(folder: pathlib.Path, content: Mapping[str, Any], name: str) -> bytes:
    """One file of an artifact with this manifest. Raises CompileError if it is missing or changed."""
    if name not in content["files"] or not (folder / name).is_file():
        raise CompileError.of("SNNC0161", f"{folder}: {name} is missing")
    found = _bytes(folder, name, MODEL_BYTES if name == SOURCE else TEXT_BYTES)
    if not _is(found, content["files"][name], name):
        raise CompileError.of("SNNC0161", f"{folder}: {name} was changed")
    return found


def _bytes(folder: pathlib.Path, name: str, limit: int) -> bytes:
    try:
        return files.read_inside(folder, name, limit=limit)
    except OSError as error:
        raise CompileError.of(
            "SNNC0161", f"{folder}: cannot read {name}: {error.strerror or error}"
        ) from None


def sha256(path: pathlib.Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unchanged(path: pathlib.Path, digest: str | None) -> bool:
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    if digest is not None:
        return sha256(path) == digest
    return _is(_bytes(path.parent, path.name, TEXT_BYTES), None, str(path))


def _is(content: bytes, digest: str | None, name: str) -> bool:
    """Whether a file has its digest; a report has its own.

    A report is compared as bytes: two texts of a float may stand for one value.
    """
    if digest is not None:
        return hashlib.sha256(content).hexdigest() == digest
    report = parse_json(content, name)
    if not isinstance(report, dict):
        return False
    report.pop("digest", None)
    return report_bytes(report) == content


def _well_formed(files: Any) -> bool:
    if not isinstance(files, dict):
        return False
    inside = all(not n.startswith("/") and ".." not in n.split("/") and "\0" not in n for n in files)
    return inside and all(d is None or isinstance(d, str) for d in files.values())


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Everything but folders and builds below ``folder``, by its path with slashes."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or not path.is_dir()) and path.relative_to(folder).parts[0] != BUILD
    }


def _is_artifact(out: pathlib.Path) -> bool:
    try:
        manifest(out)
    except (CompileError, UsageError):
        return False
    return True


def _is_empty(out: pathlib.Path) -> bool:
    return out.is_dir() and not any(out.iterdir())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(folder: pathlib.Path) -> None:
    everything = [*folder.rglob("*"), folder]
    with ThreadPoolExecutor(_SYNCED_TOGETHER) as pool:
        # a disk takes many at a time; a folder is written when what is in it has been
        list(pool.map(_sync_file, (path for path in everything if path.is_file())))
    for path in everything:
        if path.is_dir():
            _sync_folder(path)


def _sync_file(path: pathlib.Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: pathlib.Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put(partial: pathlib.Path, target: pathlib.Path) -> None:
    """Give ``partial`` the name ``target``; what was there before ends up at ``partial`` or nowhere."""
    if not target.exists():
        partial.rename(target)
        return
    if _exchange(partial, target):
        return
    aside = partial.with_suffix(".old")
    target.rename(aside)
    try:
        partial.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Swap two names at once, so that no moment is without an artifact; False where that is impossible."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    names = (_CURRENT_FOLDER, os.fsencode(one), _CURRENT_FOLDER, os.fsencode(other))
    if library.renameat2(*names, ctypes.c_uint(_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))
