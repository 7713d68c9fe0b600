"""The recovery profile: what training added at each level, beside what Theorem 1 asks for, how much in all, how high.

Two heat maps of level by setting with the same columns. A star marks a level's best setting where runs of several seeds
tell it from every other setting; all levels are tested as one family.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from probekit.plot import theme
from probekit.plot.curves import choice_panels
from probekit.plot.expectations import expected
from probekit.plot.figure import Figure, Json, Panel, bounded, channel, either, fitting, layer, tooltip
from probekit.plot.rows import Results, Row, nanmean, rounded
from probekit.results.directions import Direction, directions

NAME = "recovery_gain"
SUMMARIES = ("gain_amount", "gain_height")
BINDING = "binds at"
"""Label of the row that holds the binding level."""
WRITTEN = 16
"""Up to so many settings, numbers stand in the cells."""

GAINED = (
    "Gain: R² of each level's own noise, minus that of the untrained encoder of the same architecture; means over "
    "seeds."
)
ASKED = (
    "Asked for: what Theorem 1 expects of random masks of that setting, the share of c at each level, and the height "
    "at which a hidden patch is bound to the visible part."
)
SUMMED = "Amount: the sum of the gains; height: their mean level, where the amount is above 0. Dots: checkpoints"


@dataclass(frozen=True)
class Profile:
    """Gains of trained checkpoints on one image set, by level and setting, with what seeds tell of each level.

    Attributes:
        settings: index -> words, in order of family, unit and ratio.
        levels: from low to high.
        values: level -> setting index -> seed -> gain.
        found: one `Direction` for each level.
        members: setting index -> positions of its checkpoints.
    """

    settings: dict[int, str]
    levels: list[int]
    values: dict[int, dict[int, dict[float, float]]]
    found: list[Direction]
    members: dict[int, list[int]]

    def best(self, direction: Direction) -> tuple[int, bool]:
        """Place of the setting with the highest mean, and whether seeds tell it from every other."""
        best = int(np.nanargmax(direction.means))
        others = [i for i in range(len(self.settings)) if i != best]
        return best, direction.tested and all(direction.differ(best, i) for i in others)


def profile(results: Results, data: str, family: str | None = None) -> Profile | None:
    """The recovery profile of an image set, of one family of encoders if it is given; None where there is none of a
    trained checkpoint."""
    if NAME not in results.names or data not in results.where(NAME):
        return None
    rows = [row for row in results.rows(NAME, data, keep=("level",)) if not row["untrained"]]
    rows = [row for row in rows if family in (None, row["family"])]
    if not rows:
        return None
    values: dict[int, dict[int, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    words: dict[int, str] = {}
    families: dict[int, str] = {}
    for row in rows:
        here = values[row["level"]][row["setting_index"]]
        here[row["seed"] if row["seed"] is not None else -1.0 - len(here)] = row["value"]
        words[row["setting_index"]], families[row["setting_index"]] = row["setting"], row["family"]
    names = list(dict.fromkeys(row["family"] for row in rows))
    masking = {row["setting_index"]: (names.index(row["family"]), row["patch"] or 0, row["ratio"] or 0) for row in rows}
    order = sorted(words, key=lambda index: (masking[index], index))
    levels = sorted(values)
    members: dict[int, list[int]] = defaultdict(list)
    for checkpoint in results.checkpoints:
        members[checkpoint.setting_index].append(checkpoint.index)
    named = distinct({index: (words[index], families[index]) for index in order})
    found = directions([[values[level][index] for index in order] for level in levels])
    return Profile(named, levels, values, found, members)


def distinct(settings: dict[int, tuple[str, str]]) -> dict[int, str]:
    """Index -> words that no other setting has: with its family, if there are several and words are alike anywhere, and
    with its number, where words are alike still."""
    several = max(Counter(words for words, _ in settings.values()).values(), default=1) > 1
    named = {i: f"{words}, {family}" if several and family else words for i, (words, family) in settings.items()}
    alike = Counter(named.values())
    return {i: f"{words} ({place})" if alike[words] > 1 else words
            for place, (i, words) in enumerate(named.items(), 1)}  # fmt: skip


def profile_figure(results: Results, data: str) -> Figure | None:
    """Heat maps, amount and height on one image set; None where there is no recovery profile."""
    left, right = gain_figure(results, data), summary_figure(results, data)
    panels = [panel for figure in (left, right) if figure for panel in figure.panels]
    if not panels:
        return None
    caption = " ".join(figure.caption for figure in (left, right) if figure)
    return Figure(f"profile-{data}", f"Recovery profile, {data}", panels, caption, columns=2)


def gain_figure(results: Results, data: str) -> Figure | None:
    """What training added at each level, over what the masks of that setting ask for."""
    found = profile(results, data)
    if found is None:
        return None
    asked = asked_panel(results, found, data)
    panels = [gain_panel(found, labels=asked is None), *([asked] if asked else [])]
    stars = sum(found.best(direction)[1] for direction in found.found)
    marked = "A star: seeds tell this setting from every other one at its level (one corrected family)."
    if not stars:
        marked = "Seeds tell no setting from every other one at its level, so none is marked as the best."
    caption = " ".join([GAINED, marked, *([ASKED] if asked else [])])
    return Figure(f"gain-{data}", f"What training added at each level, {data}", panels, caption, columns=1)


def summary_figure(results: Results, data: str) -> Figure | None:
    """How much training added in all, and how high it lies."""
    panels: list[Panel] = []
    for name in SUMMARIES:
        if name in results.names and data in results.where(name):
            panels += choice_panels(results, name, results.rows(name, data), title=results.title(name), height=190)
    if not panels:
        return None
    caption = f"{SUMMED}{', with 95 % intervals over images' if bounded(panels) else ''}."
    return Figure(f"amount-{data}", f"How much, and how high, {data}", panels, caption, columns=1)


def gain_panel(found: Profile, *, labels: bool = True) -> Panel:
    """The heat map of gains: a row per level, the highest on top; a column per setting, named if `labels`."""
    cells: list[Row] = []
    for level, direction in zip(found.levels, found.found, strict=True):
        best, alone = found.best(direction)
        for place, (index, words) in enumerate(found.settings.items()):
            mean = direction.means[place]
            if mean == mean:
                star = " ★" if alone and place == best else ""
                cells.append(_cell(words, level, mean, f"{short(mean)}{star}", len(found.values[level][index])))
    values = [cell["value"] for cell in cells]
    low, high = min(0.0, *values), max(values)
    title = "Gain by level and setting"
    words = f"Heat map of the gain by level and setting: {len(found.levels)} levels, {len(found.settings)} settings."
    return heat(found, cells, (low, high if high > low else low + 1), title, words, labels=labels)


def asked_panel(results: Results, found: Profile, data: str) -> Panel | None:
    """The heat map of what Theorem 1 expects on an image set; None where nothing is known of the masks or of the
    graph."""
    shares, binding = (expected(results, f"expected_{name}", data) for name in ("level_share", "binding_level"))
    if shares is None or shares.ndim != 2:
        return None
    labels = [int(level) for level in results.labels("level")]
    cells: list[Row] = []
    for index, words in found.settings.items():
        mean = nanmean(shares[found.members[index]], 0)
        for level in found.levels:
            share = mean[labels.index(level)]
            if share == share:
                cells.append(
                    _cell(words, level, share, short(share) if share >= 0.005 else "", len(found.members[index]))
                )
        height = np.nan if binding is None else nanmean(binding[found.members[index]], 0)
        if height == height:
            cells.append({**_cell(words, BINDING, 0.0, f"{height:.1f}", len(found.members[index])), "value": None})
    if not cells:
        return None
    title = "Asked for by Theorem 1: share of c, and binding level"
    words = f"Heat map of the expected share of c by level and setting: {len(found.settings)} settings."
    return heat(found, cells, (0.0, 1.0), title, words)


def _cell(words: str, level: int | str, value: float, mark: str, runs: int) -> Row:
    return {
        "checkpoint": words, "setting": words, "level": str(level), "value": rounded(value, 4),
        "mark": mark.replace("-", "−"), "runs": runs,
    }  # fmt: skip


def short(value: float) -> str:
    """Format with two decimals, without a leading zero.

    >>> short(0.456), short(-0.1), short(1.0), short(1.25)
    ('.46', '-.10', '1', '1.25')
    """
    text = f"{value:.2f}"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text.removesuffix(".00")


def heat(
    found: Profile, cells: list[Row], ends: tuple[float, float], title: str, words: str, *, labels: bool = True
) -> Panel:
    """A heat map with a column per setting, named if `labels`; a cell without a value has its text alone."""
    low, high = ends
    there = {cell["level"] for cell in cells}
    levels = [level for level in (BINDING, *map(str, reversed(found.levels))) if level in there]
    quiet: Json = {"domain": False, "ticks": False}
    angle = -40 if len(found.settings) <= 10 else -60
    names = {"labelAngle": angle, "labelLimit": 170, "labels": labels, **quiet}
    place: Json = {
        "x": channel("setting:N", title=None, sort=list(found.settings.values()), axis=names),
        "y": channel("level:N", title="Level", sort=levels, axis={**quiet, "minExtent": 52, "maxExtent": 52}),
        "tooltip": tooltip(
            ("setting:N", "Setting", ""), ("level:N", "Level", ""), ("mark:N", title, ""), ("runs:Q", "Runs", "d")
        ),
    }
    scale = {"range": theme.HEAT, "domain": [low, high], "interpolate": "lab"}
    colour = channel("value:Q", title=None, legend=None, scale=scale)
    dark = either(f"datum.value > {low + 0.55 * (high - low)}", "#14171b", "#ffffff")
    layers = [layer("rect", place | {"color": colour}, "isValid(datum.value)", stroke="var(--paper)", strokeWidth=2)]
    if len(found.settings) <= WRITTEN:
        mark, size = channel("mark:N"), fitting(11, len(found.settings), 3.4)
        layers += [
            layer("text", place | {"text": mark, "color": dark}, "isValid(datum.value)", fontSize=size),
            layer("text", place | {"text": mark}, "!isValid(datum.value)", fontSize=size),
        ]
    return Panel(layers, cells, words, title, 26 * len(levels))
