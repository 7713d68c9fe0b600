"""A results file holds its numbers itself, all of them, and as they were written."""

from __future__ import annotations

import os
import random
import warnings
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from probekit import hdf5_checks, netcdf
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


def test_large_arrays_stay_in_the_file_until_a_part_is_asked_for(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 3, 9000)).astype(np.float32)
    ds = xr.Dataset({"a": (("x", "y", "z"), values), "b": ("x", np.arange(4.0))}, {"x": list("pqrs")})
    file = netcdf.write(ds, tmp_path / "large.nc")
    lazy = netcdf.read(file, "", lazily=True)
    assert not lazy.variables["a"]._in_memory
    assert lazy.variables["b"]._in_memory
    file.unlink()  # what was checked is read, whatever becomes of the file
    part = lazy.variables["a"].isel(y=1)
    np.testing.assert_array_equal(part.isel(x=[3, 0]).values, values[[3, 0], 1])
    assert not lazy.variables["a"]._in_memory
    xr.testing.assert_identical(lazy.load(), ds)


def test_a_damaged_part_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 90_000))
    file = netcdf.write(xr.Dataset({"a": (("x", "y"), values)}), tmp_path / "large.nc")
    with h5py.File(file, "r+") as stored:  # drops the seal
        offset = stored["a"].id.get_chunk_info(0).byte_offset
        stored.attrs["note"] = "changed"
    content = bytearray(file.read_bytes())
    content[offset : offset + 200] = b"\xff" * 200
    file.write_bytes(content)
    with pytest.warns(ResultsWarning, match="no digest"):
        lazy = netcdf.read(file, "", lazily=True)
    with pytest.raises(ResultsError, match="'/a' of a results file cannot be read"):
        lazy.a.load()
    with pytest.raises(ResultsError, match="cannot be read as netCDF"):
        netcdf.read(file, "")


def test_a_fill_value_is_no_number(tmp_path: Path) -> None:
    file = tmp_path / "filled.nc"
    ds = xr.Dataset({"a": ("x", [1.0, np.nan])})
    ds.to_netcdf(file, engine="h5netcdf", encoding={"a": {"_FillValue": -9999.0}})
    with pytest.warns(ResultsWarning, match="no digest"):
        np.testing.assert_array_equal(netcdf.read(file, "").a, [1.0, np.nan])


def test_control_characters_of_labels_are_made_visible(tmp_path: Path) -> None:
    file = netcdf.write(xr.Dataset({"a": ("x", [1.0, 2.0])}, {"x": ["a\x1b[2J", "b"]}), tmp_path / "odd.nc")
    assert "\x1b" not in netcdf.read(file, "").x.values[0]


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


def wide_chunk(file: h5py.File, secret: Path) -> None:
    c = file.create_dataset("c", (10,), "f8", maxshape=(None,), chunks=(2**28,), compression="gzip")
    c.id.write_direct_chunk((0,), zlib.compress(bytes(2**20)))


def bomb(file: h5py.File, secret: Path) -> None:
    c = file.create_dataset("c", (2**20,), "f8", chunks=(2**20,), compression="gzip")
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    c.id.write_direct_chunk((0,), b"\x78\x01" + 100 * block)


def grown_chunk(file: h5py.File, secret: Path) -> None:
    c = file.create_dataset("c", (10,), "f8", chunks=(10,), compression="gzip")
    c.id.write_direct_chunk((0,), zlib.compress(bytes(2**24)))


def packed_twice(file: h5py.File, secret: Path) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1000,))
    properties.set_deflate(1)
    properties.set_deflate(1)
    h5py.h5d.create(file.id, b"c", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((1000,)), properties)


def trusting_filter(file: h5py.File, secret: Path) -> None:
    file.create_dataset("c", data=np.arange(4096, dtype="i4"), chunks=(4096,), scaleoffset=0)


def wide_lzf(file: h5py.File, secret: Path) -> None:
    file.create_dataset("c", (2**20,), "f8", chunks=(2**20,), compression="lzf")


def one_text_many_times(file: h5py.File, secret: Path) -> None:
    file.attrs["filling"] = "x" * 2**16
    file.attrs.create("c", np.array(["y"] * 5000, dtype=object), dtype=h5py.string_dtype())


