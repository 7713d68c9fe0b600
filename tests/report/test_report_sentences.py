"""The words of the first screen follow the numbers, and claim nothing that seeds don't carry."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_results
import xarray as xr

from probekit.plot.by_masking import figures
from probekit.plot.headline import find
from probekit.plot.rows import Results
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


def grid(function, ratios=(0.1, 0.5, 0.9), patches=(4, 8), seeds=range(5), noise: float = 0.01) -> xr.Dataset:
    rng = np.random.default_rng(0)
    return level({(r, p, s): function(r, p) + noise * rng.normal() for p in patches for r in ratios for s in seeds})


def test_rising_falling_and_peaks_are_named() -> None:
    assert words(grid(lambda r, p: r)).claim.startswith("Representation level rises with mask ratio")
    assert "falls with mask ratio" in words(grid(lambda r, p: -r)).claim
    assert "peaks at mask ratio 0.5 and rises with patch size" in words(grid(lambda r, p: p - (r - 0.5) ** 2)).claim
    assert "dips at mask ratio 0.5" in words(grid(lambda r, p: (r - 0.5) ** 2)).claim


def test_a_difference_within_seed_noise_is_not_claimed() -> None:
    found = words(grid(lambda r, p: r, noise=5.0))
    assert found.claim == (
        "Whether representation level moves with mask ratio or patch size cannot be told from the luck of the seed "
        "(5 seeds per setting)."
    )
    assert "they tell 0 of 3 pairs of neighbouring settings apart" in found.caution
    assert "not more than" in found.findings[0]


def test_what_is_unsure_is_said_beside_what_is_sure() -> None:
    assert words(grid(lambda r, p: r)).claim.endswith("; no dependence on patch size beyond seed noise.")


def test_a_peak_needs_settings_on_both_sides_that_seeds_tell_from_it() -> None:
    plateau = grid(lambda r, p: {0.1: 0.0, 0.5: 1.005, 0.9: 1.0}[r], patches=(4,))
    assert words(plateau).claim == "Representation level rises with mask ratio up to 0.5, with no clear change beyond."
    drop = grid(lambda r, p: {0.1: 1.0, 0.5: 1.005, 0.9: 0.0}[r], patches=(4,))
    assert words(drop).claim == "Representation level falls with mask ratio from 0.5 on, with no clear change before."
    trough = grid(lambda r, p: {0.1: 1.0, 0.5: 0.0, 0.9: 0.005}[r], patches=(4,))
    assert words(trough).claim == "Representation level falls with mask ratio up to 0.5, with no clear change beyond."


def test_single_runs_are_hedged_in_the_claim() -> None:
    assert words(grid(lambda r, p: r, seeds=(0,))).claim.endswith("seeds have yet to tell it from luck.")


def test_without_replicated_seeds_the_luck_of_the_run_is_said() -> None:
    found = words(grid(lambda r, p: r, seeds=(0,)))
    assert "nothing here tells a setting from the luck of its run" in found.caution
    assert found.findings[0].endswith("apart.")


def test_how_settings_were_compared_is_said() -> None:
    caution = words(grid(lambda r, p: r)).caution
    assert "within seeds (5 seeds per setting), each with its own variance" in caution
    assert "6 comparisons, Holm's correction" in caution
    assert "speak of one checkpoint on these images" in caution
    rng = np.random.default_rng(0)
    wild = level({(r, 4, s): (r == 0.9) * rng.normal() + 0.01 * rng.normal() for r in (0.1, 0.9) for s in range(5)})
    assert "unequal, p = " in words(wild).caution


def test_numbers_of_the_findings_are_means_over_seeds() -> None:
    finding = words(grid(lambda r, p: 10 * r, patches=(4,), noise=1e-4)).findings[0]
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
    assert not headline.tested
    assert {row["family"] for row in headline.grid_rows} == {"trained on quadtree"}
    assert len(headline.rows) == 4


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


def test_what_is_unknown_is_never_taken_for_equal() -> None:
    """Three published encoders of one masking, seeds unknown: no seeds of each other, and none is left out."""
    nan = float("nan")
    ds = level({(0.75, 16, 0): 1.0, (0.75, 16, 1): 2.0, (0.75, 16, 2): 1.5})
    ds = ds.assign_coords(
        checkpoint=["vit-mae-base", "vit-mae-large", "vit-mae-other"],
        seed=("checkpoint", [nan] * 3), images_seen=("checkpoint", [nan] * 3), depth=("checkpoint", [12, 24, 12]),
    )  # fmt: skip
    found = words(ds)
    assert found.claim == "Representation level runs from 1.00 (vit-mae-base) to 2.00 (vit-mae-large)."
    assert "seed (" not in " ".join([found.claim, *found.findings, found.caution])
    headline = find(Results(ds))
    assert headline is not None
    assert len(headline.rows) == 3
    shown = {row["checkpoint"] for figure in figures(headline) for panel in figure.panels for row in panel.rows}
    assert shown == set(ds.checkpoint.values)


def test_a_checkpoint_of_another_family_stands_beside_the_grid() -> None:
    ds = grid(lambda r, p: r)
    own = level({(0.6, 5, 0): 2.5}).assign_coords(checkpoint=["mine"], vit_patch_size=("checkpoint", [5.0]))
    headline = find(Results(xr.concat([ds, own], "checkpoint", data_vars="minimal").assign_attrs(ds.attrs)))
    assert headline is not None
    assert "mine" in {row["checkpoint"] for row in headline.rows}
    assert "mine" not in {row["checkpoint"] for row in headline.grid_rows}
    shown = {row["checkpoint"] for figure in figures(headline) for panel in figure.panels for row in panel.rows}
    assert "mine" in shown


def test_a_claim_that_holds_in_one_scaling_names_it() -> None:
    rng = np.random.default_rng(0)
    found = [synthetic_results.Model(f"m{i}", ("quadtree",), r, 4, s) for i, (r, s) in enumerate(
        (r, s) for r in (0.1, 0.5, 0.9) for s in range(5))]  # fmt: skip
    maker = synthetic_results.Maker(found, layers=2, heads=1)
    variable = synthetic_results.variable("representation_level", ("scaling",), "Representation level", "levels")
    maker.add(variable, lambda model, at: np.array([model.ratio, 0]) + 0.01 * rng.normal(size=2), 1e-9)
    claim = words(synthetic_results.assemble(maker, {})).claim
    assert claim == "Representation level rises with mask ratio (features raw, not standardised)."


def families_of_fine_tuning() -> xr.Dataset:
    """A grid of encoders that were not fine-tuned, and two that were, the same in all else."""
    ds = grid(lambda r, p: r, patches=(4,))
    own = level({(0.5, 4, 0): 2.0, (0.5, 4, 1): 2.1}).assign_coords(checkpoint=["tuned-0", "tuned-1"])
    tuned = [""] * ds.sizes["checkpoint"] + ["full, on drawings"] * 2
    both = xr.concat([ds, own], "checkpoint", data_vars="minimal").assign_attrs(ds.attrs)
    return both.assign_coords(finetuned=("checkpoint", tuned))


def test_not_fine_tuned_is_a_fact_that_tells_families_apart() -> None:
    results = Results(families_of_fine_tuning())
    assert {c.family for c in results.checkpoints} == {"not fine-tuned", "fine-tuned (full, on drawings)"}
    found = answer(find(results))
    assert found.claim.startswith("Not fine-tuned: Representation level rises with mask ratio")
    assert found.caution.startswith("Sentences on mask ratio and patch size are about one family of encoders, not fine")
    assert {c.family for c in Results(grid(lambda r, p: r)).checkpoints} == {""}


def test_a_family_of_unknown_training_is_one_of_several_too() -> None:
    ds = level({(0.1, 4, 0): 1.0, (0.5, 4, 0): 2.0, (0.9, 4, 0): 3.0, (0.5, 4, 1): 9.0})
    found = words(ds.assign_coords(width=("checkpoint", [np.nan, np.nan, np.nan, 64.0])))
    assert found.claim.startswith("Training unknown: Representation level is highest at mask ratio 0.9")
    assert "about one family of encoders, training unknown;" in found.caution


def gains(quality: dict[tuple[float, int], list[float]], width: dict[int, float] | None = None) -> xr.Dataset:
    """Amount and gain by level, (ratio, seed) -> gain at levels 0 and 1."""
    found = [synthetic_results.Model(f"m{i}", ("quadtree",), ratio, 4, seed) for i, (ratio, seed) in enumerate(quality)]
    maker = synthetic_results.Maker(found, layers=2, heads=1)
    own = dict(zip((m.name for m in found), quality.values(), strict=True))
    amount = synthetic_results.variable("gain_amount", (), "Amount of recovery")
    maker.add(amount, lambda m, at: sum(own[m.name]), 1e-9)
    gain = synthetic_results.variable("recovery_gain", ("level",), "Recovery gain")
    maker.add(gain, lambda m, at: np.array([*own[m.name], 0, 0, 0][: synthetic_results.LEVELS]) - 1e-6, 1e-9)
    ds = synthetic_results.assemble(maker, {})
    return (
        ds if width is None else ds.assign_coords(width=("checkpoint", [width.get(i, 64.0) for i in range(len(own))]))
    )


def gained(ds: xr.Dataset) -> str:
    return next(text for text in words(ds).findings if text.startswith("Gained most"))


def test_gained_most_is_of_the_family_that_sentences_are_about() -> None:
    values = {(r, s): [r, r] for r in (0.1, 0.5, 0.9) for s in (0, 1)} | {(0.3, 0): [5.0, 5.0]}
    text = gained(gains(values, {6: 128.0}))
    assert "levels 0 and 1 at ratio 0.9, 4 px" in text
    assert "0.3" not in text


def test_no_setting_gained_most_where_none_gained() -> None:
    values = {(r, s): [-r, r] for r in (0.1, 0.5, 0.9) for s in (0, 1)}
    assert gained(gains(values)).startswith("Gained most: level 1 at ratio 0.9, 4 px; levels 0, 2, 3 and 4 nowhere; ")
    values = {(r, s): [-r, 0.0] for r in (0.1, 0.5, 0.9) for s in (0, 1)}
    assert gained(gains(values)) == "Gained most: no setting gained anything at any level."
