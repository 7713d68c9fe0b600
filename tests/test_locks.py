"""A lock is held by one, and never for ever: not by a dead process, not by a dead machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from probekit import locks, owners
from probekit.errors import StorageError
from probekit.locks import Lock


def test_one_at_a_time(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "below" / "a.lock"), Lock(tmp_path / "below" / "a.lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    first.release()  # it is not its own any more
    assert not first.acquire()
    second.release()
    assert os.listdir(tmp_path / "below") == []


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from probekit.locks import Lock\n"
        "assert Lock(Path(sys.argv[1])).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.lock")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a.lock").exists()
    lock = Lock(tmp_path / "a.lock")
    assert lock.acquire()
    lock.release()
    assert os.listdir(tmp_path) == []


def test_the_lock_of_another_machine_is_taken_over_when_it_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text(json.dumps({"token": "01234567-12-34-ab", "host": "node-7", "pid": 12}))
    assert not Lock(path).acquire()
    past = time.time() - locks.STALE - 1
    os.utime(path, (past, past))
    lock = Lock(path)
    with pytest.warns(RuntimeWarning, match=r"is of node-7 \(process 12\), which has given no sign of life for 12"):
        assert lock.acquire()
    lock.release()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"token": 5}'])
def test_a_lock_that_says_nothing_is_one_of_another_machine(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.lock"
    path.write_text(content)
    assert not Lock(path).acquire()
    os.utime(path, (0, 0))
    with pytest.warns(RuntimeWarning, match="another machine"):
        assert Lock(path).acquire()


def test_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.01)
    lock = Lock(tmp_path / "a.lock")
    assert lock.acquire()
    os.utime(lock.path, (0, 0))
    locks._quiet(lock.path)
    locks._thread[:] = []  # a thread that sleeps for the real time may be under way
    locks._beating(lock.path)
    for _ in range(500):
        if lock.path.stat().st_mtime > 0:
            break
        time.sleep(0.01)
    assert lock.path.stat().st_mtime > 0
    lock.release()


def test_only_one_of_many_takes_a_dead_lock_over(tmp_path: Path) -> None:
    dead = f"{owners.this_machine()}-999999999-1-ab"
    code = (
        "import sys, time; from pathlib import Path; from probekit.locks import Lock\n"
        "lock = Lock(Path(sys.argv[1])); got = lock.acquire(); print(int(got), flush=True); sys.stdin.read()"
    )
    for _ in range(3):
        (tmp_path / "a.lock").write_text(json.dumps({"token": dead}))
        started = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path / "a.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(4)
        ]
        got = [int(process.stdout.readline()) for process in started if process.stdout]
        for process in started:
            process.communicate()
        assert sum(got) == 1
        (tmp_path / "a.lock").unlink()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a part of its path is a file"):
        Lock(tmp_path / "file" / "a.lock").acquire()
