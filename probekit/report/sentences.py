"""What the first screen says, made from the numbers.

The rule: say which settings are highest and lowest, whether that difference exceeds what the luck of the seed
explains, and never call a difference real because intervals over images exclude it: those speak of single
checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from probekit.report.headline import Headline, Setting, Slice
from probekit.schema import CONFIDENCE

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
    if value is None:
        return "unknown"
    return f"{value:g}" if along == "ratio" else f"{value:g} px"


def fixed_words(line: Slice) -> str:
    other = "patch" if line.along == "ratio" else "ratio"
    if line.fixed is None:
        return f"where the {NOUN[other]} is unknown"
    return f"at {NOUN[other]} {at(other, line.fixed)}"


def extremes(line: Slice) -> tuple[Setting, Setting]:
    ordered = sorted(line.settings, key=lambda setting: setting.mean)
    return ordered[-1], ordered[0]


def shape(line: Slice) -> str:
    """How the means run along a line: "rises", "falls", "peaks" or "is uneven"."""
    steps = [b.mean - a.mean for a, b in pairwise(line.settings)]
    if all(step > 0 for step in steps):
        return "rises"
    if all(step < 0 for step in steps):
        return "falls"
    turns = sum((a > 0) != (b > 0) for a, b in pairwise(steps))
    return ("peaks" if steps[0] > 0 else "dips") if turns == 1 else "is uneven"


def separated(headline: Headline, line: Slice) -> bool | None:
    """Whether highest and lowest of a line differ by more than seeds explain, corrected for having looked for the
    extremes; None where seeds say nothing."""
    high, low = extremes(line)
    if not headline.seeds.freedom:
        return None
    pairs = len(line.settings) * (len(line.settings) - 1) // 2
    return high.mean - low.mean > headline.seeds.least_difference(len(high.values), len(low.values), pairs)


def course(headline: Headline, line: Slice) -> str:
    """How the quantity runs along a line, as far as seeds carry it: a peak (or dip) needs a setting on either side that
    they tell from it."""
    noun, high_low = NOUN[line.along], extremes(line)
    way = shape(line)
    if way in ("rises", "falls"):
        return f"{way} with {noun}"
    end = high_low[1 if way == "dips" else 0]
    pairs = len(line.settings) * (len(line.settings) - 1) // 2
    known = bool(headline.seeds.freedom)

    def apart(other: Setting) -> bool:
        least = headline.seeds.least_difference(len(end.values), len(other.values), pairs) if known else 0.0
        return abs(end.mean - other.mean) > least

    place = line.settings.index(end)
    alike = [setting for setting in line.settings if not apart(setting)]
    where = " or ".join(at(line.along, getattr(setting, line.along)) for setting in alike)
    if way == "is uneven":
        return f"is highest at {noun} {where}"
    before, after = (any(map(apart, side)) for side in (line.settings[:place], line.settings[place + 1 :]))
    if before and after:
        return f"{way} at {noun} {where}"
    up = (way == "peaks") == before
    edge = at(line.along, getattr(alike[0] if before else alike[-1], line.along))
    if before:
        return f"{'rises' if up else 'falls'} with {noun} up to {edge}, with no clear change beyond"
    return f"{'rises' if up else 'falls'} with {noun} from {edge} on, with no clear change before"


def claim(headline: Headline) -> str:
    """One sentence: how the quantity runs with ratio and with patch size, hedged where seeds don't carry it."""
    title = headline.results.title(headline.name)
    parts, unsure = [], []
    for along in ("ratio", "patch"):
        line = headline.slice(along)
        if line is None:
            continue
        verdict = separated(headline, line)
        if verdict is False:
            unsure.append(NOUN[along])
            continue
        parts.append(course(headline, line))
    if parts:
        text = f"{title} {', and '.join(parts) if any(',' in part for part in parts) else ' and '.join(parts)}"
        if not headline.seeds.freedom:
            return f"{text} in these runs, one per setting: seeds have yet to tell it from luck."
        return text + (f"; no dependence on {' or '.join(unsure)} beyond seed noise." if unsure else ".")
    if unsure:
        return f"{title} does not move with {' or '.join(unsure)} beyond what the seed does."
    return plain_claim(headline)


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
    verdict = separated(headline, line)
    if verdict is None:
        return f"{text}: {show(gap)} apart."
    pairs = len(line.settings) * (len(line.settings) - 1) // 2
    least = headline.seeds.least_difference(len(high.values), len(low.values), pairs)
    relation = "more" if verdict else "not more"
    return (
        f"{text}: {show(gap)} apart, {relation} than the {show(least)} that the luck of the seed can explain "
        f"({100 * CONFIDENCE:.0f} %, any two of {len(line.settings)} settings)."
    )


