"""What the first screen says, made from the numbers.

The rule: say which settings are highest and lowest, claim a direction only where runs of several seeds carry it
(`results.directions`), and never call a difference real because intervals over images exclude it: those speak of single
checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probekit.constants import CONFIDENCE
from probekit.measures import inference
from probekit.plot.curves import why_none
from probekit.plot.figure import lowered
from probekit.plot.headline import Headline, Setting, Slice
from probekit.plot.legends import kind_of
from probekit.plot.recovery import profile
from probekit.results.directions import Direction

NOUN = {"ratio": "mask ratio", "patch": "patch size"}


@dataclass(frozen=True)
class Answer:
    """The first screen in words: a claim, what supports it, and what the uncertainties mean."""

    claim: str
    findings: tuple[str, ...]
    caution: str


def show(value: float, digits: int = 2) -> str:
    """A number for running text; a real minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def at(along: str, value: float | None) -> str:
    """A ratio or a patch size in words, e.g. "0.75" or "8 px"."""
    if value is None:
        return "unknown"
    return f"{value:g}" if along == "ratio" else f"{value:g} px"


def fixed_words(line: Slice) -> str:
    """Where a line lies, e.g. "at patch size 4 px"."""
    other = "patch" if line.along == "ratio" else "ratio"
    if line.fixed is None:
        return f"where the {NOUN[other]} is unknown"
    return f"at {NOUN[other]} {at(other, line.fixed)}"


def extremes(line: Slice) -> tuple[Setting, Setting]:
    """The settings with the highest and the lowest mean."""
    ordered = sorted(line.settings, key=lambda setting: setting.mean)
    return ordered[-1], ordered[0]


def course(line: Slice, found: Direction) -> str:
    """How the quantity runs along a line, as far as seeds carry it; "" where they carry nothing."""
    noun, claim = NOUN[line.along], found.claim
    values = [at(line.along, getattr(setting, line.along)) for setting in line.settings]
    alike = " or ".join(values[i] for i in found.alike)
    if claim in ("rises", "falls"):
        return f"{claim} with {noun}"
    if claim in ("peaks", "dips"):
        return f"{claim} at {noun} {alike}"
    if claim.endswith("up to"):
        return f"{claim.split()[0]} with {noun} up to {values[found.edge]}, with no clear change beyond"
    if claim.endswith("from"):
        return f"{claim.split()[0]} with {noun} from {values[found.edge]} on, with no clear change before"
    if claim.endswith("overall"):
        return f"{claim} with {noun}, though not at every step"
    return f"differs between values of {noun}" if claim else ""


def courses(headline: Headline, along: str) -> str:
    """The course along a line; where it holds in some scalings of the features only, with their names."""
    each = {label: course(headline.lines[along], found) for label, found in headline.directions[along].items()}
    first = next(iter(each.values()))
    holding = [label for label, text in each.items() if text == first]
    if not first or len(holding) == len(each):
        return first
    others = [label for label in each if label not in holding]
    return f"{first} (features {' and '.join(holding)}, not {' or '.join(others)})"


def claim(headline: Headline) -> str:
    """One sentence: how the quantity runs with ratio and with patch size, as far as seeds carry it."""
    title = headline.results.title(headline.name)
    if not headline.lines:
        return plain_claim(headline)
    if not headline.tested:
        best = [
            f"{NOUN[along]} {at(along, getattr(extremes(line)[0], along))}" for along, line in headline.lines.items()
        ]
        return (
            f"{title} is highest at {' and at '.join(best)} in these runs, one per setting: seeds have yet to tell it "
            "from luck."
        )
    found = {along: courses(headline, along) for along in headline.lines}
    parts = [text for text in found.values() if text]
    unsure = [NOUN[along] for along, text in found.items() if not text]
    if not parts:
        return (
            f"Whether {lowered(title)} moves with {' or '.join(unsure)} cannot be told from the luck of "
            f"the seed ({runs(headline)})."
        )
    text = f"{title} {', and '.join(parts) if any(',' in part for part in parts) else ' and '.join(parts)}"
    return text + (f"; no dependence on {' or '.join(unsure)} beyond seed noise." if unsure else ".")


def family(headline: Headline) -> str:
    """The family of encoders that the sentences are about, where the charts show several; "" else."""
    several = len({row["family"] for row in headline.trained}) > 1
    return kind_of(headline.results, headline.family) if several and headline.lines else ""


def runs(headline: Headline) -> str:
    """How many seeds the settings of the lines have, e.g. "2 to 5 seeds per setting"."""
    counts = {len(setting.values) for line in headline.lines.values() for setting in line.settings}
    few, many = min(counts), max(counts)
    return f"{few} to {many} seeds per setting" if few < many else f"{few} seeds per setting"


def plain_claim(headline: Headline) -> str:
    """Where no training choice varies among the checkpoints."""
    title = headline.results.title(headline.name)
    rows = sorted(headline.trained or headline.baseline, key=lambda row: row["value"])
    units = headline.results.units(headline.name)
    if len(rows) == 1:
        return f"{title} of {rows[0]['checkpoint']}: {show(rows[0]['value'])}{' ' + units if units else ''}."
    return (
        f"{title} runs from {show(rows[0]['value'])} ({rows[0]['checkpoint']}) to {show(rows[-1]['value'])} "
        f"({rows[-1]['checkpoint']})."
    )


