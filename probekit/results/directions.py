"""Whether a quantity rises, falls or peaks along a line of settings, as far as training runs tell.

The unit is the training run. Runs of one seed share initialisation and order of the data, so seeds are blocks: a
comparison of settings that were trained with the same seeds is made within each seed, and its error is the spread of
that difference over seeds, with (seeds - 1) degrees of freedom. This is exact for normal errors whatever the variances
of the settings are. Settings without two common seeds are compared by Welch's test. Variances are never pooled over
settings: with few seeds a test for equal variances misses most differences, and pooling after it gave up to 16 % false
sentences in a simulation.

With two or three seeds, differences of measures that are counted (accuracies) may agree by chance to the last image. So
no error is taken to be less than `LEAST_ERROR` of the median one of the line, which only makes tests stricter.

A line is tested for its trend (a contrast that is linear in the position on the line) and for all pairs of its
settings. All comparisons of all lines that are passed together are one family, corrected by Holm's method, so that the
chance of any false sentence among them is at most 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from probekit.constants import CONFIDENCE
from probekit.measures import inference

LEAST_ERROR = 0.1
"""Share of the median standard error among the pairs of a line below which no error is believed."""

Values = Mapping[float, float]
"""Seed -> value, of one setting."""


@dataclass(frozen=True)
class Direction:
    """What runs tell of one line of settings.

    Attributes:
        means: (k,), over seeds; NaN where a setting has no number.
        seeds: (k,), runs of each setting.
        p_trend: corrected p-value of the trend; NaN where it could not be tested.
        trend: its estimate, positive if the quantity rises along the line.
        p_pairs: (k, k), corrected p-values of all differences, symmetric; NaN where not tested.
        comparisons: size of the family.
    """

    means: NDArray[np.float64]
    seeds: NDArray[np.int64]
    p_trend: float
    trend: float
    p_pairs: NDArray[np.float64]
    comparisons: int

    @property
    def tested(self) -> bool:
        """Whether anything could be tested: two settings with two seeds each."""
        return bool(np.isfinite(self.p_pairs).any())

    def differ(self, i: int, j: int) -> bool:
        """Whether settings i and j differ beyond what seeds explain."""
        return bool(self.p_pairs[i, j] < 1 - CONFIDENCE)

    @property
    def any_difference(self) -> bool:
        """Whether any two settings differ."""
        return bool((self.p_pairs < 1 - CONFIDENCE).any() or self.p_trend < 1 - CONFIDENCE)

    @property
    def shape(self) -> str:
        """How the means run, whatever the tests say: "rises", "falls", "peaks", "dips" or "is uneven"."""
        steps = np.diff(self.means[np.isfinite(self.means)])
        if len(steps) and (steps > 0).all():
            return "rises"
        if len(steps) and (steps < 0).all():
            return "falls"
        turns = sum((a > 0) != (b > 0) for a, b in pairwise(steps))
        return ("peaks" if steps[0] > 0 else "dips") if turns == 1 else "is uneven"

    @property
    def extreme(self) -> int:
        """Position of the lowest mean where they dip, of the highest otherwise; 0 where there is none."""
        if not np.isfinite(self.means).any():
            return 0
        return int(np.nanargmin(self.means) if self.shape == "dips" else np.nanargmax(self.means))

    @property
    def alike(self) -> list[int]:
        """Settings that runs do not tell from the extreme one, itself among them."""
        there = np.flatnonzero(np.isfinite(self.means))
        return [int(i) for i in there if not self.differ(int(i), self.extreme)]

    @property
    def claim(self) -> str:
        """The direction that the tests support: "rises" or "falls" (the trend is there and the means run one way),
        "rises overall" or "falls overall" (the trend alone), "peaks" or "dips" (a setting on either side differs from
        the extreme one), "rises up to", "falls up to", "rises from" or "falls from" (on one side alone), "differs", or
        "" for nothing."""
        shape, end = self.shape, self.extreme
        trend = self.p_trend < 1 - CONFIDENCE
        if shape in ("rises", "falls"):
            return self._course(shape) if trend else "differs" if self.any_difference else ""
        if shape in ("peaks", "dips"):
            before = any(self.differ(i, end) for i in range(end))
            after = any(self.differ(i, end) for i in range(end + 1, len(self.means)))
            if before and after:
                return shape
            if before or after:
                up = (shape == "peaks") == before
                return f"{'rises' if up else 'falls'} {'up to' if before else 'from'}"
        if trend:
            return "rises overall" if self.trend > 0 else "falls overall"
        return "differs" if self.any_difference else ""

    def _course(self, way: str) -> str:
        """`way`, or that with " up to" or " from" where one end of the line is flat: the settings there are alike, and
        the last of them differs from the other end."""
        there = np.flatnonzero(np.isfinite(self.means)).tolist()
        tail = min(i for i in there if i == there[-1] or not self.differ(i, there[-1]))
        head = max(i for i in there if i == there[0] or not self.differ(there[0], i))
        late, early = tail < there[-1] and self.differ(there[0], tail), head > there[0] and self.differ(head, there[-1])
        return way if late == early else f"{way} {'up to' if late else 'from'}"

    @property
    def edge(self) -> int:
        """Where a claim that ends in "up to" or "from" begins to be flat."""
        there = np.flatnonzero(np.isfinite(self.means)).tolist()
        end = self.extreme if self.shape in ("peaks", "dips") else there[-1 if self.claim.endswith("up to") else 0]
        alike = [i for i in there if i == end or not self.differ(i, end)]
        return int(alike[0] if self.claim.endswith("up to") else alike[-1])


def directions(lines: Sequence[Sequence[Values]]) -> list[Direction]:
    """Test lines of settings, all of them as one family.

    Args:
        lines: each a sequence of settings in their order; a setting maps known seeds to values. NaN values are left
            out; settings with fewer than two seeds are shown and not tested.

    Returns:
        One `Direction` for each line.

    Example:
        >>> rising = [{0: 1.0, 1: 1.1, 2: 0.9}, {0: 2.0, 1: 2.1, 2: 2.0}, {0: 3.1, 1: 3.0, 2: 3.0}]
        >>> directions([rising])[0].claim
        'rises'
    """
    clean = [[{s: v for s, v in setting.items() if np.isfinite(v)} for setting in line] for line in lines]
    tested = [_tested(line) for line in clean]
    family = inference.adjusted(np.concatenate([p for _, p in tested]) if tested else np.array([]), "holm")
    size = int(np.isfinite(family).sum())
    found, start = [], 0
    for line, (trend, raw) in zip(clean, tested, strict=True):
        p, start = family[start : start + len(raw)], start + len(raw)
        pairs = np.full((len(line), len(line)), np.nan)
        for (i, j), value in zip(combinations(range(len(line)), 2), p[1:], strict=True):
            pairs[i, j] = pairs[j, i] = value
        means = np.array([np.mean(list(setting.values())) if setting else np.nan for setting in line])
        seeds = np.array([len(setting) for setting in line])
        found.append(Direction(means, seeds, float(p[0]), trend, pairs, size))
    return found


def _tested(line: Sequence[Values]) -> tuple[float, NDArray[np.float64]]:
    """Estimate of the trend, and raw p-values: of the trend, then of all pairs."""
    there = [i for i, setting in enumerate(line) if len(setting) > 1]
    weights = np.zeros(len(line))
    if len(there) > 1:
        weights[there] = np.arange(len(there)) - (len(there) - 1) / 2
        weights /= np.abs(weights).sum() / 2
    pairs = [np.zeros(len(line)) for _ in combinations(line, 2)]
    for pair, (i, j) in zip(pairs, combinations(range(len(line)), 2), strict=True):
        pair[[i, j]] = -1, 1
    estimates, errors, freedom = np.array([contrast_of(line, each) for each in [weights, *pairs]]).T
    known = errors[1:][np.isfinite(errors[1:])]
    least = LEAST_ERROR * float(np.median(known)) if len(known) else 0.0
    return float(estimates[0]), inference.t_test(estimates, np.maximum(errors, least), freedom)


def contrast_of(line: Sequence[Values], weights: NDArray[np.float64]) -> tuple[float, float, float]:
    """A sum of the means of settings with weights that sum to 0: estimate, standard error, degrees of freedom.

    Within seeds where the settings have two or more in common and no others (seeds are blocks), else by Welch's test.
    NaN where one of the settings has fewer than two seeds.
    """
    chosen = [(w, setting) for w, setting in zip(weights, line, strict=True) if w]
    if not chosen or any(len(setting) < 2 for _, setting in chosen):
        return float("nan"), float("nan"), 0.0
    origin = next(iter(chosen[0][1].values()))  # equal values must differ by 0, not by what rounding leaves of them
    shifted = [(w, {seed: value - origin for seed, value in setting.items()}) for w, setting in chosen]
    common = set.intersection(*(set(setting) for _, setting in shifted))
    if len(common) > 1:
        within = [sum(w * setting[seed] for w, setting in shifted) for seed in sorted(common)]
        mean, error, freedom = inference.mean_error(within)
        return float(mean), float(error), float(freedom)
    samples = [list(setting.values()) for _, setting in shifted]
    return inference.weighted_means(samples, [w for w, _ in shifted])
