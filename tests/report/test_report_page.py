"""The page: self-contained, accessible in structure, escaped, and sensible for any dataset of the schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import report_cases
import synthetic_results
import xarray as xr
from packed_page import unpacked

from probekit import contrast, report, schema
from probekit.plot.rows import Results
from probekit.report import card
from probekit.report.packing import packed, trimmed
from probekit.report.tables import TableCell


class Outline(HTMLParser):
    """Tags with their attributes, in order, and the text of each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.inside: str | None = None
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[self.inside] = self.scripts.get(self.inside, "") + data
        else:
            self.text.append(data)

    def ids(self) -> list[str]:
        return [attrs["id"] or "" for _, attrs in self.tags if "id" in attrs]


@pytest.fixture(scope="module")
def page(grid: xr.Dataset) -> str:
    return report.html(grid, script="")


def single(**changes) -> xr.Dataset:
    """One checkpoint on the quadtree."""
    ds = synthetic_results.grid(ratios=(0.75,), patches=(8,), seeds=(0,), photos=())
    return ds.isel(checkpoint=[0]).assign_coords(changes)


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    for tag, attrs in Outline(page).tags:
        for key in ("src", "href", "srcset", "data"):
            address = attrs.get(key) or ""
            assert address == "" or address.startswith(("#", "data:")), (tag, address)
    assert "@import" not in page
    assert not re.search(r"url\((?!data:)", page)


def test_ids_are_unique_and_links_lead_somewhere(page: str) -> None:
    outline = Outline(page)
    ids = outline.ids()
    assert len(ids) == len(set(ids))
    for tag, attrs in outline.tags:
        if tag == "a" and (attrs.get("href") or "").startswith("#"):
            assert (attrs["href"] or "")[1:] in ids


