"""Sentences on direction follow known lines, and are false at most 5 % of the time where there is no effect."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from probekit.results.directions import contrast_of, directions


def line(means, noise: float = 0.03, seeds: int = 5, first: int = 0) -> list[dict[float, float]]:
    rng = np.random.default_rng(0)
    return [{float(first + s): m + noise * rng.normal() for s in range(seeds)} for m in means]


@pytest.mark.parametrize(
    ("means", "claim"),
    [
        ([0, 1, 2, 3], "rises"),
        ([3, 2, 1, 0], "falls"),
        ([0, 2, 1], "peaks"),
        ([2, 0, 1], "dips"),
        ([0, 1.01, 1], "rises up to"),
        ([1, 1.01, 0], "falls from"),
        ([0, 1, 1.02], "rises up to"),
        ([0, 0.02, 1], "rises from"),
        ([0, 2, 1, 3, 5], "rises overall"),
        ([0, 1, 0, 1, 0], "differs"),
        ([1], ""),
    ],
)
def test_a_clear_line_is_called_by_its_shape(means, claim: str) -> None:
    assert directions([line(means)])[0].claim == claim


def test_noise_claims_nothing_and_few_seeds_neither() -> None:
    assert directions([line([0, 0.1, 0.2], noise=1.0)])[0].claim == ""
    single = directions([line([0, 1, 2], seeds=1)])[0]
    assert (single.claim, single.tested, single.shape) == ("", False, "rises")


def test_a_line_without_numbers_claims_nothing() -> None:
    found = directions([[{}, {}, {}], [{0.0: float("nan"), 1.0: float("nan")}], []])
    assert [(each.claim, each.tested, each.extreme) for each in found] == [("", False, 0)] * 3


def test_one_missing_number_leaves_the_others() -> None:
    values = line([0, 1, 2, 3])
    values[1] = dict.fromkeys(values[1], float("nan"))
    found = directions([values])[0]
    assert found.claim == "rises"
    assert np.isnan(found.means[1])
    assert found.differ(0, 3)


def test_settings_of_common_seeds_are_paired_and_others_are_welch_s() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 4))
    first, second = dict(enumerate(a)), dict(enumerate(b))
    weights = np.array([-1.0, 1.0])
    estimate, error, freedom = contrast_of([first, second], weights)
    wanted = stats.ttest_rel(b, a)
    assert (estimate / error, freedom) == (pytest.approx(wanted.statistic), 3)
    later = {seed + 10: value for seed, value in second.items()}
    estimate, error, freedom = contrast_of([first, later], weights)
    wanted = stats.ttest_ind(b, a, equal_var=False)
    assert (estimate / error, freedom) == (pytest.approx(wanted.statistic), pytest.approx(wanted.df))


@pytest.mark.parametrize("value", [1.0, 0.7, 1 / 3, 1e-9])
@pytest.mark.parametrize("later", [0, 10])
def test_equal_values_have_no_direction(value: float, later: int) -> None:
    """Weights times equal values leave a rest of rounding, which without any error would be a sure difference."""
    same = [{seed + later * place: value for seed in range(3)} for place in range(5)]
    found = directions([same])[0]
    assert found.trend == 0
    assert found.p_trend == 1
    assert found.claim == ""


def test_all_lines_are_one_family() -> None:
    alone = directions([line([0, 0.02, 0.04])])[0]
    beside = directions([line([0, 0.02, 0.04]), line([0, 0, 0], noise=1.0)])[0]
    assert (alone.comparisons, beside.comparisons) == (4, 8)
    assert (beside.p_pairs >= alone.p_pairs)[~np.isnan(alone.p_pairs)].all()


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("rounded", [False, True], ids=["continuous", "counted"])
@pytest.mark.parametrize(
    "deviations", [[1] * 8, [1] * 7 + [6], [1, 1.5, 2, 3, 4, 1, 2, 4]], ids=["equal", "one wild", "graded"]
)
def test_false_sentences_are_rare(deviations, rounded: bool, seeds: int) -> None:
    """No effect, a first screen of two lines (5 and 3 settings): at most 5 % of screens say anything."""
    rng, screens = np.random.default_rng(0), 600
    false = 0
    for _ in range(screens):
        values = rng.normal(size=(8, seeds)) * np.array(deviations)[:, None] + rng.normal(size=seeds)
        values = np.round(3 * values) if rounded else values
        settings = [dict(enumerate(row)) for row in values.tolist()]
        false += any(found.claim for found in directions([settings[:5], settings[5:]]))
    assert false <= stats.binom.ppf(0.999, screens, 0.05)
