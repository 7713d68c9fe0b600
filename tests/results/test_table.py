"""The tidy table holds every number of the file, with its interval, labels and the facts of its checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_results
import xarray as xr

import probekit
from probekit.errors import ResultsError


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    found = synthetic_results.grid(ratios=(0.25, 0.75), patches=(4,), photos=(0.5, 0.9))
    count = found.sizes["checkpoint"]
    return found.assign_coords(
        recipe=("checkpoint", ["a"] * count), loss=("checkpoint", np.arange(count) / 10),
        value=("checkpoint", np.arange(count)),
    )  # fmt: skip


def test_every_number_has_a_row(ds: xr.Dataset) -> None:
    table = probekit.summary(ds)
    names = probekit.schema.result_names(ds)
    assert len(table) == sum(int(np.isfinite(ds[name]).sum()) for name in names)
    assert list(table.columns[:3]) == ["checkpoint", "data", "variable"]
    for row in table.sample(40, random_state=0).to_dict("records"):
        labels = {dim: row[dim] for dim in ds[row["variable"]].dims}
        assert row["value"] == float(ds[row["variable"]].sel(labels))
        assert row["loss"] == float(ds.loss.sel(checkpoint=row["checkpoint"]))
        assert row["checkpoint_value"] == int(ds["value"].sel(checkpoint=row["checkpoint"]))
        assert (row["recipe"], row["mask_ratio"]) == ("a", pytest.approx(float(ds.mask_ratio.sel(
            checkpoint=row["checkpoint"])), nan_ok=True))  # fmt: skip
        if row["variable"] != "rankme":
            bounds = ds[f"{row['variable']}_ci"].sel(labels).values
            assert (row["lower"], row["upper"]) == (bounds[0], bounds[1])
        else:
            assert np.isnan(row["lower"])


def test_one_variable_and_a_wrong_name(ds: xr.Dataset) -> None:
    table = probekit.summary(ds, variables="knn_accuracy")
    assert set(table.variable) == {"knn_accuracy"}
    assert "head" not in table
    assert table["layer"].dtype == "Int64"
    with pytest.raises(ResultsError, match="Did you mean 'knn_accuracy'"):
        probekit.summary(ds, variables=["knn_acuracy"])
    for nothing in ([], 3):
        with pytest.raises(ResultsError, match="expected a list, of some of"):
            probekit.summary(ds, variables=nothing)
