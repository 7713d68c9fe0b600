"""One trial: something hostile, damaged or killed is done to probekit in a process of its own, and judged.

The process is forked from one that has imported everything, so a trial costs milliseconds.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 10.0
"""A trial that takes longer hangs."""

BYTES = 2 * 10**9
"""A trial that takes more memory than this on top of what the process had is a bomb that went off."""

GOOD = ("refused", "equal")
BAD = ("wrong", "traceback", "hang", "memory", "died")


@dataclass
class Trial:
    """What is tried.

    Attributes:
        kind: row of the table.
        name: what was done.
        run: does it, in a process of its own; returns what is compared, or raises.
        expected: what `run` must return if it returns; None where anything may come back.
        seconds: how long it may take; 0 for `SECONDS`.
    """

    kind: str
    name: str
    run: Callable[[], Any]
    expected: Any = None
    seconds: float = 0.0


@dataclass
class Verdict:
    """How a trial went: one of `GOOD` or `BAD`, and what was said."""

    outcome: str
    said: str = ""


def judged(trial: Trial) -> Verdict:
    """Run a trial in a fork of this process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.setsid()
        _answer(trial, write)
    os.close(write)
    try:
        return _heard(read, child, trial)
    finally:
        os.close(read)


def _answer(trial: Trial, write: int) -> None:
    """In the child: run, tell, end."""
    from probekit.errors import ProbekitError

    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    before = _peak(reset=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = trial.run()
        good = trial.expected is None or found == trial.expected
        verdict = Verdict("equal") if good else Verdict("wrong", f"{found!r:.300} instead of {trial.expected!r:.300}")
    except ProbekitError as error:
        verdict = Verdict("refused", str(error))
    except BaseException:
        verdict = Verdict("traceback", traceback.format_exc()[-1500:])
    if _peak() - before > BYTES:
        verdict = Verdict("memory", f"{(_peak() - before) / 1e9:.1f} GB; {verdict.outcome}: {verdict.said[:300]}")
    os.write(write, pickle.dumps(verdict)[:60_000])
    os._exit(0)


def _heard(read: int, child: int, trial: Trial) -> Verdict:
    """In the parent: the child's verdict, or what its silence means."""
    limit = trial.seconds or SECONDS
    end, heard = time.monotonic() + limit, b""
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([read], [], [], left)
        if not ready:
            break
        chunk = os.read(read, 65536)
        if not chunk:
            _, status = os.waitpid(child, 0)
            if heard:
                return pickle.loads(heard)
            return Verdict("died", f"status {status}")
        heard += chunk
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return Verdict("hang", f"longer than {limit:.0f} s")


def _peak(*, reset: bool = False) -> int:
    """The most resident memory of this process so far, in bytes; from now on if `reset`."""
    if reset:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def killed(work: Callable[[], Any], after: float) -> bool:
    """Do `work` in a fork that is killed after so many seconds; whether it was still at work."""
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        os.setsid()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                work()
        finally:
            os._exit(0)
    time.sleep(after)
    ended, _ = os.waitpid(child, os.WNOHANG)
    if ended:
        return False
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True
