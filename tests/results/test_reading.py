"""The quick reader gives what the general one gives, or leaves the file to it."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import synthetic_results
import xarray as xr

from probekit import netcdf, schema
from probekit.errors import ResultsWarning
from probekit.results.reading import opened


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ds = synthetic_results.grid(ratios=(0.25, 0.75), patches=(4,), photos=(0.5, 0.9))
    ds = ds.assign_coords(trained_on=("checkpoint", [f"set {i} é" for i in range(ds.sizes["checkpoint"])]))
    ds["shape_bias"].attrs |= {"decisions": [1, 2, 3], "classes": ["a", "b"], "one": 1.5}
    return schema.write(ds, tmp_path_factory.mktemp("reading") / "results.nc")


def test_it_gives_what_xarray_gives(file: Path) -> None:
    with h5py.File(file) as stored:
        quick = netcdf.quick(stored)
    with xr.open_dataset(file, engine="h5netcdf") as opened_lazily:
        general = opened_lazily.load()
    xr.testing.assert_equal(quick, general)
    assert set(quick.coords) == set(general.coords)
    assert quick.sizes == general.sizes
    for name in general.variables:
        assert quick[name].attrs.keys() == general[name].attrs.keys(), name
        assert quick[name].dims == general[name].dims
        assert quick[name].dtype.kind == general[name].dtype.kind or quick[name].dtype.kind == "U"
        for key, value in general[name].attrs.items():
            np.testing.assert_array_equal(quick[name].attrs[key], value)
    assert quick.attrs.keys() == general.attrs.keys()
    assert schema.provenance(quick) == schema.provenance(general)
    assert schema.validate(quick) is quick


def test_what_it_does_not_know_is_left_to_the_general_reader(file: Path, tmp_path: Path) -> None:
    ds = schema.read(file)
    packed = tmp_path / "packed.nc"
    ds.to_netcdf(
        packed, engine="h5netcdf", encoding={"shape_bias": {"dtype": "i2", "scale_factor": 1e-4, "_FillValue": -1}}
    )
    with h5py.File(packed) as stored, pytest.raises(netcdf.Unfamiliar):
        netcdf.quick(stored)
    with pytest.warns(ResultsWarning, match=r"packed\.nc has no digest at its end"):
        again = schema.read(packed)
    np.testing.assert_allclose(again.shape_bias, ds.shape_bias, atol=1e-4)


def test_errors_are_those_of_the_schema(file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nc"
    broken.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(schema.ResultsError, match="cannot be read as netCDF"):
        opened(broken, "the test")
    with pytest.raises(schema.ResultsError, match="No results file"):
        opened(tmp_path / "nothing.nc", "the test")


def test_control_characters_of_a_dataset_in_memory_are_made_visible() -> None:
    small = synthetic_results.grid(ratios=(0.25, 0.75), patches=(4,), photos=(0.5, 0.9))
    odd = small.assign_coords(checkpoint=[f"a\x1b[2J{n}" for n in range(small.sizes["checkpoint"])])
    odd.attrs["not_applicable"] = json.dumps({"a\x1b[2J0": {"knn": ["\x07"]}})
    read = opened(odd, "A report")
    assert read.checkpoint.values[0] == "a\\x1b[2J0"
    assert schema.not_applicable(read) == {"a\\x1b[2J0": {"knn": ["\\x07"]}}
    assert odd.checkpoint.values[0] == "a\x1b[2J0"
