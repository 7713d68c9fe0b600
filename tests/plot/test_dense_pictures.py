"""Predicted maps and matches stand beside the truth, of the same images, in the same colours."""

from __future__ import annotations

import base64
import io
import os
import signal

import numpy as np
import pytest
import synthetic_results
import xarray as xr
from PIL import Image

from probekit.plot.dense_pictures import UNKNOWN, classes, dense, dotted
from probekit.plot.pictures import strip_picture
from probekit.plot.rows import Results
from probekit.report.page import assemble


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    found = synthetic_results.grid(ratios=(0.5,), patches=(4,), seeds=(0,), photos=(0.5,)).sel(data=["shapes"])
    images = found["example_image"].isel(data=0)
    truth = (images.isel(channel=0) // 100).astype(float).where(images.isel(channel=1) > 20)
    many = found.sizes["checkpoint"]
    guess = xr.concat([truth.fillna(0)] * many, "checkpoint").transpose("checkpoint", ...)
    guess[0] = np.nan  # the first checkpoint was not measured
    place = np.full((many, 1, truth.sizes["example"], 3, 6), np.nan)
    place[1:] = [[0.1, 0.2, 0.5, 0.5, 0.9, 0.9]] * 3
    attrs = {"long_name": "Predicted class (knn, layer 4)", "units": "1"}
    return found.assign(
        example_segmentation=guess.expand_dims("data", 1).assign_attrs(attrs),
        example_segmentation_true=truth.expand_dims("data"),
        example_other=found["example_image"][..., ::-1],
        example_matches=(("checkpoint", "data", "example", "match", "end"), place),
    )


def opened(picture) -> np.ndarray:
    data = base64.b64decode(picture.source.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_truth_and_prediction_share_their_colours(ds: xr.Dataset) -> None:
    strip = next(strip for strip in dense(Results(ds)) if strip.key == "segmentation-shapes")
    labels = [row.label for row in strip.rows]
    assert labels == ["Input", "Truth", *map(str, ds.checkpoint.values[1:])]
    truth, guess = opened(strip.rows[1].pictures[0]), opened(strip.rows[2].pictures[0])
    unknown = (truth == UNKNOWN).all(-1)
    assert unknown.any()
    assert np.array_equal(truth[~unknown], guess[~unknown])
    assert "Predicted class (knn, layer 4)" in strip.note


def test_classes_have_one_colour_each() -> None:
    painted = classes(np.array([[[0.0, 1.0, np.nan]]]), (0, 1))[0, 0]
    assert len({tuple(colour) for colour in painted.tolist()}) == 3
    assert tuple(painted[2]) == UNKNOWN


def test_a_dot_stands_where_its_match_is(ds: xr.Dataset) -> None:
    images = np.zeros((1, 40, 40, 3), np.uint8)
    places = np.array([[[0.5, 0.25], [np.nan, np.nan]]])
    where = np.argwhere(dotted(images, places)[0].any(-1))
    assert where.min(0).tolist() == [19, 9]
    assert where.max(0).tolist() == [21, 11]
    strip = next(strip for strip in dense(Results(ds)) if strip.key == "matches-shapes")
    assert [row.label for row in strip.rows][:2] == ["Points", "Truth"]


def test_the_report_shows_them(ds: xr.Dataset) -> None:
    sections = {section.key: section for section in assemble(ds).sections}
    assert [strip.key for strip in sections["dense"].strips] == ["segmentation-shapes", "matches-shapes"]


def test_an_attentive_probe_has_a_section_with_the_maps_that_it_learned(ds) -> None:
    maps = ds["example_attention_cls"]
    values = {
        f"attentive_accuracy{end}": ds[f"linear_accuracy{end}"].isel(pooling=0, drop=True).expand_dims(head_kind=["ep"])
        for end in ("", "_ci")
    }
    mine = ds.assign(**values, example_attention_probe=maps.where(maps.checkpoint != maps.checkpoint[0]))
    sections = {section.key: section for section in assemble(mine).sections}
    (strip,) = sections["attentive"].strips
    assert strip.title == "Attentive probe, shapes"
    plain = next(one for one in sections["attention"].strips if one.key == "attention-shapes")
    others = {row.label for row in plain.rows}
    assert {row.label for row in strip.rows} == others - {ds.checkpoint.values[0]}
    whole = opened(strip.rows[1].pictures[0])
    assert whole.shape == opened(strip.rows[0].pictures[0]).shape
    assert whole.std() > 5
    assert not [one for one in sections["attention"].strips if one.key.startswith("attentive")]
    assert "attentive" not in {section.key for section in assemble(ds).sections}


def test_a_forked_process_encodes_pictures_too() -> None:
    image = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    assert strip_picture(image, "a").source == strip_picture(image, "a").source
    child = os.fork()
    if not child:
        signal.alarm(10)
        os._exit(0 if strip_picture(image, "a").source else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
