"""Every chart is valid Vega-Lite, in the page and in files, whatever the dataset lacks."""

from __future__ import annotations

import json
from itertools import pairwise

import altair as alt
import numpy as np
import pytest
import synthetic_results
import xarray as xr

from probekit.plot import headline, theme
from probekit.plot.curves import baseline_layers, layer_rows
from probekit.plot.grids import groups
from probekit.plot.rows import Results
from probekit.report.page import Report, assemble
from probekit.report.tables import long_table


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
    padded = ds.relative_depth.where(ds.checkpoint != ds.checkpoint[0], (ds.layer / 4).where(ds.layer <= 4))
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


def blank_last(ds: xr.Dataset, *names: str) -> xr.Dataset:
    """Results whose quantities have no number at the last layer."""
    every = [name + end for name in names for end in ("", "_ci", "_image") if name + end in ds]
    return ds.assign({name: ds[name].where(ds.layer != ds.layer[-1]).assign_attrs(ds[name].attrs) for name in every})


def test_another_quantity_leads_where_the_first_has_no_number_at_the_last_layer(grid: xr.Dataset) -> None:
    before = headline.find(Results(grid))
    assert before is not None
    after = headline.find(Results(blank_last(grid, before.name)))
    assert after is not None
    assert after.name != before.name
    assert assemble(blank_last(grid, before.name)).headline.name == after.name


def test_the_table_of_all_numbers_knows_the_last_layer_of_each_checkpoint(grid: xr.Dataset) -> None:
    table = long_table(Results(blank_last(grid, "representation_level")))
    assert {one["last"] for one in table["checkpoints"]} == {int(grid.layer[-1])}


def with_architecture(ds: xr.Dataset, wide: int) -> xr.Dataset:
    """The first `wide` checkpoints are of another width, and each knows its untrained twin: .1 of its width."""
    width = np.where(np.arange(ds.sizes["checkpoint"]) < wide, 128.0, 64.0)
    twin = (0 * ds.representation_level + xr.DataArray(width, dims="checkpoint") / 1000).transpose(
        *ds.representation_level.dims
    )
    attrs = ds.representation_level.attrs | {"no_interval": "a test"}
    return ds.assign(representation_level_untrained=twin.assign_attrs(attrs)).assign_coords(
        width=("checkpoint", width), depth=("checkpoint", np.full(len(width), 6.0))
    )


def test_each_family_stands_beside_the_untrained_encoder_of_its_own_architecture() -> None:
    ds = synthetic_results.grid(ratios=(0.5, 0.9), patches=(4, 8), seeds=(0, 1), photos=())
    ds = ds.sel(checkpoint=[name for name in ds.checkpoint.values if "untrained" not in str(name)])
    ds = (
        with_architecture(ds, wide=4)
        .drop_vars("vit_patch_size")
        .assign_coords(vit_patch_size=("checkpoint", np.full(ds.sizes["checkpoint"], 4.0)))
    )
    rows = Results(ds).rows("representation_level", "quadtree")
    twins = {row["setting"]: row["value"] for row in rows if row["untrained"]}
    assert twins == {
        "untrained encoder (width 128)": 0.128,
        "untrained encoder (width 64)": 0.064,
    }
    seen = set()
    for group in groups(rows):
        (width,) = {row["architecture"][0] for row in group.rows if not row["untrained"]}
        assert [row["value"] for row in group.rows if row["untrained"]] == [width / 1000]
        seen.add(width)
    assert seen == {64, 128}
    for found in headline.candidates(Results(ds), "representation_level", "quadtree"):
        width = {row["architecture"][0] for row in found.trained if row["family"] == found.family}
        assert {row["value"] for row in found.baseline} == {one / 1000 for one in width}


def test_an_untrained_checkpoint_takes_the_place_of_its_own_twin_alone() -> None:
    ds = synthetic_results.grid(ratios=(0.5, 0.9), patches=(4,), seeds=(0,), photos=())
    ds = with_architecture(ds, wide=1).assign_coords(
        vit_patch_size=("checkpoint", np.full(ds.sizes["checkpoint"], 4.0))
    )
    rows = Results(ds).rows("representation_level", "quadtree")
    names = {row["setting"] for row in rows if row["untrained"]}
    assert names == {
        "untrained (width 64)", "untrained encoder (width 128)",
    }  # fmt: skip


def test_layers_that_were_not_all_measured_are_drawn_at_their_own_depth() -> None:
    ds = synthetic_results.grid(ratios=(0.5, 0.9), patches=(4,), photos=())
    lacking = (ds.checkpoint == ds.checkpoint[0]) & (ds.layer > 3)
    names = [name for name in ds.data_vars if {"layer", "checkpoint"} <= set(ds[name].dims)]
    part = ds.assign({name: ds[name].where(~lacking).assign_attrs(ds[name].attrs) for name in names})
    part = part.assign_coords(relative_depth=ds.relative_depth.where(~lacking))
    rows, field = layer_rows(Results(part), "representation_level", "quadtree")
    assert field == "depth"
    last = max(row["depth"] for row in rows if row["checkpoint"] == str(ds.checkpoint.values[0]))
    assert last == pytest.approx(float(ds.relative_depth[0].sel(layer=3)), abs=1e-4)
    assert Results(part).choose("representation_level").words.startswith("last measured layer")
    assert Results(ds).choose("representation_level").words.startswith("last layer")


def test_the_name_of_a_baseline_takes_no_room_from_its_chart() -> None:
    ds = synthetic_results.grid(ratios=(0.5, 0.9), patches=(4,), seeds=(0,), photos=())
    ds = with_architecture(ds, wide=1).assign_coords(
        vit_patch_size=("checkpoint", np.full(ds.sizes["checkpoint"], 4.0)), depth=("checkpoint", [4.0, 4.0, 6.0])
    )
    rows = Results(ds).rows("representation_level", "quadtree")
    names = {row["setting"] for row in rows if row["untrained"]}
    assert "untrained (width 64 / 6 blocks / ViT patch 4 px)" in names  # no fact alone tells all three
    texts = [one["mark"] for one in baseline_layers({}, []) if one["mark"]["type"] == "text"]
    assert texts
    assert all(mark["limit"] == {"expr": "width - 8"} for mark in texts)