def many_texts(file: h5py.File, secret: Path) -> None:
    file.create_dataset("c", (10**6,), h5py.string_dtype(), chunks=(10**4,))


HOSTILE = {
    linked: "'a' is a link to '.*secret.h5'.*links are not followed",
    soft: "'c' is a link to '/b'",
    external: "'c' is external storage: its numbers lie in other files",
    virtual: "'c' is a virtual dataset",
    huge: "'c' has 80,0.* bytes, .* of which the file holds",
    wide_chunk: "'c' is stored in chunks of 2,147,483,648 bytes",
    bomb: "a chunk of 'c' does not unpack to 8,388,608 bytes",
    grown_chunk: "a chunk of 'c' does not unpack to 80 bytes",
    packed_twice: "through HDF5's filters 1, 1. Chunks of at most",
    trusting_filter: "through HDF5's filters 6. Chunks of at most",
    wide_lzf: r"chunks of 8,388,608 bytes, .*\(3,145,728 packed by lzf\)",
    one_text_many_times: "the attributes of '/' up to 'c' may have more than",
    many_texts: "there are 1,000,00. texts up to 'c'",
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


@pytest.mark.parametrize("sum_first", [False, True])
def test_arrays_with_checksums_and_packed_by_lzf_are_read(tmp_path: Path, sum_first: bool) -> None:
    """Large enough for each packed chunk to be looked at; the sum of a chunk may be packed with it."""
    values = np.random.default_rng(0).random(2**19)
    with h5py.File(tmp_path / "a.nc", "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((2**19,))
        steps = [properties.set_shuffle, lambda: properties.set_deflate(1)]
        for step in [properties.set_fletcher32, *steps] if sum_first else [*steps, properties.set_fletcher32]:
            step()
        space = h5py.h5s.create_simple((2**19,))
        h5py.Dataset(h5py.h5d.create(file.id, b"a", h5py.h5t.IEEE_F64LE, space, properties))[:] = values
        file.create_dataset("b", data=values, chunks=(2**18,), compression="lzf", shuffle=True)
        file["x"] = np.arange(2**19)
        file["x"].make_scale("x")
        for name in "ab":
            file[name].dims[0].attach_scale(file["x"])
    with pytest.warns(ResultsWarning, match="has no digest"):
        ds = netcdf.read(tmp_path / "a.nc", "")
    np.testing.assert_array_equal(ds["a"], values)
    np.testing.assert_array_equal(ds["b"], values)


def test_what_is_too_large_to_be_read_at_once_stays_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    ds = xr.Dataset({name: ("x", draw.normal(size=60_000)) for name in "ab"} | {"c": ("y", [1.0])})
    file = netcdf.write(ds, tmp_path / "r.nc")
    assert netcdf.read(file, "").variables["a"]._in_memory
    monkeypatch.setattr(hdf5_checks, "LIMIT", 900_000)
    read = netcdf.read(file, "")
    assert [read.variables[name]._in_memory for name in "abc"] == [False, False, True]
    xr.testing.assert_identical(read.load(), ds)
    foreign = tmp_path / "foreign.nc"
    ds.to_netcdf(foreign, engine="h5netcdf", encoding={"a": {"_FillValue": -9999.0}})
    with pytest.raises(ResultsError, match="too large to be read at once"):
        netcdf.read(foreign, "")


def test_an_array_larger_than_is_read_at_once_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netcdf, "CHUNK", 100_000)
    draws = np.random.default_rng(0).integers(0, 2, (6, 50_000)).astype(float)
    ds = xr.Dataset({"a": (("checkpoint", "image"), draws)})
    file = netcdf.write(ds, tmp_path / "r.nc")
    monkeypatch.setattr(hdf5_checks, "LARGEST", 1_000_000)
    monkeypatch.setattr(netcdf, "LIMIT", 2_000_000)
    read = netcdf.read(file, "")
    assert not read.variables["a"]._in_memory
    np.testing.assert_array_equal(read["a"].isel(checkpoint=[1, 4], image=slice(7)), ds["a"][[1, 4], :7])
    np.testing.assert_array_equal(read["a"].isel(checkpoint=2), ds["a"][2])
    with pytest.raises(ResultsError, match="has 2,400,000 bytes, and at most 2,000,000 are read at once"):
        read["a"].load()


@pytest.mark.parametrize("shape", [(47, 3, 7, 500), (3000, 2, 13, 50_000), (1, 1, 1, 1), (5, 7, 1, 2**19)])
def test_chunks_hold_what_is_read_together_and_no_more_than_their_limit(shape: tuple[int, ...]) -> None:
    array = xr.Variable(("checkpoint", "data", "layer", "image"), np.broadcast_to(np.float32(0), shape))
    chunk = netcdf.chunk_shape(array)
    assert all(1 <= part <= whole for part, whole in zip(chunk, shape, strict=True))
    assert np.prod(chunk) * 4 <= netcdf.CHUNK
    assert chunk[1] == 1 or chunk[0] == shape[0]  # a second image set only where all checkpoints fit
    whole = np.prod(shape) * 4
    parts = np.prod([-(-n // part) for n, part in zip(shape, chunk, strict=True)])
    assert parts <= max(1, 4 * whole / netcdf.CHUNK + shape[1])


def test_many_small_arrays_are_not_read_where_together_they_are_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = netcdf.write(xr.Dataset({f"a{n}": ("x", np.zeros(1000)) for n in range(20)}), tmp_path / "r.nc")
    monkeypatch.setattr(hdf5_checks, "LIMIT", 100_000)
    with pytest.raises(ResultsError, match="has 8,000 bytes, and the arrays up to it 10"):
        netcdf.read(file, "")


def test_a_pipe_and_what_is_no_netcdf_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nc")
    (tmp_path / "text.nc").write_text("checkpoint,accuracy\n")
    (tmp_path / "empty.nc").touch()
    for name, message in {"pipe": "is a pipe", "text": "Expected netCDF 4", "empty": "is empty"}.items():
        with pytest.raises(ProbekitError, match=message):
            netcdf.read(tmp_path / f"{name}.nc", "")


@pytest.mark.parametrize("latest", [False, True])
@pytest.mark.parametrize("size", [2**14, 2**30])
def test_a_file_that_goes_on_after_its_end_is_refused_before_it_is_read(
    tmp_path: Path, latest: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a copy into a file that was there, or one that a file system filled with zeros."""
    file = tmp_path / "r.nc"
    with h5py.File(file, "w", libver="latest" if latest else "earliest") as stored:
        stored["a"] = np.arange(3.0)
    with pytest.warns(ResultsWarning, match="no digest"):
        netcdf.read(file, "")
    os.truncate(file, size)
    monkeypatch.setattr(netcdf, "read_bytes", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(ResultsError, match=rf"has {size:,} bytes and says that it ends after"):
        netcdf.read(file, "")


def test_more_arrays_than_any_results_have_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_checks, "NAMES", 3)
    for count in (3, 4):
        file = netcdf.write(xr.Dataset({f"a{number}": number for number in range(count)}), tmp_path / f"{count}.nc")
    assert len(netcdf.read(tmp_path / "3.nc", "")) == 3
    with pytest.raises(ResultsError, match="has 4 arrays; a results file has at most 3"):
        netcdf.read(file, "")


def test_texts_that_netcdf_cannot_hold_are_made_visible_or_refused(tmp_path: Path) -> None:
    ds = xr.Dataset({"a": ("x", [1.0, 2.0])}, {"loss": ("x", np.array(["a\0b", "\x1b[31m"], dtype=object))})
    found = netcdf.read(netcdf.write(ds, tmp_path / "r.nc"), "")
    assert found.loss.values.tolist() == ["a\\x00b", "\\x1b[31m"]
    for value in ("a\0b", object(), {"a": 1}):
        with pytest.raises(ResultsError, match="the dataset holds what netCDF cannot"):
            netcdf.write(ds.assign_attrs(note=value), tmp_path / "r.nc")
    assert netcdf.read(tmp_path / "r.nc", "").sizes == {"x": 2}
