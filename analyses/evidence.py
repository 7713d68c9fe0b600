"""Hypotheses with their tests, fixed in code before anything is measured, and the verdicts that follow from results.

A hypothesis is a sentence and one or more lines. A line is a quantity along settings in their order, with one number a
seed, and what is expected of it:

- "rises" or "falls": the linear trend over the positions, one comparison;
- "peaks" (at the setting `best`): `best` against its neighbours and against both ends, up to four comparisons;
- "alike": the last setting against the first; its interval must lie within `margin` on either side of 0 (no p-value).

The unit is the training run, and seeds are blocks (`probekit.results.directions.contrast_of`). All comparisons of an
analysis are one family, corrected by Holm's method; intervals are 95 %, not corrected. No error is taken to be less
than a share of the line's median one (`LEAST_ERROR`), since with few seeds counted measures may agree by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from writing import one_each, table

from probekit.constants import CONFIDENCE
from probekit.measures import inference
from probekit.results.directions import LEAST_ERROR, Values, contrast_of

RATIOS, UNITS = (0.1, 0.25, 0.5, 0.75, 0.9), (4, 8, 16)
"""Of the grids that ship: mask ratios, and mask units in pixels."""

WORDS = {
    (True, True): "supported",
    (True, False): "in part",
    (False, False): "open",
}
"""(some comparisons as expected, all as expected) -> verdict, where none runs against it."""


@dataclass(frozen=True)
class Line:
    """A quantity along settings.

    Attributes:
        title: the quantity with its unit and what is held fixed.
        expected: "rises", "falls", "peaks" or "alike".
        settings: in their order, each with its numbers by seed.
        best: of "peaks", the setting that is expected to be highest.
        margin: of "alike", how far apart still counts as alike.
    """

    title: str
    expected: str
    settings: Mapping[str, Values]
    best: str = ""
    margin: float = float("nan")


@dataclass(frozen=True)
class Hypothesis:
    """A sentence and its test.

    Attributes:
        name: "H1", ...
        source: "the paper", "theory" or "ours".
        words: the sentence.
        lines: results -> what is tested; a line with fewer than two settings of two seeds is "not measured".
        otherwise: what would change our mind.
    """

    name: str
    source: str
    words: str
    lines: Callable[[xr.Dataset], Sequence[Line]]
    otherwise: str


@dataclass(frozen=True)
class Comparison:
    """One planned comparison.

    Attributes:
        words: what is compared.
        estimate, half: its size, and the half width of its interval.
        p: corrected; NaN where an interval decides.
        agree, seeds: in how many of the seeds it has the expected sign.
    """

    words: str
    estimate: float
    half: float
    p: float
    agree: int
    seeds: int

    @property
    def short(self) -> str:
        low, high = self.estimate - self.half, self.estimate + self.half
        return f"{self.words} {self.estimate:+.3f} [{low:+.3f}, {high:+.3f}]"

    @property
    def text(self) -> str:
        if np.isnan(self.p):
            return self.short
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        return f"{self.short}, {p}, {self.agree} of {self.seeds} as expected"


def settings(
    ds: xr.Dataset, name: str, along: str, steps: Sequence[Any], labels: Mapping[str, Any] | None = None, **where: Any
) -> dict[str, Values]:
    """Numbers by seed of the settings along a coordinate, the others fixed.

    Args:
        ds: results on one image set.
        name: a variable; the last layer is taken, heads are averaged.
        along: a coordinate along `checkpoint`.
        steps: its values, in order; those without a run are left out.
        labels: of the variable's other dims.
        where: coordinate -> the value that it must have.
    """
    values = one_each(ds, name, dict(labels or {}))
    fixed = np.all([ds[key].values == value for key, value in where.items()] + [np.isfinite(values)], axis=0)
    found: dict[str, Values] = {}
    for step in steps:
        chosen = fixed & (ds[along].values == step)
        runs = {float(s): float(v) for s, v in zip(ds["seed"].values[chosen], values[chosen], strict=True)}
        if runs:
            found[f"{step:g}" if isinstance(step, float | int) else str(step)] = runs
    return found


def by_ratio(
    ds: xr.Dataset, name: str, labels: Mapping[str, Any] | None = None, *, unit: int = 4, **where: Any
) -> dict[str, Values]:
    """Numbers by seed along the mask ratio, at one unit in pixels; arguments as in `settings`."""
    return settings(ds, name, "mask_ratio", RATIOS, labels, patch_size=unit, **where)


def by_unit(
    ds: xr.Dataset, name: str, labels: Mapping[str, Any] | None = None, *, ratio: float = 0.75, **where: Any
) -> dict[str, Values]:
    """Numbers by seed along the mask unit, at one ratio; arguments as in `settings`."""
    found = settings(ds, name, "patch_size", UNITS, labels, mask_ratio=ratio, **where)
    return {f"{step} px": values for step, values in found.items()}


def over_untrained(
    ds: xr.Dataset, name: str, labels: Mapping[str, Any] | None = None, *, highest: bool = False
) -> dict[str, Values]:
    """By seed: the untrained encoder of that seed, and the lowest (or highest) of its trained cells."""
    values, seeds, trained = one_each(ds, name, dict(labels or {})), ds["seed"].values, ds["images_seen"].values > 0
    both = sorted(set(seeds[trained]) & set(seeds[~trained]))
    untrained = {float(seed): float(values[~trained & (seeds == seed)].mean()) for seed in both}
    cells = {float(seed): values[trained & (seeds == seed)] for seed in both}
    worst = {seed: float(one.max() if highest else one.min()) for seed, one in cells.items()}
    return {"untrained": untrained, f"{'highest' if highest else 'lowest'} trained cell": worst} if both else {}


def planned(line: Line) -> list[tuple[str, np.ndarray]]:
    """The comparisons of a line: words, and weights whose sum of means is expected to be above 0."""
    names = list(line.settings)
    count = len(names)
    if line.expected == "peaks":
        if line.best not in names:
            return []
        top = names.index(line.best)
        others = sorted({0, top - 1, top + 1, count - 1} & set(range(count)) - {top})
        return [(f"{line.best} over {names[other]}:", _difference(count, other, top)) for other in others]
    if line.expected == "alike" or count == 2:
        sign = -1 if line.expected == "falls" else 1
        return [(f"{names[-1]} minus {names[0]}:", sign * _difference(count, 0, count - 1))] if count > 1 else []
    trend = np.arange(count) - (count - 1) / 2
    way = -1 if line.expected == "falls" else 1
    return [("trend, per step:", way * trend / max(float((trend**2).sum()), 1.0))] if count > 1 else []


def _difference(count: int, low: int, high: int) -> np.ndarray:
    weights = np.zeros(count)
    weights[[low, high]] = -1, 1
    return weights


def compared(lines: Sequence[Line]) -> list[list[Comparison]]:
    """All planned comparisons of all lines, one family."""
    found: list[list[tuple[str, np.ndarray, float, float, float]]] = []
    for line in lines:
        values = list(line.settings.values())
        pairs = [
            contrast_of(values, _difference(len(values), *pair))[1] for pair in combinations(range(len(values)), 2)
        ]
        least = LEAST_ERROR * float(np.median([one for one in pairs if np.isfinite(one)] or [0.0]))
        each = [(words, weights, *contrast_of(values, weights)) for words, weights in planned(line)]
        found.append([(words, weights, value, max(error, least), df) for words, weights, value, error, df in each])
    raw = [
        float("nan") if line.expected == "alike" else float(inference.t_test(each[2], each[3], each[4]))
        for line, part in zip(lines, found, strict=True)
        for each in part
    ]
    adjusted = iter(inference.adjusted(np.array(raw), "holm").tolist() if raw else [])
    out = []
    for line, part in zip(lines, found, strict=True):
        made = []
        for words, weights, estimate, error, freedom in part:
            half = float(inference.t_quantile(CONFIDENCE, max(freedom, 1))) * error
            each = _by_seed(line, weights)
            sign = -1.0 if line.expected == "falls" else 1.0
            made.append(
                Comparison(words, sign * estimate, half, next(adjusted), sum(one > 0 for one in each), len(each))
            )
        out.append([one for one in made if np.isfinite(one.half)])
    return out


def _by_seed(line: Line, weights: np.ndarray) -> list[float]:
    """The comparison within each seed that has all of its settings."""
    chosen = [(w, one) for w, one in zip(weights, line.settings.values(), strict=True) if w]
    common = set.intersection(*(set(one) for _, one in chosen))
    return [sum(w * one[seed] for w, one in chosen) for seed in sorted(common)]


def verdict_of(line: Line, comparisons: Sequence[Comparison]) -> str:
    """ "supported", "in part", "open", "contradicted" or "not measured"."""
    if not comparisons:
        return "not measured"
    if line.expected == "alike":
        one = comparisons[0]
        if abs(one.estimate) + one.half <= line.margin:
            return "supported"
        return "contradicted" if abs(one.estimate) - one.half > line.margin else "open"
    toward = -1 if line.expected == "falls" else 1
    sure = [one.p < 1 - CONFIDENCE for one in comparisons]
    if any(yes and one.estimate * toward < 0 for yes, one in zip(sure, comparisons, strict=True)):
        return "contradicted"
    steps = toward * np.diff([np.mean(list(one.values())) for one in line.settings.values()])
    whole = line.expected == "peaks" or bool((steps > 0).all())
    return WORDS[any(sure), all(sure) and whole]


def together(verdicts: Sequence[str]) -> str:
    """The verdict on a hypothesis from those on its lines."""
    known = [one for one in verdicts if one != "not measured"]
    if not known:
        return "not measured"
    if len(set(known)) == 1:
        return known[0]
    if "contradicted" in known:
        return "mixed" if {"supported", "in part"} & set(known) else "contradicted"
    return "in part"


def means(line: Line) -> str:
    """The mean over seeds of each setting, with the half width of its 95 % interval between seeds."""
    parts = []
    for name, one in line.settings.items():
        mean, half = mean_half(one)
        parts.append(f"{name}: {mean:.3f}" + (f" ± {half:.3f}" if np.isfinite(half) else ""))
    return ", ".join(parts)


def mean_half(one: Values) -> tuple[float, float]:
    """Mean over seeds, and the half width of its 95 % interval by Student's t (NaN for one seed)."""
    mean, error, freedom = inference.mean_error(list(one.values()))
    return float(mean), float(inference.t_quantile(CONFIDENCE, np.maximum(freedom, 1)) * error)


