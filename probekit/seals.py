"""A digest at the end of a file, by which a changed bit is found when the file is read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

SEAL = b"\n# probekit sha256 "
"""Begins the last line of a sealed file; the digest of everything before it follows, as 64 hexadecimal digits."""


def sealed(content: bytes | memoryview) -> bytes:
    """The content with a digest of it at the end, which `unsealed` checks."""
    return b"".join((content, SEAL, hashlib.sha256(content).hexdigest().encode(), b"\n"))


def seal(path: Path) -> None:
    """Seal a file that was just written."""
    with path.open("rb+") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        stream.seek(0, os.SEEK_END)
        stream.write(SEAL + digest.hexdigest().encode() + b"\n")


def unsealed(content: bytes) -> bytes | None:
    """What `sealed` was given; None if it was changed since, or never sealed."""
    end = len(content) - len(SEAL) - 65
    if end < 0 or sealed(content[:end]) != content:
        return None
    return content[:end]


def unsealed_size(stream: BinaryIO) -> int | None:
    """How many bytes of an open file come before its seal, all of them if it has none; None if the seal is wrong."""
    size = stream.seek(0, os.SEEK_END)
    end = max(0, size - len(SEAL) - 65)
    stream.seek(end)
    last = stream.read()
    if not last.startswith(SEAL):
        return size
    stream.seek(0)
    total, left = hashlib.sha256(), end
    while left and (chunk := stream.read(min(left, 1 << 20))):
        total.update(chunk)
        left -= len(chunk)
    return end if last == SEAL + total.hexdigest().encode() + b"\n" else None
