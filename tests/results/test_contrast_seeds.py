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
from probekit.measures import inference
from probekit.results import lining_up


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


@pytest.mark.parametrize("correction", ["bonferroni", "holm", "bh"])
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


def test_checkpoints_without_a_number_beside_the_baseline_are_named() -> None:
    """Last layers of different depths, for example: nothing may come back as if it had been compared."""
    ds = results({name: np.arange(20.0)[None] + place for place, name in enumerate("abc")})
    ds = ds.expand_dims(layer=[4, 6]).transpose("checkpoint", "data", "layer", ...)
    last = xr.DataArray([[True, False], [True, False], [False, True]], dims=("checkpoint", "layer"))
    ds = ds.assign({name: ds[name].where(last).assign_attrs(ds[name].attrs) for name in ds.data_vars})
    for name in schema.CHECKPOINT_COORDS:
        ds = ds.assign_coords({name: ds[name].isel(layer=0)}) if "layer" in ds[name].dims else ds
    deep = ds.assign_coords(depth=("checkpoint", [4.0, 4.0, 6.0]))
    with pytest.warns(UserWarning, match=r"No difference for c: .*Depths differ \(4, 6\): measure layers that all"):
        assert (contrast(deep, baseline="a").accuracy_difference.sel(checkpoint="b", layer=4) == 1).all()
    with pytest.raises(ResultsError, match="nothing to contrast: no checkpoint has a number where the baseline 'c'"):
        contrast(ds, baseline="c")


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
        ({"baseline": "a", "correction": "none"}, "expected one of None, bonferroni, holm, bh"),
    ],
)
def test_what_is_wrong_is_named(three, arguments, message) -> None:
    with pytest.raises(ResultsError, match=message):
        contrast(three, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.isel(data=0, drop=True), "no dimension 'data'"),
        (lambda ds: ds.isel(checkpoint=0), "two checkpoints or more"),
        (lambda ds: ds.assign_coords(checkpoint=["a", "a", "b"]), "Two checkpoints have one name"),
        (lambda _: xr.Dataset(), "schema_version"),
        (lambda _: 5, "was given an int"),
    ],
)
def test_what_is_no_results_dataset_is_refused(three, change, message) -> None:
    with pytest.raises(ResultsError, match=message):
        contrast(change(three), baseline="a")


def test_one_image_set_that_was_picked_is_contrasted_as_it_was(three) -> None:
    xr.testing.assert_equal(contrast(three.isel(data=0), baseline="a"), contrast(three, baseline="a"))


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
    for by in ([], "mask_ratio", 3):
        with pytest.raises(ResultsError, match="expected a list of coordinates"):
            seed_spread(grid(), "accuracy", by=by)
    with pytest.raises(ResultsError, match="was given an int"):
        seed_spread(3, "accuracy")


def test_seed_spread_works_from_a_file(tmp_path) -> None:
    file = schema.write(grid(), tmp_path / "grid.nc")
    xr.testing.assert_allclose(
        seed_spread(file, "accuracy", by=["mask_ratio"]),
        seed_spread(grid(), "accuracy", by=["mask_ratio"]),
    )


def test_variances_are_pooled_unless_they_differ_and_a_missing_number_empties_nothing_else() -> None:
    ds = grid()
    assert "one variance" in seed_spread(ds, "accuracy", by=["mask_ratio"]).accuracy_ci.attrs["resamples"]
    wild = ds.assign(accuracy=ds.accuracy + xr.DataArray([0, 0, 0, 5, -5, 0], dims="checkpoint").astype(float))
    wild.accuracy.attrs = ds.accuracy.attrs
    found = seed_spread(wild, "accuracy", by=["mask_ratio"])
    assert "its own variance" in found.accuracy_ci.attrs["resamples"]
    assert float(found.equal_variances_p.squeeze()) < 0.01
    holes = ds.assign(accuracy=ds.accuracy.where(ds.checkpoint != "m0"))
    holes.accuracy.attrs = ds.accuracy.attrs
    found = seed_spread(holes, "accuracy", by=["mask_ratio"], pooled=False)
    assert found.accuracy_seeds.values.ravel().tolist() == [2, 3]
    assert np.isfinite(found.accuracy).all()