@dataclass(frozen=True)
class Tested:
    """A line with its comparisons and its verdict."""

    title: str
    expected: str
    means: str
    comparisons: list[Comparison]
    verdict: str


@dataclass(frozen=True)
class Judged:
    """A hypothesis with its verdict, and its lines."""

    hypothesis: Hypothesis
    verdict: str
    lines: list[Tested]


def judged(ds: xr.Dataset, hypotheses: Sequence[Hypothesis]) -> list[Judged]:
    """Each hypothesis with what came of it; all comparisons of all of them are one family."""
    lines = [list(one.lines(ds)) for one in hypotheses]
    flat = compared([line for part in lines for line in part])
    out, start = [], 0
    for one, part in zip(hypotheses, lines, strict=True):
        found, start = flat[start : start + len(part)], start + len(part)
        tested = [
            Tested(line.title, _expectation(line), means(line), each, verdict_of(line, each))
            for line, each in zip(part, found, strict=True)
        ]
        out.append(Judged(one, together([line.verdict for line in tested]), tested))
    return out


def _expectation(line: Line) -> str:
    if line.expected == "peaks":
        return f"peaks at {line.best}"
    return f"alike within {line.margin:g}" if line.expected == "alike" else line.expected


def deciding(expected: str, comparisons: Sequence[Comparison]) -> Comparison:
    """The comparison on which a verdict hangs: the surest one against what is expected, else the least sure of all."""
    toward = -1 if expected == "falls" else 1
    against = [one for one in comparisons if one.p < 1 - CONFIDENCE and one.estimate * toward < 0]
    return min(against, key=lambda one: one.p) if against else max(comparisons, key=lambda one: one.p)


