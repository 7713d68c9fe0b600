"""Captions say what the charts above them hold: intervals where there are some, real counts, the levels of the file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import synthetic_results as made
import xarray as xr

from probekit.plot.differences import Differences, forest
from probekit.plot.figure import Figure, bounded, lowered
from probekit.plot.headline import find
from probekit.plot.last_layer import embeddings
from probekit.plot.rows import Results
from probekit.report.page import assemble
from probekit.report.sentences import answer

CHOICE = {"ratios": (0.25, 0.5, 0.9), "patches": (4, 8), "photos": (0.5, 0.9)}
APART = ("differences", "published")
"""Figures whose captions speak of intervals of their own."""
SPOKEN = ("95 %", "Bands", "intervals", "with its interval", "Intervals:")


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return made.readings(**CHOICE)


def unbounded(ds: xr.Dataset) -> xr.Dataset:
    """All numbers, and no bound of any: as where every resample failed."""
    return ds.assign({name: ds[name] * np.nan for name in ds.data_vars if str(name).endswith("_ci")})


def bare(ds: xr.Dataset) -> xr.Dataset:
    """Results that never had an interval."""
    gone = [str(name) for name in ds.data_vars if str(name).endswith("_ci")]
    ds = ds.drop_vars(gone)
    for name in gone:
        ds[name.removesuffix("_ci")].attrs["no_interval"] = "left out"
    return ds


def figures(ds: xr.Dataset) -> list[Figure]:
    page = assemble(ds)
    found = {figure.key: figure for figure in (*page.headline_figures, *page.figures)}
    return [figure for key, figure in found.items() if not key.startswith(APART)]


@pytest.mark.parametrize("spoil", [unbounded, bare])
def test_no_caption_speaks_of_intervals_that_nothing_has(ds: xr.Dataset, spoil: Callable) -> None:
    found = figures(spoil(ds))
    assert len(found) > 10
    assert not [(figure.key, figure.caption) for figure in found if any(word in figure.caption for word in SPOKEN)]
    page = assemble(spoil(ds))
    assert next(section for section in page.sections if section.key == "summary").lead == "One line per checkpoint."
    reason = "the file has none of these numbers" if spoil is unbounded else "left out"
    assert f"These numbers have no interval: {reason}." in answer(page.headline).caution


def test_captions_speak_of_intervals_that_are_drawn(ds: xr.Dataset) -> None:
    found = {figure.key: figure for figure in figures(ds)}
    assert "Dots: checkpoints, with 95 % intervals over images." in found["amount-quadtree"].caption
    drawn = [figure for figure in found.values() if bounded(figure.panels) and not figure.key.startswith("response")]
    assert len(drawn) > 5
    assert all("95 %" in figure.caption or "Intervals" in figure.caption for figure in drawn)
    page = assemble(ds)
    lead = next(section for section in page.sections if section.key == "summary").lead
    assert lead == "One line per checkpoint, each number with its 95 % interval."


def test_a_quantity_without_bounds_beside_one_that_has_them_is_named(ds: xr.Dataset) -> None:
    spoiled = ds.assign(linear_accuracy_ci=ds.linear_accuracy_ci * np.nan)
    caption = next(figure.caption for figure in figures(spoiled) if figure.key == "classes-photos")
    assert "with the 95 % interval of each" in caption
    assert "No interval for Linear accuracy: the file has none of these numbers." in caption


def test_the_count_of_marks_is_the_real_one(ds: xr.Dataset) -> None:
    captions = {figure.caption for figure in embeddings(Results(ds))}
    assert captions == {
        f"One mark per test image ({made.IMAGES}), by class. t-SNE keeps neighbourhoods, not distances."
    }
    assert "(the first 100)" in embeddings(Results(ds), points=100)[0].caption
    spoiled = ds.copy(deep=True)
    spoiled["embedding_xy"][0, 1, :, 50:] = np.nan
    caption = next(figure.caption for figure in embeddings(Results(spoiled)) if figure.key == "embedding-quadtree")
    assert f"(50 to {made.IMAGES})" in caption


def test_titles_keep_the_capitals_of_abbreviations_within_a_sentence() -> None:
    kept = ("SSIM", "SSIM, hidden pixels", "RankMe", "R² of latents", "k-NN accuracy", "ViT patch 4 px", "LiDAR")
    assert [lowered(title) for title in kept] == list(kept)
    assert lowered("Ladder level") == "ladder level"
    assert lowered("Top-5 accuracy") == "Top-5 accuracy"
    assert lowered("") == ""


def test_a_claim_that_cannot_be_told_keeps_an_abbreviation() -> None:
    rng = np.random.default_rng(0)
    found = [made.Model(f"m{r}-{s}", ("quadtree",), r, 4, s) for r in (0.1, 0.5, 0.9) for s in range(3)]
    maker = made.Maker(found, layers=2, heads=1)
    maker.add(made.variable("ssim", (), "SSIM"), lambda m, at: rng.normal(), 0.01)
    assert answer(find(Results(made.assemble(maker, {})))).claim.startswith("Whether SSIM moves with mask ratio")


@pytest.mark.parametrize("lowest", [0, 1])
def test_level_0_is_spoken_of_where_the_file_has_it(lowest: int) -> None:
    whole = made.grid(**CHOICE)
    found = figures(whole.isel(level=slice(lowest, None)))
    texts = [figure.caption.lower() for figure in found if "the root" in figure.caption]
    assert len(texts) > 1
    assert all(("level 0 is pixel noise" in text) == (lowest == 0) for text in texts)


@pytest.mark.parametrize("grouped", [(), ("photos",), ("photos", "quadtree", "shapes")])
def test_differences_of_groups_are_called_so(ds: xr.Dataset, grouped: tuple[str, ...]) -> None:
    groups = np.full((ds.sizes["data"], ds.sizes["image"]), -1)
    for data in grouped:
        groups[list(ds.data.values).index(data)] = np.arange(ds.sizes["image"]) // 4
    results = Results(ds.assign(group=(("data", "image"), groups)))
    figure = forest(Differences(results, None))
    assert figure is not None
    over = figure.caption.partition("Student's t of ")[2].partition(". Blue")[0]
    assert (
        over
        == {
            0: "the per-image differences",
            1: "the per-image differences, and of the differences of groups of images for photos",
            3: "the differences of groups of images",
        }[len(grouped)]
    )
