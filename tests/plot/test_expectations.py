"""What Theorem 1 expects of the masks on one image set stands beside what was measured on that set alone."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_results as made
import xarray as xr

from probekit.plot.expectations import expected, expected_on
from probekit.plot.figure import Figure
from probekit.plot.headline import find
from probekit.plot.last_layer import theory
from probekit.plot.recovery import gain_figure
from probekit.plot.rows import Results

SETS = ("quadtree", "second")


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    """Two image sets of known latents; the second asks for the lowest level alone, and twice the height."""
    found = [made.Model(f"m{r}-{s}", SETS, r, 4, s) for r in (0.25, 0.75) for s in (0, 1)]
    maker = made.Maker(found, layers=2, heads=1)
    height = made.variable("representation_level", (), "Representation level", "levels")
    maker.add(height, lambda m, at: m.quality, 0.01)
    r2 = made.variable("latent_r2", ("level",), "R² of latents")
    maker.add(r2, lambda m, at: 0.1 * m.quality * at["level"], 0.01)
    for name in ("latent_r2", "latent_r2_ci"):
        maker.arrays[name][:, 1] = maker.arrays[name][:, 0] / 2
    gain = made.variable("recovery_gain", ("layer", "level"), "Recovery gain")
    maker.add(gain, lambda m, at: m.quality * at["level"] + 0 * at["layer"], 0.01)
    first = made.add_theory(maker)
    share = xr.full_like(first["expected_level_share"], 0.0)
    share[:, 1] = 1.0
    other = {"expected_level_share": share, **{n: 2 * a for n, a in first.items() if n != "expected_level_share"}}
    both = {name: xr.concat([first[name], other[name]], "data").transpose("checkpoint", "data", ...) for name in first}
    for name, array in both.items():
        array.attrs = first[name].attrs
    return made.assemble(maker, both)


def asked(figure: Figure | None) -> dict[str, float]:
    """Level -> share of c of the setting of ratio 0.75 in the heat map of what was asked for."""
    assert figure is not None
    panel = next(panel for panel in figure.panels if panel.title.startswith("Asked for"))
    rows = [row for row in panel.rows if row["setting"].startswith("ratio 0.75") and row["value"] is not None]
    return {str(row["level"]): row["value"] for row in rows}


def test_each_image_set_has_its_own_expectation(ds: xr.Dataset) -> None:
    results = Results(ds)
    assert expected_on(results, "expected_level_share") == list(SETS)
    for data in SETS:
        for name in ("expected_level_share", "expected_binding_level", "expected_mean_height"):
            np.testing.assert_array_equal(expected(results, name, data), ds[name].sel(data=data).values)


@pytest.mark.parametrize("data", SETS)
def test_charts_show_the_expectation_of_their_image_set(ds: xr.Dataset, data: str) -> None:
    results, own = Results(ds), ds.expected_level_share.sel(data=data).values[-1]
    levels = {figure.title: figure for figure in theory(results, find(results)) if figure.key.startswith("theory-lev")}
    assert len(levels) == len(SETS)
    figure = next(figure for title, figure in levels.items() if title.endswith(f", {data}"))
    for found in (asked(gain_figure(results, data)), asked(figure)):
        np.testing.assert_allclose([found[str(level)] for level in range(made.LEVELS)], own, atol=5e-4)
    measured = next((panel for panel in figure.panels if panel.title.startswith("Recovered")), None)
    assert measured is not None
    values = results.values("latent_r2", data, keep=("level",))[0][-2:].mean(0)
    rows = [row["value"] for row in measured.rows if row["setting"].startswith("ratio 0.75")]
    np.testing.assert_allclose(rows, values, atol=5e-4)


def test_the_binding_level_is_that_of_the_image_set_of_the_answer(ds: xr.Dataset) -> None:
    results = Results(ds.drop_vars([name for name in ds.data_vars if str(name).startswith("recovery_gain")]))
    headline = find(results)
    assert headline is not None
    figure = next(figure for figure in theory(results, headline) if figure.key == "theory-binding")
    own = ds.expected_binding_level.sel(data=headline.data)
    for row in figure.panels[0].rows:
        assert row["expected"] == pytest.approx(float(own.sel(checkpoint=row["checkpoint"])), abs=1e-3)


def test_an_expectation_without_image_sets_stands_where_something_was_measured() -> None:
    results = Results(made.grid(ratios=(0.25, 0.75), patches=(4,), photos=(0.5,)))
    assert expected_on(results, "expected_level_share") == ["quadtree"]
    keys = [figure.key for figure in theory(results, find(results))]
    assert "theory-levels" in keys
