"""Charts from results in one line: valid, coloured as their legends say, by any coordinate."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import altair as alt
import numpy as np
import pytest
import synthetic_results
import xarray as xr

import probekit
from probekit import plot, schema
from probekit.errors import ResultsError
from probekit.plot.recovery import profile_figure
from probekit.plot.rows import Results
from probekit.report.page import assemble


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return synthetic_results.readings(ratios=(0.25, 0.5, 0.9), patches=(4, 8), photos=(0.5, 0.9))


def rows_of(chart: alt.TopLevelMixin) -> list[dict]:
    """Every row that a chart draws, wherever Altair keeps them."""
    spec = chart.to_dict()
    inside = [part["data"]["values"] for part in spec["concat"] if "values" in part.get("data", {})]
    return [row for rows in (*spec.get("datasets", {}).values(), *inside) for row in rows if "value" in row]


CALLS = {
    "attention": {},
    "by_setting": {"name": "linear_accuracy"},
    "embedding": {},
    "ladder": {},
    "levels": {},
    "over_layers": {"name": "ladder_level"},
    "profile": {},
    "reconstructions": {},
    "response": {},
    "similarity": {},
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_chart_is_valid_and_can_be_drawn(name: str, ds: xr.Dataset) -> None:
    chart = getattr(plot, name)(ds, **CALLS[name])
    assert isinstance(chart, alt.TopLevelMixin)
    alt.Chart.from_dict(chart.to_dict())
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "chart.svg"
        chart.save(target)
        assert target.read_text().count("<path") > 5 or "image" in target.read_text()


@pytest.mark.parametrize("name", ["attention", "by_setting", "reconstructions"])
@pytest.mark.parametrize("suffix", ["pdf", "png"])
def test_charts_with_and_without_pictures_are_written(name: str, suffix: str, ds: xr.Dataset, tmp_path: Path) -> None:
    getattr(plot, name)(ds, **CALLS[name]).save(tmp_path / f"chart.{suffix}")
    head = {"pdf": b"%PDF", "png": b"\x89PNG"}[suffix]
    assert (tmp_path / f"chart.{suffix}").read_bytes().startswith(head)


def test_a_notebook_shows_charts_without_a_network(ds: xr.Dataset) -> None:
    for chart in (plot.by_setting(ds, "linear_accuracy"), plot.reconstructions(ds)):
        bundle = chart.properties(background="white")._repr_mimebundle_()
        assert set(bundle) == {"image/svg+xml", "text/plain"}
        assert bundle["image/svg+xml"].startswith("<svg")
        assert "<script" not in bundle["image/svg+xml"]
        with alt.renderers.enable("mimetype"):
            assert "image/svg+xml" not in str(chart._repr_mimebundle_())


def test_every_chart_is_tried_here() -> None:
    assert set(CALLS) | {"contrast"} == set(plot.CHARTS)
    assert dir(plot) == sorted(plot.CHARTS)


def test_contrasts_are_drawn_with_their_interval(ds: xr.Dataset) -> None:
    differences = probekit.contrast(ds, baseline=str(ds.checkpoint.values[0]), correction="holm")
    rows = rows_of(plot.contrast(differences, "representation_level"))
    assert rows
    assert {row["checkpoint"] for row in rows} <= set(ds.checkpoint.values[1:])
    assert all(row["lower"] < row["value"] < row["upper"] for row in rows)
    with pytest.raises(ResultsError, match="There are no differences"):
        plot.contrast(ds)


def test_any_coordinate_groups_and_colours(ds: xr.Dataset) -> None:
    for chart in (plot.by_setting(ds, "ladder_level", by="recipe"), plot.over_layers(ds, "ladder_level", by="recipe")):
        layers = [layer for part in chart.to_dict()["concat"] for layer in part["layer"]]
        colours = [layer["encoding"]["color"] for layer in layers if "field" in layer["encoding"].get("color", {})]
        assert colours
        assert all(colour["field"] == "by" and colour["scale"]["domain"] == ["long", "plain"] for colour in colours)
        rows = [row for row in rows_of(chart) if not row["untrained"]]
        known = dict(zip(ds.checkpoint.values, ds.recipe.values, strict=True))
        assert all(row["by"] == known[row["checkpoint"]] for row in rows)
    with pytest.raises(ResultsError, match="Did you mean"):
        plot.by_setting(ds, "ladder_level", by="recipes")


def test_labels_are_fixed_and_unknown_ones_are_named(ds: xr.Dataset) -> None:
    cls, mean = (plot.by_setting(ds, "linear_accuracy", pooling=pooling) for pooling in ("cls", "mean"))
    values = [[row["value"] for row in rows_of(chart)] for chart in (cls, mean)]
    assert not np.allclose(*values)
    assert "pooling cls" in " ".join(cls.to_dict()["title"]["subtitle"])
    with pytest.raises(ResultsError, match="Known: cls, mean"):
        plot.by_setting(ds, "linear_accuracy", pooling="max")
    with pytest.raises(ResultsError, match="Did you mean"):
        plot.by_setting(ds, "linear_acuracy")
    with pytest.raises(ResultsError, match="Known: photos, shapes"):
        plot.by_setting(ds, "linear_accuracy", data="imagenet")


def test_a_star_stands_only_where_seeds_carry_it(ds: xr.Dataset) -> None:
    clear = ds.copy(deep=True)
    rng = np.random.default_rng(0)
    noise = ds.copy(deep=True)
    shape = noise["recovery_gain"].shape
    noise["recovery_gain"] = noise["recovery_gain"].copy(
        data=np.where(np.isfinite(noise["recovery_gain"]), rng.normal(size=shape), np.nan)
    )
    marks = {}
    for name, given in (("clear", clear), ("noise", noise)):
        figure = profile_figure(Results(given), "quadtree")
        marks[name] = sum("★" in row["mark"] for row in figure.panels[0].rows)
    assert marks["noise"] == 0
    best = clear["recovery_gain"].isel(layer=-1).sel(data="quadtree")
    assert marks["clear"] <= best.sizes["level"]


def test_the_report_draws_the_same_figures(ds: xr.Dataset) -> None:
    report = assemble(ds)
    keys = {figure.key for figure in report.figures}
    wanted = {
        "gain-quadtree",
        "amount-quadtree",
        "ladder_share-quadtree",
        "level_share-quadtree",
        "response_similarity-quadtree",
        "similarity-quadtree",
    }
    assert wanted <= keys
    assert report.headline is not None
    assert report.headline.name == "gain_amount"
    assert {"Recipe"} <= {facet["title"] for facet in report.facets}
    grouped = assemble(ds, by="recipe")
    assert all(
        row["by"] in ("plain", "long", None)
        for figure in grouped.figures
        for panel in figure.panels
        for row in panel.rows
        if "by" in row
    )


def test_the_first_screen_is_the_profile_or_the_ladder_and_an_accuracy(ds: xr.Dataset) -> None:
    ds = ds.drop_vars("recipe")
    gain, amount = assemble(ds).headline_figures
    assert (gain.key, amount.key) == ("gain-quadtree", "amount-quadtree")
    learned, asked = gain.panels
    best = max(learned.rows, key=lambda row: row["value"])
    assert best["mark"].startswith(f"{best['value']:.2f}".lstrip("0")[:3])
    binding = {row["setting"]: row["mark"] for row in asked.rows if row["level"] == "binds at"}
    for setting, index in {"ratio 0.5, 4 px": 2, "ratio 0.9, 8 px": 10}.items():
        assert binding[setting] == f"{ds['expected_binding_level'].values[index]:.1f}", setting
    assert {row["setting"] for row in asked.rows} == {row["setting"] for row in learned.rows}
    assert "Asked for" in gain.caption
    ordinary = ds.isel(checkpoint=[i for i, name in enumerate(ds.checkpoint.values) if "cifar10" in str(name)])
    first, second = assemble(ordinary.sel(data=["photos", "shapes"])).headline_figures
    assert first.title.startswith("Ladder level")
    assert (second.key, second.title) == ("headline-accuracy", "Linear accuracy, photos")


def test_from_a_file_and_without_torch(ds: xr.Dataset, tmp_path: Path) -> None:
    file = schema.write(ds, tmp_path / "results.nc")
    code = f"import sys, probekit; probekit.plot.ladder({str(file)!r}).to_dict(); print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
        == "False"
    )
