"""The answer of the first screen: which quantity answers the question, and how it runs with mask ratio and patch size.

Representation level is what the toolkit is for; where it could not be measured (an image set without a generating
process), the next best quantity stands in, and the page says which. `Headline.slices` are the lines through the grid
that vary one training choice at a time: ratios at one patch size, and patch sizes at one ratio.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from probekit.plot.baselines import baselines_for
from probekit.plot.grids import in_grid
from probekit.plot.rows import Results, Row
from probekit.results.directions import Direction, directions

ORDER = (
    "gain_amount", "representation_level", "ladder_level", "latent_r2", "attentive_accuracy", "linear_accuracy",
    "knn_accuracy", "shape_bias", "ssim",
)  # fmt: skip
"""What stands for the answer, first measured; then anything else that has a number."""

USUAL_RATIO = 0.75
"""The ratio of the original masked autoencoder: where several ratios have equally many patch sizes, this one is
shown."""


@dataclass(frozen=True)
class Setting:
    """A combination of ratio and patch size, with the values of its runs."""

    ratio: float | None
    patch: float | None
    values: tuple[float, ...]
    by_seed: Mapping[float, float]
    """Seed -> value; empty where one run, or an unknown seed, stands alone."""

    @property
    def mean(self) -> float:
        """Mean over runs."""
        return float(np.mean(self.values))


@dataclass(frozen=True)
class Slice:
    """Settings that differ in one choice: `along` is "ratio" or "patch", `fixed` the value of the other."""

    along: str
    fixed: float | None
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Headline:
    """The quantity that answers, on the image set where most settings have it, with every checkpoint measured there."""

    results: Results
    name: str
    data: str
    rows: tuple[Row, ...]
    family: str = ""
    """The checkpoints whose masking is compared: they are alike in all else."""
    mixed: bool = False
    """Whether the checkpoints differ in more than their masking: then none of them is a setting of a grid."""

    @property
    def trained(self) -> list[Row]:
        """Rows of trained checkpoints."""
        return [row for row in self.rows if not row["untrained"]]

    @property
    def baseline(self) -> list[Row]:
        """Rows of untrained encoders and of other baselines that fit the family."""
        members = [row for row in self.trained if self.mixed or row["family"] == self.family]
        return baselines_for(self.rows, members)

    @cached_property
    def grid_rows(self) -> list[Row]:
        """Rows of the settings that are compared: of the family, of known masking, each of its ratio and patch size
        alone. Two checkpoints of one masking that are not known to be seeds of one setting are not averaged."""
        if self.mixed:
            return []
        return in_grid([row for row in self.trained if row["family"] == self.family])

    @cached_property
    def settings(self) -> list[Setting]:
        """Settings of the grid, by patch size and ratio."""
        return self.settings_from(self.grid_rows)

    def settings_from(self, rows: Sequence[Row]) -> list[Setting]:
        """Settings of these rows, by patch size and ratio."""
        groups: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            groups[row["setting_index"]].append(row)
        found = [
            Setting(
                first["ratio"],
                first["patch"],
                tuple(row["value"] for row in group),
                {row["seed"]: row["value"] for row in group} if len(group) > 1 else {},
            )
            for group in groups.values()
            if (first := group[0])
        ]
        return sorted(found, key=lambda s: (s.patch or 0, s.ratio or 0))

    @cached_property
    def readings(self) -> dict[str, list[Setting]]:
        """Scaling -> settings with the values in that scaling, where the quantity has several; the default first."""
        dim = "scaling"
        if dim not in self.results.dims(self.name):
            return {"": self.settings}
        rows = self.results.rows(self.name, self.data, keep=(dim,))
        members = {row["checkpoint"] for row in self.grid_rows}
        default = str(self.results.default_label(self.name, dim))
        found: dict[str, list[Row]] = {default: []}
        for row in rows:
            if row["checkpoint"] in members:
                found.setdefault(str(row[dim]), []).append(row)
        return {label: self.settings_from(each) for label, each in found.items() if each}

    @cached_property
    def lines(self) -> dict[str, Slice]:
        """The lines that the first screen speaks of."""
        return {along: line for along in ("ratio", "patch") if (line := self.slice(along)) is not None}

    @cached_property
    def directions(self) -> dict[str, dict[str, Direction]]:
        """Along -> scaling -> what runs tell of that line: one family of comparisons."""
        keys, lines = [], []
        for along, line in self.lines.items():
            places = [(setting.ratio, setting.patch) for setting in line.settings]
            for label, settings in self.readings.items():
                found = {(setting.ratio, setting.patch): setting.by_seed for setting in settings}
                keys.append((along, label))
                lines.append([found.get(place, {}) for place in places])
        out: dict[str, dict[str, Direction]] = {}
        for (along, label), direction in zip(keys, directions(lines), strict=True):
            out.setdefault(along, {})[label] = direction
        return out

    @property
    def tested(self) -> bool:
        """Whether seeds can tell anything: two settings of a line with two seeds each."""
        return any(direction.tested for each in self.directions.values() for direction in each.values())

    @property
    def ratios(self) -> list[float]:
        """Ratios of the settings, ascending."""
        return sorted({s.ratio for s in self.settings if s.ratio is not None})

    @property
    def patches(self) -> list[float]:
        """Patch sizes of the settings in pixels, ascending."""
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
        found = [headline for data in results.where(name) for headline in candidates(results, name, data)]
        found = [
            headline for headline in found if headline.rows
        ]  # what has numbers below the last layer alone has none
        if found:
            return max(found, key=lambda headline: (len(headline.settings), len(headline.rows)))
    return None


def candidates(results: Results, name: str, data: str) -> list[Headline]:
    """One headline for each family of checkpoints (same training but for ratio, patch size and seed); if none of them
    has two settings, all stand side by side."""
    rows = tuple(results.rows(name, data))
    families = list(dict.fromkeys(row["family"] for row in rows if not row["untrained"])) or [""]
    found = [Headline(results, name, data, rows, family) for family in families]
    if len(found) > 1 and all(len(headline.settings) <= 1 for headline in found):
        return [Headline(results, name, data, rows, mixed=True)]
    return found