def headline(one: Judged) -> str:
    """The comparison that decides the first line of a hypothesis, in a line."""
    known = [
        f"{each.title}: {deciding(each.expected, each.comparisons).short} (95 %)"
        for each in one.lines
        if each.comparisons
    ]
    return f"**Headline.** {known[0] if known else one.hypothesis.words}; {one.hypothesis.name} is {one.verdict}.\n"


def text(ds: xr.Dataset, hypotheses: Sequence[Hypothesis], unit: str = "seeds") -> str:
    """The hypotheses with their tests, numbers and verdicts, as Markdown; `unit` is what the blocks are."""
    found = judged(ds, hypotheses)
    out = [headline(found[0])]
    for one in found:
        head = ["tested", "expected", f"means over {unit}, ± 95 %", "planned comparisons [95 %], Holm's p", "verdict"]
        rows = [
            [line.title, line.expected, line.means, "<br>".join(c.text for c in line.comparisons) or "-", line.verdict]
            for line in one.lines
        ]
        hypothesis = one.hypothesis
        out.append(f"**{hypothesis.name}** ({hypothesis.source}). {hypothesis.words} **Verdict: {one.verdict}.**\n")
        out.append(table(head, rows))
    last = f'Comparisons are made within {unit}; all of this page are one family. "Open": the {unit} do not tell.\n'
    return "\n".join([*out, last])
