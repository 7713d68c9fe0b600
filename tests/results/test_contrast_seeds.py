"""Differences on the same images, and spread between seeds: known answers and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from probekit import contrast, schema
from probekit.errors import ResultsError
from probekit.evaluation import seed_spread


def results(values: dict[str, np.ndarray], seeds=None, ratios=None) -> xr.Dataset:
    """A dataset with one accuracy per checkpoint, from per-image outcomes (data, image)."""
    names = list(values)
    stacked = np.stack([values[name] for name in names])
    mean = np.nanmean(stacked, axis=-1)
    variable = schema.Variable("accuracy", (), "Accuracy", "1", "higher", "p", "r", interval="bootstrap over images")
    dims = ("checkpoint", "data")
    ds = xr.Dataset(
        {
            "accuracy": (dims, mean, variable.attributes),
            "accuracy_ci": ((*dims, "bound"), np.stack([mean, mean], axis=-1)),
            "accuracy_image": ((*dims, "image"), stacked),
        },
        coords={"checkpoint": names, "data": [f"d{i}" for i in range(stacked.shape[1])], "bound": ["lower", "upper"]},
    )
    for name in schema.CHECKPOINT_COORDS:
        ds = ds.assign_coords({name: ("checkpoint", np.full(len(names), np.nan))})
    if seeds is not None:
        ds = ds.assign_coords(seed=("checkpoint", seeds), mask_ratio=("checkpoint", ratios))
    ds = ds.assign_coords(trained_on=("checkpoint", ["x"] * len(names)))
    ds.attrs = {"schema_version": 1, "not_applicable": "{}", "provenance": "{}"}
    return schema.validate(ds)


@pytest.fixture
def three() -> xr.Dataset:
    rng = np.random.default_rng(0)
    base = rng.random((1, 500))
    return results({"a": base, "b": base + 0.1, "c": base + rng.normal(0, 0.1, base.shape)})


def test_pairing_makes_a_constant_difference_certain(three) -> None:
    ds = contrast(three, baseline="a")
    assert ds.checkpoint.values.tolist() == ["b", "c"]
    np.testing.assert_allclose(ds.accuracy_difference.sel(checkpoint="b"), 0.1)
    np.testing.assert_allclose(ds.accuracy_difference_ci.sel(checkpoint="b"), 0.1)
    lower, upper = ds.accuracy_difference_ci.sel(checkpoint="c").values[0]
    assert lower < 0 < upper
    assert upper - lower == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(500), rel=0.2)
    assert float(ds.accuracy_difference_p.sel(checkpoint="b").squeeze()) == 0
    assert 0.01 < float(ds.accuracy_difference_p.sel(checkpoint="c").squeeze()) <= 1


def test_it_works_from_a_file(three, tmp_path) -> None:
    file = schema.write(three, tmp_path / "r.nc")
    xr.testing.assert_equal(contrast(file, baseline="a"), contrast(three, baseline="a"))


@pytest.mark.parametrize("correction", ["bonferroni", "holm"])
def test_corrections_widen_intervals_and_raise_p(three, correction) -> None:
    plain, corrected = contrast(three, baseline="a"), contrast(three, baseline="a", correction=correction)
    width = [float(ds.accuracy_difference_ci.sel(checkpoint="c").diff("bound").squeeze()) for ds in (plain, corrected)]
    assert width[1] > width[0]
    assert (corrected.accuracy_difference_p >= plain.accuracy_difference_p).all()


def test_images_that_were_not_used_are_left_out() -> None:
    base = np.arange(20.0)[None]
    other = base + 1
    other[0, 10:] = np.nan
    ds = contrast(results({"a": base, "b": other}), baseline="a")
    np.testing.assert_allclose(ds.accuracy_difference, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"baseline": "aa"}, "Did you mean 'a'|No checkpoint is called 'aa'"),
        ({"baseline": "a", "variables": ["acuracy"]}, "Did you mean 'accuracy'"),
        ({"baseline": None}, "No checkpoint is called None"),
        ({"baseline": "a", "variables": "acuracy"}, "Did you mean 'accuracy'"),
        (
            {"baseline": "a", "variables": []},
            r"variables=\[\]: expected a list, of some of accuracy",
        ),
        ({"baseline": "a", "variables": 5}, "variables=5"),
        ({"baseline": "a", "seed": -1}, "seed=-1; expected a whole number"),
        ({"baseline": "a", "correction": "none"}, "expected one of None, bonferroni, holm"),
    ],
)
def test_what_is_wrong_is_named(three, arguments, message) -> None:
    with pytest.raises(ResultsError, match=message):
        contrast(three, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.isel(data=0), "data"),
        (lambda ds: ds.isel(checkpoint=0), "checkpoint"),
        (lambda ds: ds.assign_coords(checkpoint=["a", "a", "b"]), "Two checkpoints have one name"),
        (lambda _: xr.Dataset(), "schema_version"),
        (lambda _: 5, "was given a int"),
    ],
)
def test_what_is_no_results_dataset_is_refused(three, change, message) -> None:
    with pytest.raises(ResultsError, match=message):
        contrast(change(three), baseline="a")


def test_images_that_are_not_the_same_are_not_paired(three) -> None:
    three.accuracy.attrs["mixed_protocols"] = json.dumps({"images": ["generated-1", "generated-2"]})
    with pytest.raises(ResultsError, match="accuracy was measured on different images"):
        contrast(three, baseline="a")


def test_groups_are_of_the_test_images_only(three) -> None:
    grouped = three.assign(group=(("data", "image"), np.arange(500)[None] // 10))

    def interval(ds: xr.Dataset) -> np.ndarray:
        return contrast(ds, baseline="a").accuracy_difference_ci.sel(checkpoint="c").values

    assert not np.array_equal(interval(grouped), interval(three))
    grouped.accuracy.attrs["images_of"] = "the shifted sets"
    np.testing.assert_array_equal(interval(grouped), interval(three))


def grid() -> xr.Dataset:
    rng = np.random.default_rng(1)
    ratios = np.repeat([0.5, 0.75], 3)
    values = {f"m{i}": np.full((1, 4), level) for i, level in enumerate(ratios + rng.normal(0, 0.01, 6))}
    return results(values, seeds=np.tile([0.0, 1.0, 2.0], 2), ratios=ratios)


def test_seed_spread_is_students_t_with_its_degrees_of_freedom() -> None:
    ds = grid()
    apart = seed_spread(ds, "accuracy", by=["mask_ratio"], pooled=False)
    assert apart.mask_ratio.values.tolist() == [0.5, 0.75]
    assert apart.degrees_of_freedom.values.tolist() == [2, 2]
    values = ds.accuracy.values[:3, 0]
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    np.testing.assert_allclose(apart.accuracy_ci.values[0, 0], [low, high])
    pooled = seed_spread(ds, "accuracy", by=["mask_ratio"])
    assert pooled.degrees_of_freedom.values.tolist() == [4, 4]
    variances = [ds.accuracy.values[rows, 0].var(ddof=1) for rows in (slice(0, 3), slice(3, 6))]
    np.testing.assert_allclose(pooled.accuracy_sd.values[:, 0], np.sqrt(np.mean(variances)))


def test_a_grid_without_seeds_supports_no_sentence_about_masking(three) -> None:
    with pytest.raises(ResultsError, match="two seeds or more"):
        seed_spread(three, "accuracy")
    with pytest.raises(ResultsError, match="no coordinate along checkpoint"):
        seed_spread(grid(), "accuracy", by=["mask_ration"])
