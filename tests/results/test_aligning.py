"""Aligning against xarray's own reindexing and merging."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.results.aligning import merged, on

VALUES = {
    "half": np.array([[1.5, 2.5], [3.5, np.nan]], dtype=np.float32),
    "picture": np.array([[1, 2], [3, 4]], dtype=np.uint8),
    "predicted": np.array([[0, 1], [2, 3]], dtype=np.int32),
    "found": np.array([[True, False], [True, True]]),
    "word": np.array([["a", "bcd"], ["e", "f"]]),
}
FILL = {"half": np.nan, "picture": 0, "predicted": -1, "found": False, "word": ""}


def small() -> xr.Dataset:
    coords = {"layer": ("layer", [2, 5], {"long_name": "Layer"}), "depth": ("layer", [0.4, 1.0])}
    return xr.Dataset({name: (("layer", "image"), values) for name, values in VALUES.items()}, coords, {"a": 1})


def test_labels_are_moved_and_gaps_filled_as_reindexing_does() -> None:
    ds, layers = small(), np.array([1, 2, 4, 5])
    expected = ds.reindex(layer=layers, fill_value=FILL | {"depth": np.nan})
    out = on(ds, {"layer": layers})
    xr.testing.assert_equal(out, expected)
    assert {name: array.dtype for name, array in out.items()} == {name: array.dtype for name, array in ds.items()}
    assert out.layer.attrs == {"long_name": "Layer"}
    assert out.attrs == {"a": 1}


def test_a_dim_without_labels_is_counted() -> None:
    out = on(small(), {"image": np.arange(3)})
    assert "image" not in out.coords
    assert out.predicted.values.tolist() == [[0, 1, -1], [2, 3, -1]]
    assert out.word.values.tolist() == [["a", "bcd", ""], ["e", "f", ""]]
    assert on(small(), {"image": np.arange(2)}).identical(small())


def test_arrays_are_merged_as_xarray_joins_them_outwards() -> None:
    first = xr.DataArray([1.0, 2.0], {"layer": [2, 5]}, ["layer"], attrs={"units": "1"})
    second = xr.DataArray([[1, 2, 3]], {"layer": [4]}, ["layer", "image"])
    out = merged({"first": first, "second": second})
    whole = xr.merge([first.rename("first"), second.rename("second")], join="outer", fill_value={"second": -1})
    xr.testing.assert_equal(out, whole)
    assert out.second.dtype == second.dtype
    assert out.first.attrs == {"units": "1"}


def test_a_dim_of_which_nothing_is_left_is_filled() -> None:
    out = on(small().isel(image=slice(0, 0)), {"image": np.arange(2)})
    assert out.half.isnull().all()
    assert {name: out[name].values.ravel().tolist() for name in FILL if name != "half"} == {
        name: [fill] * 4 for name, fill in FILL.items() if name != "half"
    }
