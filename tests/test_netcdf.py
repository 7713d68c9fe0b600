"""A results file holds its numbers itself, all of them, and as they were written."""

from __future__ import annotations

import os
import random
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from probekit import netcdf
from probekit.errors import ProbekitError, ResultsError, ResultsWarning


@pytest.fixture
def written(tmp_path: Path) -> Path:
    ds = xr.Dataset({"a": ("x", np.arange(1000.0)), "b": (("x", "y"), np.ones((1000, 3)))}, {"y": ["p", "q", "r"]})
    return netcdf.write(ds, tmp_path / "r.nc")


def test_what_is_written_is_read(written: Path) -> None:
    ds = netcdf.read(written, "")
    assert ds.b.sum() == 3000
    with xr.open_dataset(written, engine="h5netcdf") as other:
        xr.testing.assert_identical(ds, other.load())


def refused_or_equal(file: Path, content: bytes) -> None:
    """Damage to the seal itself, which changes no number, is warned of."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            netcdf.read(file, "")
    except ResultsError:
        return
    assert [one.category for one in told] == [ResultsWarning]
    assert file.read_bytes()[: len(content) - 84] == content[:-84]


def test_every_changed_bit_is_found(written: Path) -> None:
    content = written.read_bytes()
    draw = random.Random(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        written.write_bytes(damaged)
        refused_or_equal(written, content)


def test_every_shortened_file_is_found(written: Path) -> None:
    content = written.read_bytes()
    for length in random.Random(0).sample(range(len(content)), 50):
        written.write_bytes(content[:length])
        refused_or_equal(written, content)


def test_a_file_that_was_changed_by_another_program_has_no_seal_and_is_read(written: Path) -> None:
    with h5py.File(written, "r+") as file:
        file["a"][0] = 5.0
        file.attrs["note"] = "changed"
    with pytest.warns(ResultsWarning, match="no digest"):
        assert netcdf.read(written, "").a[0] == 5.0


def linked(file: h5py.File, secret: Path) -> None:
    del file["a"]
    file["a"] = h5py.ExternalLink(str(secret), "a")


def soft(file: h5py.File, secret: Path) -> None:
    file["c"] = h5py.SoftLink("/b")


def external(file: h5py.File, secret: Path) -> None:
    file.create_dataset("c", (8,), "u1", external=[(str(secret), 0, 8)])


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((1000,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "a", (1000,))
    file.create_virtual_dataset("c", layout)


def huge(file: h5py.File, secret: Path) -> None:
    file.create_dataset("c", (10**10,), "f8", chunks=(1000,))


def compound(file: h5py.File, secret: Path) -> None:
    file.create_dataset("c", (3,), np.dtype([("a", "f8"), ("b", "i4")]))


HOSTILE = {
    linked: "'a' is a link to '.*secret.h5'.*links are not followed",
    soft: "'c' is a link to '/b'",
    external: "'c' is external storage: its numbers lie in other files",
    virtual: "'c' is a virtual dataset",
    huge: "80,0.* bytes, of which the file holds",
    compound: "'c' has the type",
}


@pytest.mark.parametrize("how", HOSTILE)
def test_what_reads_other_files_or_fills_the_memory_is_refused(written: Path, tmp_path: Path, how) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["a"] = np.arange(1000.0)
    with h5py.File(written, "r+") as file:
        how(file, secret)
    with pytest.raises(ResultsError, match=HOSTILE[how]):
        netcdf.read(written, "")


def test_a_pipe_and_what_is_no_netcdf_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nc")
    (tmp_path / "text.nc").write_text("checkpoint,accuracy\n")
    (tmp_path / "empty.nc").touch()
    for name, message in {"pipe": "is a pipe", "text": "Expected netCDF 4", "empty": "is empty"}.items():
        with pytest.raises(ProbekitError, match=message):
            netcdf.read(tmp_path / f"{name}.nc", "")
