"""Locks that survive shared file systems and dead machines.

A lock is a file that is created exclusively and says who holds it; a thread touches it every few seconds. POSIX locks
are not used: on network file systems they may not work, or outlive their host. The lock of a process of this machine
that is gone is taken over at once, that of another machine once it was not renewed for `STALE` seconds.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from probekit import files
from probekit.errors import ProbekitError
from probekit.owners import lives, me

BEAT = 10.0
"""Seconds between signs of life."""

STALE = 120.0
"""Seconds without a sign of life after which the lock of another machine is taken over."""


class Lock:
    """One lock of this process; not reentrant.

    Args:
        path: the lock's file; its folder is made.

    Example:
        >>> import tempfile
        >>> lock = Lock(Path(tempfile.mkdtemp()) / "work.lock")
        >>> lock.acquire(), Lock(lock.path).acquire()
        (True, False)
        >>> lock.release()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = ""

    @property
    def held(self) -> bool:
        """Whether this process holds the lock."""
        return bool(self._token)

    def acquire(self) -> bool:
        """Take the lock if it is free or its holder is gone; never waits.

        Returns:
            Whether this object holds the lock now.

        Raises:
            StorageError: the folder cannot be written.
        """
        token = f"{me()}-{uuid.uuid4().hex}"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(3):  # free, or freed by removing a dead holder's
                if self._create(token):
                    self._token = token
                    _beating(self.path)
                    return True
                if not self._freed():
                    return False
        except OSError as error:
            raise files.unwritable(self.path, error, "Name a folder that can be written to.") from error
        return False

    def release(self) -> None:
        """Give the lock back, if it is still this object's."""
        if not self._token:
            return
        _quiet(self.path)
        with suppress(OSError):
            if str(self._holder().get("token", "")) == self._token:
                self.path.unlink()
        self._token = ""

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _create(self, token: str) -> bool:
        """Create the file in one step, with its content: a hard link fails where the name exists."""
        text = json.dumps({"token": token, "host": socket.gethostname(), "pid": os.getpid()})
        part = self.path.with_name(f".{self.path.name}.{token}{files.PART}")
        try:
            part.write_text(text)
            os.link(part, self.path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return self._create_plainly(text)
        finally:
            part.unlink(missing_ok=True)
        return True

    def _create_plainly(self, text: str) -> bool:
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w") as file:
            file.write(text)
        return True

    def _holder(self) -> dict[str, Any]:
        """What the lock's file says; empty if it cannot be read."""
        try:
            found = files.read_json(self.path, limit=4096)
        except ProbekitError:
            return {}
        return found if isinstance(found, dict) else {}

    def _freed(self) -> bool:
        """Remove the lock of a holder that is gone; whether it is worth trying again."""
        holder = self._holder()
        token = str(holder.get("token", ""))
        alive = lives(token.rpartition("-")[0])
        if alive is None:
            silence = self._silence()
            if silence is None:
                return True  # it was given back just now
            if silence < STALE:
                return False
            warnings.warn(
                f"The lock {self.path} is of {holder.get('host', 'another machine')} (process {holder.get('pid', '?')}"
                f"), which has given no sign of life for {silence:,.0f} s: taken over.",
                RuntimeWarning,
                stacklevel=4,
            )
        elif alive:
            return False
        return self._remove(token)

    def _silence(self) -> float | None:
        """Seconds since the holder's last sign of life, by the clock of the file system."""
        clock = self.path.with_name(f".{self.path.name}.{me()}-{uuid.uuid4().hex[:8]}{files.PART}")
        try:
            clock.touch()
            return clock.stat().st_mtime - self.path.stat().st_mtime
        except FileNotFoundError:
            return None
        finally:
            clock.unlink(missing_ok=True)

    def _remove(self, token: str) -> bool:
        """Move the lock away; if it was another one by then, put it back."""
        aside = self.path.with_name(f".{self.path.name}.{me()}-{uuid.uuid4().hex[:8]}{files.PART}")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return True
        if str(Lock(aside)._holder().get("token", "")) != token:
            with suppress(OSError):
                os.link(aside, self.path)
        aside.unlink(missing_ok=True)
        return True


# --- signs of life ----------------------------------------------------------------------------------------------------

_paths: set[Path] = set()
_guard = threading.Lock()
_thread: list[threading.Thread] = []


def _beating(path: Path) -> None:
    """Touch a lock's file from now on."""
    with _guard:
        _paths.add(path)
        if not _thread or not _thread[0].is_alive():
            _thread[:] = [threading.Thread(target=_beat, name="probekit-locks", daemon=True)]
            _thread[0].start()


def _quiet(path: Path) -> None:
    with _guard:
        _paths.discard(path)


def _beat() -> None:
    while True:
        time.sleep(BEAT)
        with _guard:
            if not _paths:
                return
            held = list(_paths)
        for path in held:
            with suppress(OSError):
                os.utime(path)
