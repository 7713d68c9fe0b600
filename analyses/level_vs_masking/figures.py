"""Figures, numbers and verdicts of `level_vs_masking`, from results.nc alone.

python analyses/level_vs_masking/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import pandas as pd
import xarray as xr

from probekit.measures.inference import rank_correlation
from probekit.results.directions import Values

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import RATIOS, UNITS, Hypothesis, Line, by_ratio, by_unit, mean_half, text  # noqa: E402  (beside it)

LEVELS = (1, 2, 3, 4)
SCALINGS = ("raw", "standardised", "whitened")
LEVEL = "representation_level"


def preferred(ds: xr.Dataset) -> dict[str, Values]:
    """Level -> for each seed, the mean of the ratios at 4 px, weighted by what the level gained there."""
    out: dict[str, Values] = {}
    for level in LEVELS:
        gains = by_ratio(ds, "recovery_gain", {"level": level})
        common = set.intersection(*map(set, gains.values())) if len(gains) == len(RATIOS) else set()
        values = {}
        for seed in sorted(common):
            weights = {float(step): max(one[seed], 0.0) for step, one in gains.items()}
            values[seed] = sum(step * weight for step, weight in weights.items()) / sum(weights.values())
        if values:
            out[f"level {level}"] = values
    return out


def root_alone(ds: xr.Dataset) -> dict[str, Values]:
    """At 0.75 and 16 px: what the levels below the root gained together, and what the root gained."""
    by_level = [by_unit(ds, "recovery_gain", {"level": level}).get("16 px", {}) for level in LEVELS]
    seeds = sorted(set.intersection(*map(set, by_level)))
    below = {seed: sum(one[seed] for one in by_level[:-1]) for seed in seeds}
    return {"levels 1 to 3 together": below, "root": {seed: by_level[-1][seed] for seed in seeds}} if seeds else {}


def follows(ds: xr.Dataset, name: str) -> dict[str, Values]:
    """0, and for each seed the rank correlation of a quantity with the binding level over all cells."""
    values, binding = writing.one_each(ds, name, {}), writing.one_each(ds, "expected_binding_level", {})
    known = sorted({float(seed) for seed in ds["seed"].values if seed == seed})
    found = {seed: rank_correlation(*(x[ds["seed"].values == seed] for x in (values, binding))) for seed in known}
    return {"none": dict.fromkeys(found, 0.0), "correlation": found}


def amount_peaks(ds: xr.Dataset) -> Sequence[Line]:
    return [Line("amount (R²), ratio at 4 px", "peaks", by_ratio(ds, "gain_amount"), best="0.75")]


def height_with_ratio(ds: xr.Dataset) -> Sequence[Line]:
    return [Line(f"height (levels), ratio at {u} px", "rises", by_ratio(ds, "gain_height", unit=u)) for u in (4, 8)]


def height_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"height (levels), unit at ratio {r:g}", "rises", by_unit(ds, "gain_height", ratio=r)) for r in (0.5, 0.75)
    ]


def amount_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"amount (R²), unit at ratio {r:g}", "falls", by_unit(ds, "gain_amount", ratio=r)) for r in (0.5, 0.75)
    ]


def preferred_ratio(ds: xr.Dataset) -> Sequence[Line]:
    return [Line("preferred ratio of each level (gain-weighted mean), 4 px", "rises", preferred(ds))]


def root_gains(ds: xr.Dataset) -> Sequence[Line]:
    return [Line("gain (R²), ratio 0.75 at 16 px", "rises", root_alone(ds))]


def follows_binding(ds: xr.Dataset) -> Sequence[Line]:
    return [Line("rank correlation of height with binding level over all cells", "rises", follows(ds, "gain_height"))]


def spectrum_with_ratio(ds: xr.Dataset) -> Sequence[Line]:
    lines = [(s, by_ratio(ds, LEVEL, {"scaling": s, "pooling": "mean"})) for s in SCALINGS]
    return [Line(f"spectrum's level ({s}; levels), ratio at 4 px", "rises", found) for s, found in lines]


def spectrum_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    lines = [(s, by_unit(ds, LEVEL, {"scaling": s, "pooling": "mean"})) for s in SCALINGS]
    return [Line(f"spectrum's level ({s}; levels), unit at ratio 0.75", "rises", found) for s, found in lines]


HYPOTHESES = (
    Hypothesis(
        "H1", "the paper", "How much is learned over all levels has its optimum at ratio 0.75.", amount_peaks,
        "a neighbour of 0.75 that gains as much or more in a longer training",
    ),
    Hypothesis(
        "H2", "theory (binding level)", "The larger the ratio, the higher lies what is learned, at 4 px and at 8 px.",
        height_with_ratio, "a height that falls again at the largest ratio, as the paper says of its level",
    ),
    Hypothesis(
        "H3", "the paper and Theorem 1", "The larger the mask unit, the higher lies what is learned.", height_with_unit,
        "a tree whose nodes do not coincide with the units",
    ),
    Hypothesis(
        "H4", "ours", "The larger the mask unit, the less is learned in all.", amount_with_unit,
        "an amount at 16 px that catches up with more images",
    ),
    Hypothesis(
        "H5", "ours", "Each level has a ratio that recovers it best, and that ratio rises with the level.",
        preferred_ratio, "a regressor under which the order of the levels changes",
    ),
    Hypothesis(
        "H6", "Theorem 1", "At 0.75 and 16 px a mask asks for the root alone, and the root gains more than all other "
        "levels together.", root_gains, "a gain below the root with more images",
    ),
    Hypothesis(
        "H7", "theory", "Over all cells of the grid, height follows the binding level that Theorem 1 computes.",
        follows_binding, "a cell of high binding level and low height",
    ),
    Hypothesis(
        "H8", "the paper", "The spectrum's level rises with the ratio, whatever the scaling.", spectrum_with_ratio,
        "agreement of all three scalings",
    ),
    Hypothesis(
        "H9", "the paper", "The spectrum's level rises with the mask unit, whatever the scaling.", spectrum_with_unit,
        "agreement of all three scalings",
    ),
)  # fmt: skip
AXES = {
    "amount": "amount (sum of gains in R²)", "height": "height (levels)", "preferred": "mask ratio",
    "gain": "gain (R²)", "rank": "Spearman's correlation", "spectrum": "level (0 to 4)",
}  # fmt: skip
CAPTION = (
    "Quadtree (5 levels of latents, root = 4), last layer; 2,000 images to fit, 500 to select, 1,000 to report. Rings: "
    "training runs; line: means over seeds; bars: 95 % between seeds.",
    "Amount: sum over levels of what training added to the R² of a level's own noise; height: its mean level. "
    "Spectrum's level: mean level of the variance of mean-pooled features.",
)


def profile(ds: xr.Dataset) -> alt.LayerChart:
    """Gain by level and setting, means over seeds: darker is more."""
    rows = []
    for unit, ratio in ((unit, ratio) for unit in UNITS for ratio in RATIOS):
        for level in LEVELS:
            found = by_ratio(ds, "recovery_gain", {"level": level}, unit=unit).get(f"{ratio:g}")
            if found:
                rows.append({"setting": f"{ratio:g}, {unit} px", "level": level, "gain": mean_half(found)[0]})
    order = list(dict.fromkeys(row["setting"] for row in rows))
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("setting:N", sort=order, title="mask ratio, unit", axis=alt.Axis(labelAngle=-40)),
        y=alt.Y("level:O", sort="descending", title="level (4 = root)"),
    )
    ramp = alt.Scale(range=["#ffffff", "#333333"])
    ink = alt.condition("datum.gain > 0.35", alt.value("white"), alt.value("black"))
    cells = base.mark_rect(stroke="#bbb").encode(color=alt.Color("gain:Q", scale=ramp, title="gain (R²)"))
    marks = base.mark_text().encode(text=alt.Text("gain:Q", format=".2f"), color=ink)
    caption = "Quadtree, last layer: R² of each level's own noise minus the untrained encoder's; means over seeds."
    title = alt.TitleParams("What training added at each level", subtitle=caption, anchor="start")
    return alt.layer(cells, marks).properties(width=700, height=170, title=title)


def courses(ds: xr.Dataset) -> alt.HConcatChart:
    """Amount, height, and the binding level of Theorem 1 over the ratio, by unit."""
    parts = []
    for name, words in (("gain_amount", "amount (sum of gains in R²)"), ("gain_height", "height (levels)"),
                        ("expected_binding_level", "binding level, Theorem 1 (levels)")):  # fmt: skip
        rows = []
        for unit in UNITS:
            for step, found in by_ratio(ds, name, unit=unit).items():
                mean, half = mean_half(found)
                ends = {"low": mean - half, "high": mean + half} if half == half else {"low": mean, "high": mean}
                rows.append({"ratio": float(step), "unit": f"{unit} px", "mean": mean} | ends)
        kind = {"field": "unit", "type": "nominal", "sort": [f"{unit} px" for unit in UNITS], "title": "mask unit"}
        base = alt.Chart(pd.DataFrame(rows)).encode(
            x=alt.X("ratio:Q", title="mask ratio", scale=alt.Scale(domain=[0, 1]))
        )
        at = alt.Y("mean:Q", title=words, scale=alt.Scale(zero=False))
        line = base.mark_line(color="black").encode(y=at, strokeDash=alt.StrokeDash(**kind))
        dots = base.mark_point(color="black", fill="white", size=55).encode(y=at, shape=alt.Shape(**kind))
        bars = base.mark_rule(color="black", strokeWidth=1.5).encode(y=alt.Y("low:Q", title=words), y2="high:Q")
        parts.append(alt.layer(line, bars, dots).properties(width=250, height=210))
    words = "Means over seeds; bars: 95 % between seeds (of the binding level: none, it is computed)."
    title = alt.TitleParams(
        "How much is learned, how high it lies, and what Theorem 1 expects",
        subtitle=[CAPTION[1], words],
        anchor="start",
    )
    return alt.hconcat(*parts, title=title, background="white")


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    by_level = {"gain_amount": {}, "gain_height": {}, "expected_binding_level": {}, "expected_mean_height": {}}
    return writing.by_setting(ds, by_level) + "\n" + text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "Level against masking: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.save(profile(ds), HERE, "profile")
    writing.save(courses(ds), HERE, "courses")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
