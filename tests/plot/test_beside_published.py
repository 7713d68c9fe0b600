"""Published figures stand beside the same quantity, and beside nothing else."""

from __future__ import annotations

import pytest
import xarray as xr
from synthetic_results import grid

from probekit.plot import beside_published, published
from probekit.plot.rows import Results
from probekit.report.tables import published_tables


@pytest.fixture(scope="module")
def measured() -> xr.Dataset:
    return grid()


def renamed(ds: xr.Dataset, old: str, new: str) -> Results:
    """The results with one quantity under another name."""
    return Results(ds.rename({name: str(name).replace(old, new) for name in ds if str(name).startswith(old)}))


def test_detection_stands_beside_table_3_where_it_was_measured(measured: xr.Dataset) -> None:
    without = Results(measured)
    assert not [figure for figure in beside_published.figures(without) if figure.key.endswith("_ap")]
    assert {table.key for table in published_tables(without)} == {"published-table-1", "published-table-2"}
    detection = renamed(measured, "shape_bias", "box_ap")
    figures = {figure.key: figure for figure in beside_published.figures(detection)}
    assert {"published-box_ap", "published-linear_accuracy"} <= figures.keys()
    panel = figures["published-box_ap"].panels[-1]
    assert panel.title.startswith("Published: COCO")
    assert [(row["ratio"], round(100 * row["value"], 2)) for row in panel.rows] == [
        (0.1, 30.47), (0.25, 32.38), (0.5, 34.87), (0.75, 39.72), (0.9, 37.17),
    ]  # fmt: skip
    (table,) = [table for table in published_tables(detection) if table.key == "published-table-3"]
    assert table.rows[3] == ["0.75", "16", "39.72", "36.35"]
    assert "not measured here" in table.title


def test_attentive_accuracy_stands_beside_the_board_of_efficient_probing(measured: xr.Dataset) -> None:
    tables = {table.key: table for table in published_tables(renamed(measured, "shape_bias", "attentive_accuracy"))}
    assert tables["published-probing"].columns == ["Model", "k-NN", "Linear", "Attentive (EP)"]
    assert ["MAE ViT-B/16", "35.6", "67.8", "75.5"] in tables["published-probing"].rows


def test_every_quantity_with_figures_has_a_series() -> None:
    for name in beside_published.QUANTITIES:
        values = published.series(name)
        assert values
        assert all(0 < one.value < 1 for one in values)
    assert published.series("knn_accuracy") == []
