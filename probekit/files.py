"""One writer and one reader for every file of the package.

**Writing.** A file or folder is built beside its target under a hidden name made from the target's, flushed to the
disk and renamed. At any moment the target is the old or the new one, whole. What a killed process leaves behind is
removed by the next process that writes into the same folder. A disk that is full or read-only is a `StorageError`, and
the old file stays.

**Reading.** Regular files only: reading a pipe, a device or a socket can block. Sizes are checked
before anything is built from a file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from probekit.errors import ProbekitError, StorageError
from probekit.owners import lives, me

PART = ".part"
"""Ending of names that are being written."""

FOREIGN_AGE = 3600.0
"""Seconds after which an unfinished file of another machine, which cannot be asked whether it lives, is removed."""

JSON_BYTES = 64 * 2**20
"""Largest JSON file that is read."""

JSON_DEPTH = 64
"""Deepest nesting of lists and objects in a JSON file."""

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EIO: "the disk reports an input/output error",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EEXIST: "a part of its path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENOENT: "it is not there",
    errno.ELOOP: "its links lead in a circle",
    errno.EMFILE: "too many files are open",
}
"""What the common faults of a file system are called in messages."""


def reason(error: BaseException) -> str:
    """Why a file cannot be read or written, in words."""
    code = error.errno if isinstance(error, OSError) else None
    return REASONS.get(code or 0, "") or getattr(error, "strerror", None) or str(error) or type(error).__name__


# --- writing ----------------------------------------------------------------------------------------------------------


@contextmanager
def written_whole(
    target: str | os.PathLike[str],
    *,
    kept: str = "What was there before is unchanged.",
    also: tuple[type[Exception], ...] = (),
    sync: bool = True,
) -> Iterator[Path]:
    """A path to write a file or folder at; on success it becomes `target`, on any failure it vanishes.

    An existing target is replaced as a whole. A link is followed, so that what it points to is replaced. Parent folders
    are made.

    Args:
        target: the file or folder to write.
        kept: what is safe and what to do if the target cannot be written: the end of the error's message.
        also: other exceptions that the library that writes raises where the disk fails.
        sync: flush to the disk before renaming. False for what carries its own digest and can be computed again.

    Yields:
        The path to write at. It has the target's name, in a hidden folder beside it.

    Raises:
        StorageError: the target cannot be written.

    Example:
        >>> with written_whole("example.txt") as part:
        ...     _ = part.write_text("whole or not at all")
    """
    path = Path(target)
    faults: tuple[type[Exception], ...] = (OSError, *also)
    try:
        path = Path(os.path.realpath(path))
        _check_target(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        scratch = path.parent / f".{_short_name(path.name)}.{me()}-{uuid.uuid4().hex[:8]}{PART}"
        scratch.mkdir()
        try:
            part = scratch / path.name
            yield part
            if sync:
                _synced(part)
            if part.is_dir() and path.exists():
                os.replace(path, scratch / "replaced")
            os.replace(part, path)
            if sync:
                _sync(path.parent)
        finally:
            _removed(scratch, path)
    except faults as error:
        if isinstance(error, ProbekitError):
            raise
        raise unwritable(target, error, kept) from error


def write_bytes(target: str | os.PathLike[str], content: bytes | memoryview, **options: Any) -> Path:
    """Write a file as `written_whole` does; returns its path."""
    with written_whole(target, **options) as part:
        part.write_bytes(content)
    return Path(target)


def write_text(target: str | os.PathLike[str], text: str, **options: Any) -> Path:
    """Write a text in UTF-8 as `written_whole` does; returns its path."""
    return write_bytes(target, text.encode("utf-8", errors="backslashreplace"), **options)


def unwritable(target: str | os.PathLike[str], error: BaseException, kept: str) -> StorageError:
    """The error for what cannot be written: why, how much room there is, what is safe."""
    room = ""
    with suppress(OSError):
        above = next(folder for folder in Path(target).absolute().parents if folder.is_dir())
        room = f" ({shutil.disk_usage(above).free / 1e6:,.0f} MB are free there)"
    return StorageError(f"{target} cannot be written: {reason(error)}{room}. {kept}")


def sweep(target: Path) -> None:
    """Remove what dead processes left behind while they wrote this target; put back what one of them had moved away."""
    start = f".{_short_name(target.name)}."
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(start) and entry.name.endswith(PART) and _abandoned(entry, len(start)):
                _removed(Path(entry.path), target)


def _abandoned(entry: os.DirEntry[str], start: int) -> bool:
    owner = entry.name[start : -len(PART)].rpartition("-")[0]
    alive = lives(owner)
    if alive is not None:
        return not alive
    return owner.count("-") == 2 and time.time() - entry.stat(follow_symlinks=False).st_mtime > FOREIGN_AGE


def _removed(scratch: Path, target: Path) -> None:
    """Delete a scratch folder; if the process died between two renames, the old folder goes back first."""
    with suppress(OSError):
        if not target.exists():
            os.replace(scratch / "replaced", target)
    shutil.rmtree(scratch, ignore_errors=True)


def _short_name(name: str) -> str:
    """A name that leaves room for what is added to it (file systems allow 255 bytes)."""
    if len(name.encode()) <= 120:
        return name
    return f"{name[:20]}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _check_target(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise StorageError(f"{path} is {_kind(mode)}; expected a file or a new name. Name another file to write.")


def _synced(part: Path) -> None:
    """Flush a file, or all files of a folder, to the disk."""
    if part.is_dir():
        for inner in part.iterdir():
            _synced(inner)
    _sync(part)


def _sync(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder on Windows, a file of which only writing is allowed
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems that cannot flush folders
            raise
    finally:
        os.close(handle)


# --- reading ----------------------------------------------------------------------------------------------------------


def _kind(mode: int) -> str:
    """What something in a file system is, if it is no regular file."""
    kinds: list[tuple[Callable[[int], bool], str]] = [
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ]
    return next((name for test, name in kinds if test(mode)), "no regular file")


def regular(
    path: str | os.PathLike[str],
    *,
    what: str = "a file",
    limit: int | None = None,
    error: type[ProbekitError] = ProbekitError,
) -> os.stat_result:
    """The status of a regular file, before anything opens it.

    Args:
        path: the file; links are followed.
        what: what was expected, e.g. "a checkpoint".
        limit: largest size in bytes.
        error: class of the error for something that is no regular file or too large.

    Raises:
        ProbekitError: of the class given: nothing there, a folder, a pipe, a device, a socket, or too large.
        StorageError: the file system does not let it be looked at.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as missing:
        raise error(f"There is no file {path}. Expected {what}.") from missing
    except (OSError, ValueError) as fault:  # ValueError: a name with a zero byte
        raise StorageError(f"{path} cannot be read: {reason(fault)}. Expected {what}.") from fault
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{path} is {_kind(found.st_mode)}; expected {what}, which is a regular file. Copy it into one.")
    if limit is not None and found.st_size > limit:
        raise error(f"{path} has {found.st_size:,} bytes; expected {what} of at most {limit:,} bytes.")
    return found


