"""Every chart is valid Vega-Lite, in the page and in files, whatever the dataset lacks."""

from __future__ import annotations

import json
from itertools import pairwise

import altair as alt
import numpy as np
import pytest
import synthetic_results
import xarray as xr

from probekit.plot import theme
from probekit.plot.curves import layer_rows
from probekit.plot.grids import groups
from probekit.plot.rows import Results
from probekit.report.page import Report, assemble


@pytest.fixture(scope="module")
def report(grid: xr.Dataset) -> Report:
    return assemble(grid)


def panels(report: Report):
    return [(f"{figure.key}-{i}", panel) for figure in report.figures for i, panel in enumerate(figure.panels)]


def structure(spec: dict) -> str:
    """What a chart is made of, without its numbers: charts alike in this are valid or not together."""
    layers = [(layer["mark"]["type"], sorted(layer["encoding"]), sorted(layer)) for layer in spec["layer"]]
    return json.dumps([layers, sorted(spec)])


def test_every_chart_follows_the_schema_of_vega_lite(report: Report) -> None:
    assert len(panels(report)) > 40
    kinds = {structure(panel.spec()): panel.spec() for _, panel in panels(report)}
    assert 5 < len(kinds) < 30
    for spec in kinds.values():
        alt.Chart.from_dict({**spec, "datasets": {"rows": []}, "$schema": alt.SCHEMA_URL})


def test_every_chart_has_words_rows_and_an_alternative(report: Report) -> None:
    for key, panel in panels(report):
        assert len(panel.alt) > 20, key
        assert panel.rows, key
        json.dumps(panel.rows, allow_nan=False)


def test_files_have_concrete_colours(report: Report) -> None:
    for key, panel in panels(report):
        assert "var(--" not in json.dumps(panel.file_spec()), key


def test_themes_name_the_same_colours() -> None:
    assert theme.LIGHT.keys() == theme.DARK.keys()


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK])
def test_text_and_marks_stand_out(colours: dict[str, str]) -> None:
    """WCAG: 4.5 for text, and marks that are seen against the page."""
    for text in ("ink", "soft", "accent"):
        assert contrast(colours[text], colours["paper"]) >= 4.5, text
    for mark in [f"c{i}" for i in range(1, 9)] + [f"s{i}" for i in range(8)]:
        assert contrast(colours[mark], colours["paper"]) >= 1.8, mark


def test_ordered_colours_are_ordered_in_lightness() -> None:
    for ramp in ([theme.LIGHT[f"s{i}"] for i in range(8)], theme.HEAT):
        assert all(luminance(a) < luminance(b) for a, b in pairwise(ramp))


def test_a_full_grid_is_split_by_patch_size_and_a_crossed_one_by_line(grid: xr.Dataset) -> None:
    results = Results(grid)
    titles = [group.title for group in groups(results.rows("representation_level", "quadtree"))]
    assert titles == ["Patch size 4 px", "Patch size 8 px"]
    titles = [group.title for group in groups(results.rows("linear_accuracy", "photos"))]
    assert titles == ["Ratios at 4 px", "Patch sizes at ratio 0.75"]


def test_every_checkpoint_is_in_some_panel(grid: xr.Dataset) -> None:
    results = Results(grid)
    for name, data in (("representation_level", "quadtree"), ("linear_accuracy", "photos")):
        rows = results.rows(name, data)
        shown = {row["checkpoint"] for group in groups(rows) for row in group.rows}
        assert shown == {row["checkpoint"] for row in rows}


def test_a_ratio_has_one_colour_in_the_whole_report(report: Report) -> None:
    seen: dict[float, set[str]] = {}
    for _, panel in panels(report):
        for layer in panel.layers:
            colour = layer["encoding"].get("color", {})
            if colour.get("field") == "ratio":
                for value, shade in zip(colour["scale"]["domain"], colour["scale"]["range"], strict=True):
                    seen.setdefault(value, set()).add(shade)
    assert seen
    assert all(len(shades) == 1 for shades in seen.values()), seen


def test_heads_are_averaged_and_said_so(grid: xr.Dataset) -> None:
    results = Results(grid)
    values = results.values("attention_distance", "quadtree")[0]
    wanted = grid["attention_distance"].sel(data="quadtree").isel(layer=-1).mean("head").values
    assert values == pytest.approx(wanted, nan_ok=True)
    assert results.choose("attention_distance").words == "last layer, mean over heads"


def test_models_of_unequal_depth_are_compared_at_their_last_layer() -> None:
    ds = synthetic_results.grid(ratios=(0.5, 0.9), patches=(4,), photos=())
    short = ds["representation_level"].where((ds.layer <= 4) | (ds.checkpoint != ds.checkpoint[0]))
    ds = ds.assign(representation_level=short.assign_attrs(ds.representation_level.attrs))
    padded = ds.relative_depth.where((ds.layer <= 4) | (ds.checkpoint != ds.checkpoint[0])) * 6 / 4
    chosen = ds.representation_level.sel(data="quadtree", pooling="mean", scaling="raw")
    for given in (
        ds.assign_coords(relative_depth=padded),
        ds[["representation_level", "representation_level_ci"]].drop_vars("relative_depth"),
    ):
        values = Results(given).values("representation_level", "quadtree")[0]
        assert values[0] == chosen.isel(checkpoint=0, layer=4)
        assert values[1] == chosen.isel(checkpoint=1, layer=-1)
        rows, field = layer_rows(Results(given), "representation_level", "quadtree")
        assert field == "depth"
        deepest = {
            name: max(row["depth"] for row in rows if row["checkpoint"] == name) for name in ds.checkpoint.values
        }
        assert set(deepest.values()) == {1}


def test_a_number_that_is_missing_at_the_last_layer_is_not_taken_from_below() -> None:
    ds = synthetic_results.grid(ratios=(0.5, 0.9), patches=(4,), photos=())
    lost = (ds.checkpoint == ds.checkpoint[0]) & (ds.layer == ds.layer[-1])
    gap = {
        name: ds[name].where(~lost).assign_attrs(ds[name].attrs)
        for name in ("representation_level", "representation_level_ci", "representation_level_image")
        if name in ds
    }
    results = Results(ds.assign(gap))
    values, bounds = results.values("representation_level", "quadtree")
    assert np.isnan(values[0])
    assert bounds is not None
    assert np.isnan(bounds[0]).all()
    assert np.isfinite(values[1:]).all()
    name = ds.checkpoint.values[0]
    assert name not in {row["checkpoint"] for row in results.rows("representation_level", "quadtree")}
    rows, field = layer_rows(results, "representation_level", "quadtree")
    assert field == "layer"  # all models have the same depth, and the curve of this one ends before its last layer
    assert max(row["layer"] for row in rows if row["checkpoint"] == name) == ds.layer.values[-2]
