"""Datasets are lined up by label; different protocols are refused, or marked."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from probekit import schema
from probekit.errors import ResultsError
from probekit.results import lining_up


def single(checkpoint: str, data: str = "shapes", layers: int = 3, rows: int = 4, **attrs) -> xr.Dataset:
    variable = schema.Variable(
        "accuracy", ("layer",), "Accuracy", "1", "higher", "a protocol", "a paper", interval="bootstrap over images"
    )
    rng = np.random.default_rng(len(checkpoint))
    per_image = rng.random((layers, rows)).astype(np.float32)
    mean = per_image.mean(axis=1)
    arrays = variable.arrays(
        mean, np.stack([mean, mean], axis=-1), coords={"layer": range(layers)}, per_image=per_image
    )
    arrays["accuracy"].attrs |= {"version": 1, "options": "{}", **attrs}
    arrays = {key: array.expand_dims({"checkpoint": [checkpoint], "data": [data]}) for key, array in arrays.items()}
    label = xr.DataArray(np.arange(rows)[None], dims=("data", "image"), coords={"data": [data]})
    ds = xr.Dataset({**arrays, "label": label})
    return ds.assign_coords(
        {name: ("checkpoint", [np.nan]) for name in schema.CHECKPOINT_COORDS}
        | {"relative_depth": (("checkpoint", "layer"), np.arange(layers)[None] / (layers - 1))}
    )


def test_shorter_checkpoints_have_nan_in_layers_they_lack() -> None:
    ds = lining_up.lined_up([single("a", layers=3), single("b", layers=5)])
    assert list(ds.layer) == [0, 1, 2, 3, 4]
    assert np.isnan(ds.accuracy.sel(checkpoint="a", layer=[3, 4])).all()
    assert np.isfinite(ds.accuracy.sel(checkpoint="b")).all()
    np.testing.assert_allclose(ds.relative_depth.sel(checkpoint="a", layer=2), 1.0)
    np.testing.assert_allclose(ds.relative_depth.sel(checkpoint="b", layer=2), 0.5)


def test_a_number_beside_texts_stays_a_number_and_an_unknown_one_is_no_text() -> None:
    values = {"a": ["1e-4"], "b": [1.5], "c": [np.nan]}
    named = [single(name).assign_coords(lr=("checkpoint", value)) for name, value in values.items()]
    assert lining_up.lined_up(named)["lr"].values.tolist() == ["1e-4", 1.5, ""]


def test_values_are_kept_whatever_the_neighbours() -> None:
    parts = [single("a"), single("bb", layers=5), single("a", "photos", rows=9)]
    ds = lining_up.lined_up(parts)
    for part in parts:
        name, data = str(part.checkpoint.values[0]), str(part.data.values[0])
        mine = ds.sel(checkpoint=name, data=data)
        layers, images = part.sizes["layer"], part.sizes["image"]
        np.testing.assert_array_equal(mine.accuracy[:layers], part.accuracy[0, 0])
        np.testing.assert_array_equal(mine.accuracy_image[:layers, :images], part.accuracy_image[0, 0])
        assert np.isnan(mine.accuracy_image[:, images:]).all()
    assert np.isnan(ds.accuracy.sel(checkpoint="bb", data="photos")).all()
    assert list(ds.label.sel(data="photos").values) == list(range(9))
    assert list(ds.label.sel(data="shapes").values) == [0, 1, 2, 3, -1, -1, -1, -1, -1]


def test_different_protocols_are_refused_by_name() -> None:
    parts = [single("a"), single("b", protocol="another protocol")]
    with pytest.raises(
        ResultsError, match=r"accuracy was measured differently \(protocol\): a: 'a protocol'; b: 'another"
    ):
        lining_up.lined_up(parts)


@pytest.mark.parametrize("key", ["version", "options", "mask_grid", "counts", "precision", "images", "finetuned"])
def test_whatever_changes_a_number_is_part_of_the_protocol(key) -> None:
    with pytest.raises(ResultsError, match=key):
        lining_up.lined_up([single("a", **{key: 7}), single("b", **{key: 8})])


def test_mixed_protocols_are_marked_when_asked_for() -> None:
    ds = lining_up.lined_up([single("a"), single("b", version=2)], mixed=True)
    assert json.loads(ds.accuracy.attrs["mixed_protocols"]) == {"version": ["1", "2"]}
    assert json.loads(ds.accuracy.attrs["version"]) == {"by_checkpoint": {"a": 1, "b": 2}}


def test_image_sets_may_differ_in_protocol_and_checkpoints_need_not_share_them() -> None:
    parts = [single("a", "quadtree", counts="1"), single("b", "shapes", counts="2"), single("c", "shapes", counts="2")]
    ds = lining_up.lined_up(parts)
    assert json.loads(ds.accuracy.attrs["counts"]) == {"by_data": {"quadtree": "1", "shapes": "2"}}
    assert list(ds.checkpoint.values) == ["a", "b", "c"]


def test_a_dataset_taken_apart_and_put_together_is_itself() -> None:
    parts = [single("a", "quadtree", counts="1"), single("bb", "shapes", layers=5, counts="2")]
    ds = lining_up.lined_up(parts)
    ds.attrs["not_applicable"] = "{}"
    again = lining_up.lined_up(lining_up.separated(ds))
    xr.testing.assert_identical(again.drop_attrs(deep=False), ds.drop_attrs(deep=False))


def test_pictures_and_texts_are_filled_by_kind() -> None:
    first, second = single("a"), single("b")
    first["example"] = (("checkpoint", "data", "row"), np.full((1, 1, 2), 9, dtype=np.uint8))
    first = first.assign_coords(trained_on=("checkpoint", ["x"]))
    ds = lining_up.lined_up([first, second])
    assert ds["example"].dtype == np.uint8
    assert ds["example"].values.tolist() == [[[9, 9]], [[0, 0]]]
    assert ds.trained_on.values.tolist() == ["x", ""]


def test_marks_of_a_mixed_image_set_stay_when_another_one_is_beside_it() -> None:
    parts = [single("a"), single("b"), single("a", "photos", images="x"), single("b", "photos", images="y")]
    for ds in (lining_up.lined_up(parts, mixed=True), lining_up.lined_up(parts[2:] + parts[:2], mixed=True)):
        assert "images" in json.loads(ds.accuracy.attrs["mixed_protocols"])


def test_what_holds_for_different_images_is_told_for_none() -> None:
    one, other = single("a"), single("b", images="others")
    other["label"] = other.label + np.array([0, 0, 5, 0])
    ds = lining_up.lined_up([one, other], mixed=True)
    assert ds.label.values.tolist() == [[0, 1, -1, 3]]
    more = lining_up.lined_up([one, single("b", rows=6)])
    assert more.label.values.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_results_of_one_checkpoint_by_two_protocols_equal_neither() -> None:
    first, second = single("a", options="1"), single("a", options="2")
    second = second.assign_coords(layer=[3, 4, 5]).drop_vars("relative_depth")
    both = lining_up.lined_up([first.drop_vars("relative_depth"), second], mixed=True)
    assert json.loads(both.accuracy.attrs["options"]) == {"mixed": ['"1"', '"2"']}
    with pytest.raises(ResultsError, match="options"):
        lining_up.lined_up([both, single("b", options="2").drop_vars("relative_depth")])


def test_a_fact_that_one_dataset_lacks_is_unknown_there() -> None:
    mine = single("a").assign_coords(
        batch=("checkpoint", [256]), recipe=("checkpoint", ["x"]), flag=("checkpoint", [True]),
        when=("checkpoint", np.array(["2026-01-01"], dtype="datetime64[ns]")),
    )  # fmt: skip
    ds = lining_up.lined_up([mine, single("b")])
    np.testing.assert_array_equal(ds.batch, [256, np.nan])
    np.testing.assert_array_equal(ds.flag, [1, np.nan])
    assert ds.recipe.values.tolist() == ["x", ""]
    assert np.isnat(ds.when.values).tolist() == [False, True]


def test_numbers_after_fine_tuning_never_line_up_with_frozen_ones() -> None:
    frozen, tuned = single("a"), single("b", finetuned="full, on shapes")
    with pytest.raises(ResultsError, match=r"accuracy was measured differently \(finetuned\): a: None; b: 'full"):
        lining_up.lined_up([frozen, tuned])
    marked = lining_up.lined_up([frozen, tuned], mixed=True)
    assert "finetuned" in json.loads(marked.accuracy.attrs["mixed_protocols"])
    assert lining_up.lined_up([single("b", finetuned="full"), single("cc", finetuned="full")]).sizes["checkpoint"] == 2