def test_what_is_unknown_makes_no_seeds() -> None:
    ds = grid().assign_coords(images_seen=("checkpoint", np.full(6, np.nan)))
    with pytest.raises(ResultsError, match=r"Not known of some checkpoints: .*images_seen"):
        seed_spread(ds, "accuracy")
    again = grid().assign_coords(seed=("checkpoint", np.tile([0.0, 0.0, 1.0], 2)))
    with pytest.raises(ResultsError, match="two seeds or more"):
        seed_spread(again, "accuracy", by=["mask_ratio"])


def many(rng: np.random.Generator, correlated: float, comparisons: int = 2160, images: int = 100) -> xr.Dataset:
    """Two checkpoints that do not differ, in many cells: differences of 0 on average, correlated between cells."""
    shared = rng.normal(size=images)
    noise = np.sqrt(correlated) * shared + np.sqrt(1 - correlated) * rng.normal(size=(comparisons, images))
    base = rng.random((comparisons, images))
    variable = schema.Variable("accuracy", ("cell",), "Accuracy", "1", "higher", "p", "r", interval="images")
    whole = np.stack([base, base + noise])[:, None]
    dims = ("checkpoint", "data", "cell")
    mean = whole.mean(axis=-1)
    arrays = {
        "accuracy": (dims, mean, variable.attributes),
        "accuracy_ci": ((*dims, "bound"), np.stack([mean, mean], axis=-1)),
        "accuracy_image": ((*dims, "image"), whole),
    }
    unknown = {name: ("checkpoint", np.full(2, np.nan)) for name in schema.CHECKPOINT_COORDS}
    attrs = {"schema_version": 1, "not_applicable": "{}", "provenance": "{}"}
    return xr.Dataset(arrays, coords={"checkpoint": ["a", "b"], "data": ["d"], **unknown}, attrs=attrs)


@pytest.mark.parametrize("trials", [25, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("correlated", [0.0, 0.9], ids=["independent", "strongly correlated"])
def test_the_family_wise_error_is_kept_at_2160_comparisons(correlated: float, trials: int) -> None:
    """No effect in any cell: at most 6 % of families find one (up to the chance of so many trials)."""
    rng = np.random.default_rng(0)
    false = dict.fromkeys(("holm", "bonferroni", "bh"), 0)
    outside = 0
    for _ in range(trials):
        found = contrast(many(rng, correlated), baseline="a", correction="bonferroni")
        p = found.accuracy_difference_p.values.ravel()
        low, high = np.moveaxis(found.accuracy_difference_ci.values, -1, 0)
        outside += bool(((low > 0) | (high < 0)).any())
        raw = contrast_p(found)
        np.testing.assert_allclose(p, np.minimum(raw * len(raw), 1))
        for method in false:
            false[method] += bool((inference.adjusted(raw, method) < 0.05).any())
    assert max(*false.values(), outside) <= stats.binom.ppf(0.999, trials, 0.05)


def contrast_p(found: xr.Dataset) -> np.ndarray:
    """Uncorrected p-values, from mean and interval alone."""
    interval = found.accuracy_difference_ci
    reach = stats.t.ppf(0.5 + interval.attrs["confidence"] / 2, 99)
    error = interval.diff("bound").values.ravel() / (2 * reach)
    return 2 * stats.t.sf(np.abs(found.accuracy_difference.values.ravel() / error), 99)


def test_false_findings_are_a_share_of_the_findings() -> None:
    rng = np.random.default_rng(0)
    ds = many(rng, 0.0, comparisons=400)
    ds["accuracy_image"][1, 0, :100] += 1.0
    found = contrast(ds, baseline="a", correction="bh")
    finding = found.accuracy_difference_p.values.ravel() < 0.05
    assert finding[:100].all()
    assert finding[100:].mean() < 0.05
    low = found.accuracy_difference_ci.values[0, 0, :, 0]
    assert (low[:100] > 0).all()


def test_contrasts_of_other_arithmetic_or_another_baseline_are_not_lined_up(three) -> None:
    one = contrast(three.sel(checkpoint=["a", "b"]), baseline="a")
    two = contrast(three.sel(checkpoint=["a", "c"]), baseline="a")
    assert lining_up.lined_up([*lining_up.separated(one), *lining_up.separated(two)]).sizes["checkpoint"] == 2
    other = contrast(three.sel(checkpoint=["b", "c"]), baseline="b")
    with pytest.raises(ResultsError, match="baseline"):
        lining_up.lined_up([*lining_up.separated(one), *lining_up.separated(other)])
    del two.accuracy_difference.attrs["contrast_version"]
    with pytest.raises(ResultsError, match="contrast_version"):
        lining_up.lined_up([*lining_up.separated(one), *lining_up.separated(two)])