def baseline(headline: Headline) -> str | None:
    """What an untrained encoder, raw pixels or chance would give."""
    if not headline.baseline or not headline.trained:
        return None
    groups: dict[str, list[float]] = {}
    for row in headline.baseline:
        groups.setdefault(row["setting"], []).append(row["value"])
    parts = [f"{name} {show(sum(values) / len(values))}" for name, values in groups.items()]
    return f"For comparison: {', '.join(parts)}."


def caution(headline: Headline) -> str:
    """What the two kinds of uncertainty do and do not separate."""
    results, name = headline.results, headline.name
    twin = f"{name}_ci"
    if twin in results.ds:
        resamples = (results.attribute(twin, "resamples") or "resampling").split(",")[0].split(";")[0].split(" (")[0]
        interval = (
            f"Intervals ({100 * CONFIDENCE:.0f} %, {resamples}) speak of one checkpoint on these images, "
            "not of its setting."
        )
    else:
        interval = f"These numbers have no interval: {results.no_interval(name)}."
    if headline.mixed:
        return f"{interval} The checkpoints differ in more than their masking, so nothing here is put down to it."
    if not headline.settings:
        return f"{interval} How the checkpoints were masked is unknown, so nothing here is put down to masking."
    if not headline.seeds.freedom:
        return (
            f"{interval} There is one training run per setting, so nothing here tells a setting from the "
            "luck of its run."
        )
    degrees = "degree" if headline.seeds.freedom == 1 else "degrees"
    neighbours, beyond = neighbour_pairs(headline)
    pairs = f" It separates {beyond} of {neighbours} pairs of neighbouring settings." if neighbours else ""
    return (
        f"{interval} Settings are compared by their seeds: pooled between-seed deviation "
        f"{show(headline.seeds.deviation, 3)}, "
        f"t with {headline.seeds.freedom} {degrees} of freedom.{pairs}"
    )


def neighbour_pairs(headline: Headline) -> tuple[int, int]:
    """How many settings next to each other in the grid there are, and how many of those differ beyond the seeds."""
    place = {(s.ratio, s.patch): s for s in headline.settings}
    pairs = []
    for ratios_vary, values, others in (
        (True, headline.ratios, headline.patches),
        (False, headline.patches, headline.ratios),
    ):
        for other in others:
            for a, b in pairwise(values):
                keys = ((a, other), (b, other)) if ratios_vary else ((other, a), (other, b))
                if keys[0] in place and keys[1] in place:
                    pairs.append((place[keys[0]], place[keys[1]]))
    seeds = headline.seeds
    gaps = [(abs(a.mean - b.mean), seeds.least_difference(len(a.values), len(b.values), len(pairs))) for a, b in pairs]
    return len(pairs), sum(gap > least for gap, least in gaps if math.isfinite(least))


def answer(headline: Headline | None) -> Answer:
    """The first screen in words."""
    if headline is None:
        return Answer(
            "Nothing could be measured on these checkpoints.", (), "Why is said under “Not applicable”, probe by probe."
        )
    lines = [line for line in (headline.slice("ratio"), headline.slice("patch")) if line is not None]
    findings = [finding(headline, line) for line in lines]
    extra = baseline(headline)
    return Answer(claim(headline), tuple(findings + ([extra] if extra else [])), caution(headline))