@contextmanager
def opened(
    path: str | os.PathLike[str],
    *,
    what: str = "a file",
    limit: int | None = None,
    error: type[ProbekitError] = ProbekitError,
) -> Iterator[BinaryIO]:
    """A regular file, open for reading in binary; see `regular` for the arguments and errors."""
    regular(path, what=what, limit=limit, error=error)
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as fault:
        raise StorageError(f"{path} cannot be read: {reason(fault)}. Expected {what}.") from fault
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # replaced since it was looked at
            raise error(f"{path} is no regular file; expected {what}.")
        yield stream


def read_bytes(path: str | os.PathLike[str], **options: Any) -> bytes:
    """The contents of a regular file; options as for `regular`."""
    with opened(path, **options) as stream:
        try:
            return stream.read()
        except OSError as fault:
            raise StorageError(f"{path} cannot be read: {reason(fault)}.") from fault


def read_json(
    path: str | os.PathLike[str],
    *,
    what: str = "a JSON file",
    limit: int = JSON_BYTES,
    depth: int = JSON_DEPTH,
    error: type[ProbekitError] = ProbekitError,
) -> Any:
    """The value in a JSON file of bounded size and depth.

    Raises:
        ProbekitError: of the class given: no regular file, no JSON, too large or nested too deeply.
        StorageError: the file system does not let it be read.
    """
    content = read_bytes(path, what=what, limit=limit, error=error)
    return parsed(content, str(path), depth=depth, error=error)


def parsed(
    text: str | bytes, label: str, *, depth: int = JSON_DEPTH, error: type[ProbekitError] = ProbekitError
) -> Any:
    """The value of a JSON text; `label` is how the message calls it.

    Raises:
        ProbekitError: of the class given: no JSON, or nested more deeply than `depth`.
    """
    try:
        value = json.loads(text)
    except RecursionError as fault:
        raise error(f"{label} is nested too deeply; expected JSON of at most {depth} levels.") from fault
    except ValueError as fault:  # also bytes that are no text, and numbers of thousands of digits
        raise error(f"{label} is no readable JSON ({fault}). It is damaged or of another kind.") from fault
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level for inner in _members(outer)]
        if not level:
            return value
    raise error(f"{label} is nested too deeply; expected JSON of at most {depth} levels.")


def _members(value: Any) -> list[Any]:
    """The lists and objects directly inside a list or an object."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in inside if isinstance(inner, dict | list)]
