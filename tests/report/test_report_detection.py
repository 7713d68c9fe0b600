"""Detection in the report: its own section with pictures, beside the paper's figures."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_results
import xarray as xr

from probekit import schema
from probekit.detection.results import SCORES
from probekit.plot import detections
from probekit.plot.rows import Results
from probekit.report import sections


@pytest.fixture(scope="module")
def results() -> Results:
    """Three checkpoints with scores and pictures, the third without."""
    ds = synthetic_results.grid(ratios=(0.25, 0.5, 0.75), patches=(8,), seeds=(0,), photos=())
    ds = ds[["linear_accuracy"]].isel(data=[0], checkpoint=slice(3)).assign_attrs(ds.attrs)
    for name, variable in SCORES.items():
        made = variable.arrays(0.3, [0.2, 0.4])
        for key, array in made.items():
            along = array.expand_dims(data=ds.data.values)
            values = [along, along + 0.1, along * np.nan]
            ds[key] = xr.concat(values, ds.checkpoint).transpose("checkpoint", "data", ...).assign_attrs(array.attrs)
        ds[name].attrs |= {"finetuned": "full", "options": "{}"}
    shape = (1, 2, 20, 20, 3)
    truth, found = np.full(shape, 40, np.uint8), np.full((3, *shape), 90, np.uint8)
    found[2] = 0
    dims = ("data", "example", "row", "column", "channel")
    ds["example_truth"] = (dims, truth, {"long_name": "Truth"})
    ds["example_detection"] = (("checkpoint", *dims), found, {"long_name": "Found"})
    return Results(schema.validate(ds.drop_vars("linear_accuracy")))


def test_pictures_stand_below_the_truth_for_each_checkpoint_that_has_them(results: Results) -> None:
    (strip,) = detections.strips(results)
    assert [row.label for row in strip.rows] == ["Truth", *[one.name for one in results.checkpoints[:2]]]
    assert strip.rows[0].given
    assert all(row.pictures[0] and row.pictures[0].source.startswith("data:image/") for row in strip.rows)


def test_the_section_is_shown_and_the_published_table_stands_beside_it(results: Results) -> None:
    section = sections.group_section(results, *next(group for group in sections.GROUPS if group[0] == "detection"))
    assert section.strips
    assert section.figures
    figures = sections.beside_published.figures(results)
    assert [figure.key for figure in figures] == ["published-box_ap", "published-mask_ap"]
