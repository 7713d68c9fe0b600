"""Ways to damage a file, and things that are no files."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path


def one_bit(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def garbage(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    place, length = draw.randrange(len(content)), draw.choice([1, 8, 64, 512])
    content[place : place + length] = draw.randbytes(length)
    file.write_bytes(content)


def short(file: Path, draw: random.Random) -> None:
    file.write_bytes(file.read_bytes()[: draw.randrange(file.stat().st_size)])


def empty(file: Path, draw: random.Random) -> None:
    file.write_bytes(b"")


def zeros(file: Path, draw: random.Random) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def gone(file: Path, draw: random.Random) -> None:
    file.unlink()


def _instead(file: Path) -> Path:
    shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
    return file


def pipe(file: Path, draw: random.Random) -> None:
    os.mkfifo(_instead(file))


def plug(file: Path, draw: random.Random) -> None:
    before = os.getcwd()
    os.chdir(file.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(_instead(file).name)
    os.chdir(before)


def device(file: Path, draw: random.Random) -> None:
    _instead(file).symlink_to(draw.choice(["/dev/zero", "/dev/random"]))


def folder(file: Path, draw: random.Random) -> None:
    _instead(file).mkdir()


def circle(file: Path, draw: random.Random) -> None:
    _instead(file).symlink_to(file.name)


def text(file: Path, draw: random.Random) -> None:
    file.write_text(
        draw.choice(["<!DOCTYPE html><html>login</html>", "{", "[" * 100_000, "null", "\x00" * 40, "9" * 9999])
    )


CHANGED: dict[str, Callable[[Path, random.Random], None]] = {"one bit": one_bit, "garbage": garbage, "zeros": zeros}
"""Damage that keeps the size."""

ODD: dict[str, Callable[[Path, random.Random], None]] = {
    "short": short,
    "empty": empty,
    "gone": gone,
    "pipe": pipe,
    "socket": plug,
    "device": device,
    "folder": folder,
    "circle": circle,
    "text": text,
}
"""Damage that any reader must notice."""

ALL = CHANGED | ODD
