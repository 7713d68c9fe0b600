"""Figures, numbers and verdicts of `images_seen`, from results.nc alone.

python analyses/images_seen/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import pandas as pd
import xarray as xr

from probekit.results.directions import Values

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import Hypothesis, Line, by_ratio, by_unit, settings, text  # noqa: E402  (beside it)

NAMES = {"gain_amount": "amount (R²)", "gain_height": "height (levels)"}


def seen(ds: xr.Dataset) -> list[float]:
    """Images seen at the snapshots and at the end."""
    return sorted(set(ds["images_seen"].values.tolist()))


def at(ds: xr.Dataset, name: str, ratio: float, unit: int, images: float) -> Values:
    found = settings(ds, name, "images_seen", (images,), mask_ratio=ratio, patch_size=unit)
    return next(iter(found.values()), {})


def share_of_end(ds: xr.Dataset, ratio: float, unit: int) -> Values:
    """By seed: the amount at the first snapshot over that at the end."""
    early, late = (at(ds, "gain_amount", ratio, unit, seen(ds)[place]) for place in (0, -1))
    return {seed: early[seed] / late[seed] for seed in early if seed in late} if len(seen(ds)) > 1 else {}


def height_with_ratio(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(f"height (levels), ratio at 4 px, {n:,.0f} images", "rises", by_ratio(ds, "gain_height", images_seen=n))
        for n in seen(ds)
    ]


def height_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(
            f"height (levels), unit at ratio 0.75, {n:,.0f} images", "rises", by_unit(ds, "gain_height", images_seen=n)
        )
        for n in seen(ds)
    ]


def amount_peaks(ds: xr.Dataset) -> Sequence[Line]:
    return [
        Line(
            f"amount (R²), ratio at 4 px, {n:,.0f} images", "peaks", by_ratio(ds, "gain_amount", images_seen=n), "0.75"
        )
        for n in seen(ds)
    ]


def slow_ratio(ds: xr.Dataset) -> Sequence[Line]:
    found = {f"{ratio:g}": share_of_end(ds, ratio, 4) for ratio in (0.75, 0.9)}
    return [Line("amount at the first snapshot / at the end, 4 px", "falls", found)]


def large_unit(ds: xr.Dataset) -> Sequence[Line]:
    found = {
        "16 px, at the end": at(ds, "gain_amount", 0.75, 16, seen(ds)[-1]),
        "4 px, first snapshot": at(ds, "gain_amount", 0.75, 4, seen(ds)[0]),
    }
    return [Line("amount (R²), ratio 0.75", "rises", found)]


HYPOTHESES = (
    Hypothesis(
        "H1", "theory", "Height rises with the ratio at every stage of training, not only at its end.",
        height_with_ratio, "an order that turns with more images than these",
    ),
    Hypothesis(
        "H2", "theory", "Height rises with the mask unit at every stage of training.", height_with_unit,
        "an order that turns with more images than these",
    ),
    Hypothesis(
        "H3", "the paper", "The amount peaks at 0.75 at every stage of training.", amount_peaks,
        "an optimum that moves with the images seen",
    ),
    Hypothesis(
        "H4", "ours", "The largest ratio is the slow one: of what it learns in the end, 0.9 has less at the first "
        "snapshot than 0.75.", slow_ratio, "another schedule of the learning rate",
    ),
    Hypothesis(
        "H5", "ours", "16 px is not slow but little: at the end of training its amount is below what 4 px has at the "
        "first snapshot.", large_unit, "an amount at 16 px that still grows",
    ),
)  # fmt: skip
AXES = {"amount (": "amount (sum of gains in R²)", "amount at": "share", "height": "height (levels)"}
CAPTION = (
    "Quadtree, last layer; snapshots were taken while the learning rate was still high. Rings: training runs; line: "
    "means over seeds; bars: 95 % between seeds.",
    "Amount: sum over levels of what training added to the R² of a level's own noise; height: its mean level.",
)


def course(ds: xr.Dataset, name: str, title: str) -> alt.HConcatChart:
    """A quantity against images seen: ratios at 4 px, and units at ratio 0.75; told apart by shape and dashes."""
    values = writing.one_each(ds, name, {})
    columns = {key: ds[key].values for key in ("mask_ratio", "patch_size", "images_seen", "seed")}
    frame = pd.DataFrame(columns | {"value": values}).dropna()
    parts = []
    for words, part, key in (
        ("mask ratio, 4 px", frame[frame.patch_size == 4], "mask_ratio"),
        ("mask unit (px), ratio 0.75", frame[frame.mask_ratio == 0.75], "patch_size"),
    ):
        kind = {"field": key, "type": "ordinal", "title": words}
        stages = alt.Axis(values=seen(ds), labelExpr="format(datum.value / 1000, ',.0f') + ' k'", grid=False)
        base = alt.Chart(part).encode(
            x=alt.X(
                "images_seen:Q", title="images seen", axis=stages, scale=alt.Scale(type="log", nice=False, padding=12)
            ),
            y=alt.Y("mean(value):Q", title=title, scale=alt.Scale(zero=False)),
        )
        lines = base.mark_line(color="black").encode(strokeDash=alt.StrokeDash(**kind, legend=None))
        points = base.mark_point(color="black", fill="white", size=60).encode(shape=alt.Shape(**kind))
        spread = base.mark_errorbar(extent="ci", color="black").encode(
            y=alt.Y("value:Q", title=title), detail=f"{key}:O"
        )
        parts.append(alt.layer(lines, points, spread).properties(width=300, height=220))
    caption = [
        CAPTION[0].split(" Rings:")[0],
        CAPTION[1],
        "Marks: means over seeds; bars: 95 % intervals by bootstrap.",
    ]
    both = alt.hconcat(*parts, title=alt.TitleParams(title, subtitle=caption, anchor="start"), background="white")
    return both.resolve_scale(shape="independent", strokeDash="independent")


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    return text(ds, HYPOTHESES)


def main() -> None:
    ds = writing.opened(HERE)
    title = "Level against images seen: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    for name, words in NAMES.items():
        writing.save(course(ds, name, words), HERE, name)
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
