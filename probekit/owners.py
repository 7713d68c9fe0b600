"""Who holds a lock or writes a file: a process, named so that others can ask whether it still lives."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import suppress
from pathlib import Path


def this_machine() -> str:
    """A digest of what process numbers are relative to: host, boot and process namespace."""
    facts = [socket.gethostname()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        facts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]


def _started(pid: int) -> str:
    """When a process started, so that a number that was given out again is noticed; "0" where that is not known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"


def me() -> str:
    """This process on this machine, as a part of file names."""
    pid = os.getpid()
    return f"{this_machine()}-{pid}-{_started(pid)}"


def lives(owner: str) -> bool | None:
    """Whether the process that `me()` named is still there; None if it is of another machine.

    Args:
        owner: what `me()` gave there.
    """
    machine, _, rest = owner.partition("-")
    pid, _, started = rest.partition("-")
    if machine != this_machine() or not pid.isdigit():
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there and belongs to somebody else
    return _started(int(pid)) == started
