"""Each example keeps its place in a strip, so that what stands under a picture was made from it."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import synthetic_results as made
import xarray as xr
from PIL import Image

from probekit.plot.pictures import Picture, attention, trim, unmasked_note
from probekit.plot.rows import Results

WIDTH = made.SIDE + 2
"""Columns from one example to the next in a strip."""


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return made.grid(ratios=(0.25, 0.75), patches=(4,), seeds=(0,), photos=(0.5,))


def pixels(picture: Picture | None) -> np.ndarray:
    assert picture is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))).convert("RGBA"))


def example(sheet: np.ndarray, place: int) -> np.ndarray:
    return sheet[:, place * WIDTH : place * WIDTH + made.SIDE]


def test_padding_is_dropped_at_the_end_and_gaps_stay() -> None:
    values = np.full((4, 5, 5), np.nan)
    values[1:3, 1:4, 2:4] = 1.0
    found = trim(values)
    assert found is not None
    assert found.shape == (3, 4, 4)
    np.testing.assert_array_equal(found, values[:3, :4, :4])
    assert trim(np.full((2, 3, 3), np.nan)) is None
    assert trim(np.zeros((0, 3, 3))) is None


@pytest.mark.parametrize("gap", [0, 2])
def test_a_missing_map_leaves_its_place_blank(ds: xr.Dataset, gap: int) -> None:
    spoiled = ds.copy(deep=True)
    name = "quadtree-r0.25-p4-s0"
    spoiled["example_attention_cls"].loc[{"checkpoint": name, "data": "quadtree", "example": gap}] = np.nan
    sheets = []
    for one in (ds, spoiled):
        strip = next(strip for strip in attention(Results(one)) if strip.title.endswith("quadtree"))
        sheets.append(pixels(next(row for row in strip.rows if row.label == name).pictures[0]))
    for place in range(4):
        if place != gap:
            np.testing.assert_array_equal(example(sheets[1], place), example(sheets[0], place))
    assert not example(sheets[1], gap)[..., 3].any()
    assert example(sheets[0], gap)[..., 3].all()


def test_mean_psnr_is_over_the_same_trained_checkpoints(ds: xr.Dataset) -> None:
    spoiled = ds.copy(deep=True)
    spoiled["masked_psnr"].loc[{"checkpoint": "quadtree-r0.25-p4-s0", "data": "quadtree"}] = np.nan
    one = spoiled.sel(checkpoint="quadtree-r0.75-p4-s0", data="quadtree")
    want = f"{float(one.psnr):.1f} dB without masking, {float(one.masked_psnr):.1f} dB of hidden pixels."
    note = unmasked_note(Results(spoiled), "quadtree")
    assert note.endswith(f"Mean PSNR over trained checkpoints that have both (1): {want}")
    spoiled["masked_psnr"].loc[{"checkpoint": "quadtree-r0.75-p4-s0", "data": "quadtree"}] = np.nan
    assert "PSNR" not in unmasked_note(Results(spoiled), "quadtree")
