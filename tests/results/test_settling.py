"""Results go through xarray's own verbs and stay results: report, contrast and lining up read what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic_results
import xarray as xr

from probekit import contrast, report, schema
from probekit.errors import ResultsError
from probekit.results import lining_up
from probekit.results.reading import opened
from probekit.results.settling import settled


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    found = synthetic_results.grid(ratios=(0.25, 0.75), patches=(4,), photos=(0.5, 0.9))
    kept = ["representation_level", "linear_accuracy", "shape_bias", "rankme", "ssim"]
    found = found[[name for name in found if name in schema.SHARED or str(name).startswith(("example_", *kept))]]
    checkpoints = found.sizes["checkpoint"]
    found = found.assign_coords(recipe=("checkpoint", ["a", "b"] * (checkpoints // 2) + ["a"] * (checkpoints % 2)))
    texts = [name for name, array in found.variables.items() if array.dtype.kind == "U"]
    return found.assign_coords({name: found[name].astype(object) for name in texts})


def through_zarr(ds: xr.Dataset, folder: Path) -> xr.Dataset:
    ds.to_zarr(folder / "r.zarr", consolidated=False)
    return xr.open_zarr(folder / "r.zarr", consolidated=False)


def through_netcdf(ds: xr.Dataset, folder: Path) -> xr.Dataset:
    ds.to_netcdf(folder / "r.nc", engine="h5netcdf")
    return xr.open_dataset(folder / "r.nc", engine="h5netcdf")


def halves(ds: xr.Dataset, dim: str) -> list[xr.Dataset]:
    return [ds.isel({dim: slice(None, 2)}), ds.isel({dim: slice(2, None)})]


VERBS = {
    "sel one data": lambda ds: ds.sel(data="quadtree"),
    "isel some": lambda ds: ds.isel(checkpoint=[3, 0, 1]),
    "isel a layer": lambda ds: ds.isel(layer=-1),
    "sel a pooling": lambda ds: ds.sel(pooling="mean", scaling="raw"),
    "squeeze": lambda ds: ds.sel(data=["quadtree"]).squeeze(),
    "where drop": lambda ds: ds.where(ds.mask_ratio > 0.1, drop=True),
    "where by recipe": lambda ds: ds.where(ds.recipe == "a", drop=True),
    "where on values": lambda ds: ds.assign(rankme=ds.rankme.where(ds.rankme > 30)),
    "concat checkpoints": lambda ds: xr.concat(
        halves(ds, "checkpoint"), "checkpoint", data_vars="all", join="outer", compat="equals"),
    "concat data": lambda ds: xr.concat(halves(ds, "data"), "data", data_vars="all", coords="all", compat="equals"),
    "merge": lambda ds: xr.merge(
        [ds.drop_vars(["rankme"]), ds[["rankme"]]], compat="override", combine_attrs="drop_conflicts"),
    "transpose": lambda ds: ds.transpose(),
    "sortby": lambda ds: ds.sortby("mask_ratio"),
    "reset_coords": lambda ds: ds.reset_coords(["mask_ratio", "seed"]),
    "drop_vars": lambda ds: ds.drop_vars(["images_seen", "example_image", "example_hidden"]),
    "assign_coords": lambda ds: ds.assign_coords(
        loss=("checkpoint", np.linspace(0, 1, ds.sizes["checkpoint"])),
        when=("checkpoint", np.arange(ds.sizes["checkpoint"]).astype("datetime64[D]").astype("datetime64[ns]"))),
    "chunk": lambda ds: ds.chunk({"image": 50}),
    "astype": lambda ds: ds.astype("float32", keep_attrs=True),
    "fixed texts": lambda ds: ds.assign_coords(checkpoint=ds.checkpoint.values.astype("S")),
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_results_stay_results(ds: xr.Dataset, verb: str) -> None:
    changed = VERBS[verb](ds)
    found = opened(changed, "the test")
    assert schema.problems(found) == []
    names = [str(name) for name in found.checkpoint.values]
    assert set(names) <= set(ds.checkpoint.values)
    assert len(report.html(changed, script="")) > 10_000
    lined = lining_up.lined_up(lining_up.separated(found))
    measured = found.ssim.notnull().any("data").values  # a checkpoint without any number is not lined up
    assert set(lined.checkpoint.values) == set(np.array(names)[measured])
    if verb != "isel a layer":
        np.testing.assert_allclose(
            found.shape_bias.sel(checkpoint=names), ds.shape_bias.sel(checkpoint=names, data=found.data), rtol=1e-6
        )
    assert contrast(changed, baseline=names[0]).sizes["checkpoint"] == len(names) - 1


@pytest.mark.parametrize("way", [through_zarr, through_netcdf])
def test_results_come_back_from_files_as_they_were(ds: xr.Dataset, way, tmp_path: Path) -> None:
    found = opened(way(ds, tmp_path), "the test")
    assert schema.problems(found) == []
    xr.testing.assert_equal(found, ds)
    assert len(report.html(found, script="")) > 10_000


def test_pictures_and_labels_are_whole_numbers_again(ds: xr.Dataset) -> None:
    found = settled(ds.where(ds.mask_ratio > 0.1, drop=True))
    for name in ("example_image", "example_hidden", "label"):
        assert found[name].dtype == ds[name].dtype
        assert "checkpoint" not in found[name].dims
        np.testing.assert_array_equal(found[name], ds[name])


CURES = {
    "one of two": (lambda ds: ds[["linear_accuracy"]], "keep both: ds"),
    "arithmetic": (lambda ds: ds.assign(ssim=(ds.ssim * 2).drop_attrs()), "ssim has lost its attributes"),
    "no attributes": (
        lambda ds: xr.concat([ds, ds], "checkpoint", data_vars="minimal", combine_attrs="drop"), "lost its attributes"),
    "where with a variable": (lambda ds: ds.where(ds.rankme > 30), "apply them to single variables"),
    "dropped": (lambda ds: ds.isel(data=0, drop=True), "no dimension 'data'"),
    "stacked": (lambda ds: ds.stack(cell=["layer", "pooling"]), "reset_index|unstack"),
    "twice": (
        lambda ds: xr.concat([ds, ds], "checkpoint", data_vars="minimal"), "Two checkpoints have one name"),
    "one bound": (lambda ds: ds.sel(bound="lower"), "expected .*bound"),
    "renamed": (lambda ds: ds.rename(checkpoint="model"), "no dimension 'checkpoint'"),
}  # fmt: skip


@pytest.mark.parametrize("case", CURES)
def test_what_cannot_be_restored_is_named_with_its_cure(ds: xr.Dataset, case: str) -> None:
    change, message = CURES[case]
    for use in (lambda found: report.html(found, script=""), lambda found: contrast(found, baseline="x")):
        with pytest.raises(ResultsError, match=message):
            use(change(ds))