def test_headings_are_nested_without_gaps(page: str) -> None:
    levels = [int(tag[1]) for tag, _ in Outline(page).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_charts_and_pictures_have_alternatives_and_controls_have_labels(page: str) -> None:
    outline = Outline(page)
    charts = [attrs for _, attrs in outline.tags if "data-chart" in attrs]
    assert charts
    assert all(attrs.get("aria-label") for attrs in charts)
    assert {attrs["data-chart"] for attrs in charts} == set(unpacked(page)["charts"])
    pictures = [attrs for tag, attrs in outline.tags if tag == "img"]
    assert pictures
    assert all(attrs.get("alt") for attrs in pictures)
    scrolling = [attrs for _, attrs in outline.tags if attrs.get("class") == "scroll"]
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-label") for attrs in scrolling)


def test_every_number_of_the_file_is_in_the_page(grid: xr.Dataset, page: str) -> None:
    table = unpacked(page)["table"]
    packed = {variable["name"]: variable for variable in table["variables"]}
    assert set(packed) == set(schema.result_names(grid))
    for name, variable in packed.items():
        values = grid[name].transpose("checkpoint", "data", ...).values
        flat = np.flatnonzero(np.isfinite(values))
        np.testing.assert_array_equal(np.cumsum(variable["steps"]), flat)
        np.testing.assert_allclose(variable["value"], values.ravel()[flat], rtol=1e-4)
        assert ("lower" in variable) == (f"{name}_ci" in grid)
        assert "lower" in variable or variable["none"]


def test_numbers_are_kept_to_the_digits_that_are_shown_and_whole_ones_exactly() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(size=(3, 500)) * 10.0 ** draw.integers(-30, 30, size=(3, 500))
    assert np.abs(trimmed(values, 16) / values - 1).max() < 2**-17 + 1e-7
    whole = np.array([0, 1, -7, 1000, 65_536, 131_071, np.nan])
    np.testing.assert_array_equal(trimmed(whole, 16), whole.astype(np.float32))


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        packed({"a": float("nan")})
    with pytest.raises(TypeError, match="set is neither JSON nor an array"):
        packed({"a": {1}})


def test_differences_of_every_pair_are_in_the_page(grid: xr.Dataset, page: str) -> None:
    found = unpacked(page)["differences"]["quantities"]
    assert len(found) > 5
    item = next(one for one in found if one["title"].startswith("Shape bias"))
    names = [str(grid.checkpoint.values[i]) for i in item["checkpoints"]]
    size = len(names)
    assert len(item["value"]) == size * (size - 1) // 2
    data = next(each for each in grid.data.values if str(each) in item["title"])
    expected = contrast(grid, baseline=names[-1], variables=["shape_bias"]).shape_bias_difference.sel(data=data)
    last = [low * size - low * (low + 3) // 2 + size - 2 for low in range(size - 1)]  # as `report.js` counts
    np.testing.assert_allclose(item["value"][last], expected.sel(checkpoint=names[:-1]), rtol=1e-4, atol=1e-7)


SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"


def test_text_from_a_file_stays_text() -> None:
    ds = single().assign_coords(checkpoint=[SCRIPT], data=[SCRIPT])
    facts = {"checkpoints": {SCRIPT: {"card": SCRIPT}}, "command": [SCRIPT], "suite": SCRIPT}
    ds.attrs["provenance"] = json.dumps(facts)
    ds.attrs["not_applicable"] = json.dumps({SCRIPT: {SCRIPT: SCRIPT}})
    for name in schema.result_names(ds):
        ds[name].attrs |= {"long_name": SCRIPT, "protocol": SCRIPT, "reference": SCRIPT, "units": SCRIPT}
    page = report.html(ds, script="")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    outline = Outline(page)
    assert len([tag for tag, _ in outline.tags if tag == "script"]) == 3
    assert unpacked(page)["names"] == [SCRIPT]
    assert "".join(outline.text).count("<script>alert(1)") > 5


def test_a_single_checkpoint_gives_a_sensible_page() -> None:
    page = report.html(single(), script="")
    assert "Representation level of quadtree-r0.75-p8-s0: " in page
    assert "headline-comparison" in page
    assert 'id="choose"' not in page


def test_a_single_checkpoint_has_a_card_with_its_facts_and_baselines() -> None:
    ds = report_cases.one()
    beside = ds.linear_accuracy.isel(layer=0, pooling=0, drop=True) * 0 + 0.125
    ds["majority_accuracy"] = beside.assign_attrs(
        ds.linear_accuracy.attrs | {"long_name": "Accuracy of the most frequent class", "no_interval": "a test"}
    )
    facts, numbers = card.tables(Results(ds))
    assert facts.title == str(ds.checkpoint.values[0])
    assert ["Mask ratio", f"{float(ds.mask_ratio.values[0]):g}"] in facts.rows
    row = next(row for row in numbers.rows if row[1] == ds.linear_accuracy.attrs["long_name"])
    last = ds.linear_accuracy.isel(checkpoint=0, layer=-1).sel(data=row[0], pooling="mean")
    assert float(row[2].value) == pytest.approx(float(last), abs=5e-3)
    assert row[3:] == ["Accuracy of the most frequent class", TableCell("0.125")]
    assert card.tables(Results(report_cases.two_families())) == []
    text = report.html(ds)
    assert 'id="card"' in text
    assert "highest first" not in text
    assert "By training choice" not in text


def test_unknown_ratio_and_patch_size() -> None:
    nan = ("checkpoint", [np.nan])
    page = report.html(single(mask_ratio=nan, patch_size=nan), script="")
    assert "How the checkpoints were masked is unknown" in page


def test_everything_not_applicable() -> None:
    ds = single()
    for name in schema.result_names(ds):
        ds[name] = ds[name] * np.nan if not ds[name].attrs else ds[name].copy(data=np.full(ds[name].shape, np.nan))
    ds.attrs["not_applicable"] = json.dumps({str(ds.checkpoint.values[0]): {"linear_probe": "no labels"}})
    page = report.html(ds, script="")
    assert "Nothing could be measured" in page
    assert "no labels" in page
    assert 'id="not-applicable"' in page


def test_a_probe_never_heard_of_is_shown() -> None:
    ds = single()
    variable = synthetic_results.variable("wobble", ("layer", "phase"), "Wobble", "Hz", "none")
    made = variable.arrays(np.ones((7, 2)), np.ones((7, 2, 2)), coords={"layer": ds.layer, "phase": ["in", "out"]})
    wide = {"checkpoint": ds.checkpoint, "data": ds.data}
    more = {key: array.expand_dims(wide).assign_attrs(array.attrs) for key, array in made.items()}
    page = report.html(ds.assign(more), script="")
    assert "Further quantities" in page
    assert "Wobble over layers" in page


def test_only_one_number() -> None:
    keep = ["shape_bias", "shape_bias_ci"]
    ds = synthetic_results.grid(ratios=(0.5,), patches=(4,), photos=(0.5, 0.9))[keep]
    assert "Shape bias" in report.html(ds, script="")


def test_no_checkpoint_is_refused_in_words() -> None:
    with pytest.raises(schema.ResultsError, match="nothing to report"):
        report.html(single().isel(checkpoint=[]), script="")


def test_attributes_given_for_each_image_set_are_read_out() -> None:
    ds = single()
    ds["latent_r2"].attrs["protocol"] = json.dumps({"by_data": {"quadtree": "one way", "photos": "another"}})
    assert "on quadtree: one way; on photos: another" in report.html(ds, script="")


def test_a_report_from_a_file_imports_no_torch(tmp_path: Path) -> None:
    file = schema.write(single(), tmp_path / "results.nc")
    code = (
        "import sys; from probekit import report, schema; "
        f"report.write(schema.read({str(file)!r}), {str(tmp_path / 'r.html')!r}, script=''); "
        "print([m for m in ('torch', 'timm', 'transformers', 'sklearn', 'altair', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
