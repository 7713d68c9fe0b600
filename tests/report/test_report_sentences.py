"""The words of the first screen follow the numbers, and claim nothing that seeds don't carry."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_results
import xarray as xr

from probekit.report.headline import find
from probekit.report.results import Results
from probekit.report.sentences import Answer, answer


def level(values: dict[tuple[float, float, int], float], data: str = "quadtree") -> xr.Dataset:
    """A dataset with one quantity: (ratio, patch, seed) -> representation level."""
    found = [synthetic_results.Model(f"m{i}", (data,), *key) for i, key in enumerate(values)]
    maker = synthetic_results.Maker(found, layers=2, heads=1)
    variable = synthetic_results.variable("representation_level", ("layer",), "Representation level", "levels")
    by_name = dict(zip((m.name for m in found), values.values(), strict=True))
    maker.add(variable, lambda model, at: np.full(2, by_name[model.name]), 1e-9)
    return synthetic_results.assemble(maker, {})


def words(ds: xr.Dataset) -> Answer:
    return answer(find(Results(ds)))


def grid(function, ratios=(0.1, 0.5, 0.9), patches=(4, 8), seeds=(0, 1), noise: float = 0.01) -> xr.Dataset:
    return level({(r, p, s): function(r, p) + noise * (2 * s - 1) for p in patches for r in ratios for s in seeds})


def test_rising_falling_and_peaks_are_named() -> None:
    assert words(grid(lambda r, p: r)).claim.startswith("Representation level rises with mask ratio")
    assert "falls with mask ratio" in words(grid(lambda r, p: -r)).claim
    assert "peaks at mask ratio 0.5 and rises with patch size" in words(grid(lambda r, p: p - (r - 0.5) ** 2)).claim
    assert "dips at mask ratio 0.5" in words(grid(lambda r, p: (r - 0.5) ** 2)).claim


def test_a_difference_within_seed_noise_is_not_claimed() -> None:
    found = words(grid(lambda r, p: r, noise=5.0))
    assert found.claim == "Representation level does not move with mask ratio or patch size beyond what the seed does."
    assert "It separates 0 of 7 pairs" in found.caution
    assert "not more than" in found.findings[0]


def test_what_is_unsure_is_said_beside_what_is_sure() -> None:
    assert words(grid(lambda r, p: r)).claim.endswith("; no dependence on patch size beyond seed noise.")


def test_a_peak_needs_settings_on_both_sides_that_seeds_tell_from_it() -> None:
    plateau = grid(lambda r, p: {0.1: 0.0, 0.5: 1.02, 0.9: 1.0}[r], patches=(4,))
    assert words(plateau).claim == "Representation level rises with mask ratio up to 0.5, with no clear change beyond."
    drop = grid(lambda r, p: {0.1: 1.0, 0.5: 1.02, 0.9: 0.0}[r], patches=(4,))
    assert words(drop).claim == "Representation level falls with mask ratio from 0.5 on, with no clear change before."
    trough = grid(lambda r, p: {0.1: 1.0, 0.5: 0.0, 0.9: 0.02}[r], patches=(4,))
    assert words(trough).claim == "Representation level falls with mask ratio up to 0.5, with no clear change beyond."


def test_single_runs_are_hedged_in_the_claim() -> None:
    assert words(grid(lambda r, p: r, seeds=(0,))).claim.endswith("seeds have yet to tell it from luck.")


def test_without_replicated_seeds_the_luck_of_the_run_is_said() -> None:
    found = words(grid(lambda r, p: r, seeds=(0,)))
    assert "one training run per setting" in found.caution
    assert found.findings[0].endswith("0.80 apart.")


def test_degrees_of_freedom_and_deviation_are_given() -> None:
    caution = words(grid(lambda r, p: r)).caution
    assert "t with 6 degrees of freedom" in caution
    assert f"{np.std([-0.01, 0.01], ddof=1):.3f}" in caution
    assert "speak of one checkpoint on these images" in caution


def test_numbers_of_the_findings_are_means_over_seeds() -> None:
    finding = words(grid(lambda r, p: 10 * r, patches=(4,))).findings[0]
    assert "At patch size 4 px, it is highest at mask ratio 0.9 (9.00) and lowest at 0.1 (1.00): 8.00" in finding


def test_unknown_settings_are_not_put_down_to_masking() -> None:
    nan = float("nan")
    ds = level({(nan, nan, 0): 1.0, (nan, nan, 1): 2.0}).assign_coords(images_seen=("checkpoint", [np.nan, np.nan]))
    found = words(ds)
    assert found.claim == "Representation level runs from 1.00 (m0) to 2.00 (m1)."
    assert "nothing here is put down to masking" in found.caution


def test_a_single_checkpoint_is_told_plainly() -> None:
    assert words(level({(0.75, 8, 0): 3.0})).claim == "Representation level of m0: 3.00 levels."


def test_nothing_measured() -> None:
    ds = level({(0.75, 8, 0): float("nan")})
    assert words(ds).claim == "Nothing could be measured on these checkpoints."


def test_checkpoints_trained_on_other_data_are_no_seeds_of_each_other() -> None:
    ds = level({(0.5, 4, 0): 1.0, (0.9, 4, 0): 2.0, (0.5, 4, 1): 7.0, (0.9, 4, 1): 8.0})
    ds = ds.assign_coords(trained_on=("checkpoint", ["quadtree", "quadtree", "cifar10", "cifar10"]))
    headline = find(Results(ds))
    assert headline is not None
    assert headline.seeds.freedom == 0
    assert {row["family"] for row in headline.trained} == {"trained on quadtree"}


@pytest.mark.parametrize("missing", ["representation_level"])
def test_the_next_best_quantity_stands_in(missing: str) -> None:
    ds = synthetic_results.grid(ratios=(0.25, 0.75), patches=(4,), photos=(0.5, 0.9))
    ds = ds.drop_vars([missing, f"{missing}_ci"])
    headline = find(Results(ds))
    assert headline is not None
    assert headline.name == "latent_r2"


def test_checkpoints_that_differ_in_more_than_masking_stand_side_by_side() -> None:
    """Two sources, one setting each: both are named, and nothing is put down to masking."""
    ds = level({(0.75, 4, 0): 1.0, (0.75, 8, 0): 2.0})
    ds = ds.assign_coords(trained_on=("checkpoint", ["photographs", "drawings"]))
    found = words(ds)
    assert "runs from 1.00 (m0) to 2.00 (m1)" in found.claim
    assert "differ in more than their masking" in found.caution
