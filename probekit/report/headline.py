"""The answer of the first screen: which quantity answers the question, and how it runs with mask ratio and patch size.

Representation level is what the toolkit is for; where it could not be measured (an image set without a generating
process), the next best quantity stands in, and the page says which. `Headline.slices` are the lines through the grid
that vary one training choice at a time: ratios at one patch size, and patch sizes at one ratio.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from probekit.report.results import Results, Row
from probekit.report.statistics import Seeds, between_seeds

ORDER = ("representation_level", "latent_r2", "linear_accuracy", "knn_accuracy", "shape_bias", "ssim")
"""What stands for the answer, first measured; then anything else that has a number."""

USUAL_RATIO = 0.75
"""The ratio of the original masked autoencoder: where several ratios have equally many patch sizes, this one is
shown."""


@dataclass(frozen=True)
class Setting:
    """A combination of ratio and patch size, with one value per seed."""

    ratio: float | None
    patch: float | None
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))


@dataclass(frozen=True)
class Slice:
    """Settings that differ in one choice: `along` is "ratio" or "patch", `fixed` the value of the other."""

    along: str
    fixed: float | None
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Headline:
    """The quantity that answers, on the image set where most settings have it."""

    results: Results
    name: str
    data: str
    rows: tuple[Row, ...]
    family: str = ""
    mixed: bool = False
    """Whether the checkpoints differ in more than their masking: then none of them is a setting of a grid."""

    @property
    def trained(self) -> list[Row]:
        return [row for row in self.rows if not row["untrained"]]

    @property
    def baseline(self) -> list[Row]:
        return [row for row in self.rows if row["untrained"]]

    @cached_property
    def settings(self) -> list[Setting]:
        """Known settings, by patch size and ratio; none where more than masking differs."""
        if self.mixed:
            return []
        groups: dict[tuple[float | None, float | None], list[float]] = defaultdict(list)
        for row in self.trained:
            if row["ratio"] is not None or row["patch"] is not None:
                groups[row["ratio"], row["patch"]].append(row["value"])
        found = [Setting(ratio, patch, tuple(values)) for (ratio, patch), values in groups.items()]
        return sorted(found, key=lambda s: (s.patch or 0, s.ratio or 0))

    @cached_property
    def seeds(self) -> Seeds:
        return between_seeds([setting.values for setting in self.settings])

    @property
    def ratios(self) -> list[float]:
        return sorted({s.ratio for s in self.settings if s.ratio is not None})

    @property
    def patches(self) -> list[float]:
        return sorted({s.patch for s in self.settings if s.patch is not None})

    @property
    def is_grid(self) -> bool:
        """Both choices vary, so that a heat map says something."""
        return len(self.ratios) > 1 and len(self.patches) > 1

    def slice(self, along: str) -> Slice | None:
        """The longest line of settings that vary only in `along`; None if there is none of two or more."""
        other = "patch" if along == "ratio" else "ratio"
        lines: dict[float | None, list[Setting]] = defaultdict(list)
        for setting in self.settings:
            if getattr(setting, along) is not None:
                lines[getattr(setting, other)].append(setting)
        if not lines:
            return None

        def merit(item: tuple[float | None, list[Setting]]) -> tuple[float, ...]:
            fixed, line = item
            usual = -abs((fixed or 0) - USUAL_RATIO) if other == "ratio" else -(fixed or 0)
            return len(line), sum(len(s.values) for s in line), usual

        fixed, line = max(lines.items(), key=merit)
        if len(line) < 2:
            return None
        return Slice(along, fixed, tuple(sorted(line, key=lambda s: getattr(s, along))))


def find(results: Results) -> Headline | None:
    """The headline of a results dataset; None if it holds no finite number."""
    names = results.own_names or results.names
    ordered = [name for name in ORDER if name in names] + [name for name in names if name not in ORDER]
    for name in ordered:
        sets = results.where(name)
        if sets:
            found = [headline for data in sets for headline in candidates(results, name, data)]
            return max(found, key=lambda headline: (len(headline.settings), len(headline.rows)))
    return None


def candidates(results: Results, name: str, data: str) -> list[Headline]:
    """One headline for each family of checkpoints (same training but for ratio, patch size and seed), with the
    baselines; checkpoints that have nothing but their image set in common stand side by side in one."""
    rows = results.rows(name, data)
    families = list(dict.fromkeys(row["family"] for row in rows if not row["untrained"]))
    if not families:
        return [Headline(results, name, data, tuple(rows))]
    found = [
        Headline(results, name, data, tuple(row for row in rows if row["untrained"] or row["family"] == family), family)
        for family in families
    ]
    if len(found) > 1 and all(len(headline.settings) <= 1 for headline in found):
        return [Headline(results, name, data, tuple(rows), mixed=True)]
    return found
