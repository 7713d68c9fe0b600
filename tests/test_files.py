"""One writer: whole or not at all, whatever happens; one reader: regular files of a bounded size."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from probekit import checks, files, owners
from probekit.errors import DataError, ProbekitError, StorageError


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "below" / "a.txt"
    files.write_text(target, "one")
    files.write_text(target, "two")
    assert target.read_text() == "two"
    assert os.listdir(target.parent) == ["a.txt"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("one", "two"):
        with files.written_whole(target) as part:
            part.mkdir()
            (part / name).write_text(name)
    assert os.listdir(target) == ["two"]
    assert os.listdir(tmp_path) == ["folder"]


def failing(target: Path, fault: BaseException) -> None:
    with files.written_whole(target) as part:
        part.write_text("half")
        raise fault


@pytest.mark.parametrize("fault", [RuntimeError("stop"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path: Path, fault: BaseException) -> None:
    target = files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(type(fault)):
        failing(target, fault)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the disk is read-only"), (errno.EDQUOT, "quota is used up")],
)
def test_a_disk_that_fails_is_one_error_and_the_old_file_stays(tmp_path: Path, code: int, words: str) -> None:
    target = files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(StorageError, match=f"a.txt cannot be written: .*{words}.*MB are free there.*unchanged"):
        failing(target, OSError(code, "no"))
    assert target.read_text() == "old"


def test_a_link_is_followed_and_a_device_is_left_alone(tmp_path: Path) -> None:
    real, link = files.write_text(tmp_path / "real.txt", "old"), tmp_path / "link.txt"
    link.symlink_to(real)
    files.write_text(link, "new")
    assert real.read_text() == "new"
    assert link.is_symlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="pipe is a pipe; expected a file or a new name"):
        files.write_text(tmp_path / "pipe", "x")
    with pytest.raises(StorageError, match="is a device"):
        files.write_text("/dev/null", "x")
    assert Path("/dev/null").is_char_device()


def test_names_as_long_as_a_file_system_allows_are_written(tmp_path: Path) -> None:
    files.write_text(tmp_path / ("a" * 255), "x")
    with pytest.raises(StorageError, match="the name is too long"):
        files.write_text(tmp_path / ("a" * 256), "x")


KILLED = """
import os, signal, sys
from probekit import files
with files.written_whole(sys.argv[1]) as part:
    part.mkdir()
    (part / "half").write_text("half")
    if sys.argv[2] == "between":
        os.replace(sys.argv[1], part.parent / "replaced")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["building", "between"])
def test_what_a_killed_process_left_is_removed_and_its_old_folder_put_back(tmp_path: Path, moment: str) -> None:
    target = tmp_path / "folder"
    with files.written_whole(target) as part:
        part.mkdir()
        (part / "old").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == (2 if moment == "building" else 1)
    files.sweep(target)
    assert os.listdir(tmp_path) == ["folder"]
    assert (target / "old").read_text() == "old"


def test_what_a_living_process_writes_is_not_removed(tmp_path: Path) -> None:
    with files.written_whole(tmp_path / "a") as part:
        files.write_text(tmp_path / "a", "other")
        part.write_text("mine")
    assert (tmp_path / "a").read_text() == "mine"
    foreign = tmp_path / ".a.01234567-1-1-abcdef01.part"
    foreign.mkdir()
    files.sweep(tmp_path / "a")
    assert foreign.exists()
    past = time.time() - 2 * files.FOREIGN_AGE
    os.utime(foreign, (past, past))
    files.sweep(tmp_path / "a")
    assert not foreign.exists()


def test_who_lives() -> None:
    assert owners.lives(owners.me()) is True
    machine, pid, started = owners.me().split("-")
    assert owners.lives(f"{machine}-{pid}-{int(started) + 1}") is False  # the number was given out again
    assert owners.lives(f"01234567-{pid}-{started}") is None
    assert owners.lives("nonsense") is None


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(tmp_path / "plug"))
    for name, kind in {"pipe": "a pipe", "link": "a pipe", "plug": "a socket", ".": "a folder"}.items():
        with pytest.raises(DataError, match=f"is {kind}; expected an image"):
            files.read_bytes(tmp_path / name, what="an image", error=DataError)
    with pytest.raises(DataError, match="is a device"):
        files.read_bytes("/dev/zero", error=DataError)
    with pytest.raises(DataError, match="There is no file"):
        files.read_bytes(tmp_path / "none", error=DataError)
    with pytest.raises(StorageError, match="lead in a circle"):
        files.read_bytes(tmp_path / "loop")
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(DataError, match="11 bytes; expected a file of at most 10 bytes"):
        files.read_bytes(tmp_path / "large", limit=10, error=DataError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 65 + "]" * 65, "at most 64 levels"),
        ('{"a": ' * 70 + "1" + "}" * 70, "at most 64 levels"),
        ("9" * 10_000, "no readable JSON"),
        ('{"a"', "no readable JSON"),
        ("\xff", "no readable JSON"),
    ],
)
def test_json_is_bounded(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        files.read_json(tmp_path / "a.json", error=DataError)


def test_json_within_the_bounds_is_read(tmp_path: Path) -> None:
    value = {"a": [1, {"b": [None, 2.5]}], "deep": json.loads("[" * 62 + "]" * 62)}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert files.read_json(tmp_path / "a.json") == value


def test_numbers_are_checked_once() -> None:
    assert checks.whole("n", 3, least=3, most=3) == 3
    with pytest.raises(DataError, match="n=2; expected a whole number of at least 3 and at most 9"):
        checks.whole("n", 2, least=3, most=9, error=DataError)
    for value in (True, "3", 3.0, None, [3], "x" * 10_000):
        with pytest.raises(ProbekitError, match="expected a whole number") as raised:
            checks.whole("n", value)
        assert len(str(raised.value)) < 300
    assert checks.number("x", 1, above=0) == 1.0
    for wrong in (0, float("nan"), float("inf"), "1", True, None):
        with pytest.raises(ProbekitError, match=r"x=.*; expected a finite number above 0 and below 2"):
            checks.number("x", wrong, above=0, below=2)
