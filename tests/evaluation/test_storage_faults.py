"""A disk that fails in the middle of an evaluation ends it: it is never a probe that is not applicable."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tiny_measured import COUNTS, SPEC, tiny

import probekit
from probekit.collect import store
from probekit.errors import StorageError


def test_a_disk_that_fills_in_the_middle_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = Path.write_bytes, []

    def filling(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(store, "CHUNK_IMAGES", 8)
    monkeypatch.setattr(Path, "write_bytes", filling)
    with pytest.raises(StorageError, match="the disk is full"):
        probekit.evaluate(tiny(), "high_level", SPEC, counts=COUNTS)


def test_a_fault_while_reading_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error", "/data/images")

    monkeypatch.setattr("probekit.collect.measurements.Measurements.gather", broken)
    with pytest.raises(StorageError, match=r"/data/images cannot be used: the disk reports an input/output error"):
        probekit.evaluate(tiny(), "linear_probe", SPEC, counts=COUNTS)