def finding(headline: Headline, line: Slice) -> str:
    """One line of the grid in numbers."""
    high, low = extremes(line)
    gap = high.mean - low.mean
    text = (
        f"{fixed_words(line)[0].upper()}{fixed_words(line)[1:]}, it is highest at {NOUN[line.along]} "
        f"{at(line.along, getattr(high, line.along))} ({show(high.mean)}) and lowest at "
        f"{at(line.along, getattr(low, line.along))} "
        f"({show(low.mean)})"
    )
    found = next(iter(headline.directions[line.along].values()))
    p = found.p_pairs[line.settings.index(high), line.settings.index(low)]
    if not math.isfinite(p):
        return f"{text}: {show(gap)} apart."
    relation = "more" if found.differ(line.settings.index(high), line.settings.index(low)) else "not more"
    return f"{text}: {show(gap)} apart, {relation} than the luck of the seed can explain (p = {p:.2g}, corrected)."


def baseline(headline: Headline) -> str | None:
    """What an untrained encoder, raw pixels or chance would give."""
    if not headline.baseline or not headline.trained:
        return None
    groups: dict[str, list[float]] = {}
    for row in headline.baseline:
        groups.setdefault(row["setting"], []).append(row["value"])
    parts = [f"{name} {show(sum(values) / len(values))}" for name, values in groups.items()]
    return f"For comparison: {', '.join(parts)}."


def best_of_levels(headline: Headline) -> str | None:
    """Where each level gains most among the settings that are compared, and at how many levels seeds tell that setting
    from all others; a level where none gained is named as such."""
    if headline.name != "gain_amount":
        return None
    found = profile(headline.results, headline.data, None if headline.mixed else headline.family)
    if found is None or len(found.settings) < 2:
        return None
    words = list(found.settings.values())
    best = {
        level: found.best(one) for level, one in zip(found.levels, found.found, strict=True) if np.nanmax(one.means) > 0
    }
    if not best:
        return "Gained most: no setting gained anything at any level."
    places: dict[str, list[int]] = {}
    for level, (place, _) in best.items():
        places.setdefault(words[place], []).append(level)
    parts = [f"{levels_words(each)} at {word}" for word, each in places.items()]
    none = [level for level in found.levels if level not in best]
    parts += [f"{levels_words(none)} nowhere"] if none else []
    carried = sum(alone for _, alone in best.values())
    told = f"seeds tell {carried} of {len(best)} of these from every other setting"
    return f"Gained most: {'; '.join(parts)}; {told if carried else 'seeds tell none of these from all others'}."


def levels_words(levels: list[int]) -> str:
    """E.g. "level 3" or "levels 1 and 2"."""
    return f"level{'s' if len(levels) > 1 else ''} {listed(levels)}"


def listed(items: list[int]) -> str:
    """E.g. "1, 2 and 4"."""
    *most, last = map(str, items)
    return f"{', '.join(most)} and {last}" if most else last


def caution(headline: Headline) -> str:
    """What the two kinds of uncertainty do and do not separate."""
    results, name = headline.results, headline.name
    if any(row["lower"] is not None for row in headline.trained or headline.rows):
        resamples = (
            (results.attribute(f"{name}_ci", "resamples") or "resampling").split(",")[0].split(";")[0].split(" (")[0]
        )
        interval = (
            f"Intervals ({100 * CONFIDENCE:.0f} %, {resamples}) speak of one checkpoint on these images, "
            "not of its setting."
        )
    else:
        interval = f"These numbers have no interval: {why_none(results, name)}."
    if headline.mixed:
        return f"{interval} The checkpoints differ in more than their masking, so nothing here is put down to it."
    if not headline.settings:
        return f"{interval} How the checkpoints were masked is unknown, so nothing here is put down to masking."
    if len(headline.rows) == 1:
        return f"{interval} One checkpoint alone says nothing of what its training settings do."
    if not headline.tested:
        return (
            f"{interval} No two settings have two runs each that are known to differ by their seed alone, so nothing "
            "here tells a setting from the luck of its run."
        )
    return f"{interval} {comparisons(headline)}"


def comparisons(headline: Headline) -> str:
    """How settings were compared: over which runs, how often, and how unlike their spreads are."""
    found = [direction for each in headline.directions.values() for direction in each.values()]
    samples = [list(setting.by_seed.values()) for setting in headline.settings if len(setting.by_seed) > 1]
    deviations = [float(np.std(values, ddof=1)) for values in samples]
    unequal = inference.equal_variances(samples)
    spread = f"between-seed deviations from {show(min(deviations), 3)} to {show(max(deviations), 3)}"
    if unequal < 1 - CONFIDENCE:
        spread += f" (unequal, p = {unequal:.2g} by Bartlett's test)"
    first = [next(iter(each.values())) for each in headline.directions.values()]
    steps = [(direction, i) for direction in first for i in range(len(direction.means) - 1)]
    apart = sum(direction.differ(i, i + 1) for direction, i in steps)
    return (
        f"Settings are compared within seeds ({runs(headline)}), each with its own variance: {spread}. "
        f"{found[0].comparisons} comparisons, Holm's correction; they tell {apart} of {len(steps)} pairs of "
        "neighbouring settings apart."
    )


def answer(headline: Headline | None) -> Answer:
    """The first screen in words."""
    if headline is None:
        return Answer(
            "Nothing could be measured on these checkpoints.", (), "Why is said under “Not applicable”, probe by probe."
        )
    findings = [finding(headline, line) for line in headline.lines.values()]
    extra = [text for text in (best_of_levels(headline), baseline(headline)) if text]
    one = family(headline)
    if not one:
        return Answer(claim(headline), (*findings, *extra), caution(headline))
    alone = f"Sentences on mask ratio and patch size are about one family of encoders, {one}; charts show them all."
    return Answer(f"{one[0].upper()}{one[1:]}: {claim(headline)}", (*findings, *extra), f"{alone} {caution(headline)}")
