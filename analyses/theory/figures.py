"""Figures, numbers and verdicts of `theory`, from results.nc alone.

python analyses/theory/figures.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from probekit.results.directions import Values

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import panels  # noqa: E402  (they lie beside this folder)
import writing  # noqa: E402  (beside it)
from evidence import Hypothesis, Line, mean_half, text  # noqa: E402  (beside it)

RATIOS, UNITS = (0.1, 0.25, 0.5, 0.75, 0.9), (1, 2, 4)
ENCODERS = ("smaller", "matched", "doubled", "untrained")
COLUMNS = ("c_from_code", "own_from_code", "code_from_c", "share_of_c", "specific_from_code", "loss")
EXPECTED = {
    "binding_level": "binding level",
    "mean_height": "mean height of c",
    "intrinsic_dimension": "dimension of c",
}


def over_masks(ds: xr.Dataset, name: str, encoder: str) -> Values:
    """Mask -> the number of an encoder, by the nonlinear regressor."""
    found = ds[name].sel(checkpoint=encoder)
    found = found.sel(regressor="nonlinear") if "regressor" in found.dims else found
    return {float(mask): float(value) for mask, value in enumerate(found.values)}


def fixed(value: float, like: Values) -> Values:
    return dict.fromkeys(like, value)


def over_graphs(ds: xr.Dataset, name: str, along: str, **where: float | str) -> dict[str, Values]:
    """Setting -> random graph -> its expected level."""
    random = [one for one in ds["graph"].values if str(one).startswith("random")]
    found = ds[f"expected_{name}"].sel(graph=random, **{key: value for key, value in where.items() if key != along})
    steps = RATIOS if along == "ratio" else UNITS
    return {
        f"{step:g}": {
            float(i): float(value) for i, value in enumerate(found.sel({along: step}, method="nearest").values)
        }
        for step in steps
    }


def c_recovered(ds: xr.Dataset) -> Sequence[Line]:
    matched, untrained = (over_masks(ds, "c_from_code", one) for one in ("matched", "untrained"))
    return [
        Line("R² of c from the code", "rises", {"0.9": fixed(0.9, matched), "matched": matched}),
        Line("R² of c from the code", "rises", {"untrained": untrained, "matched": matched}),
    ]  # fmt: skip


def specific_dropped(ds: xr.Dataset) -> Sequence[Line]:
    matched = over_masks(ds, "specific_from_code", "matched")
    return [Line("R² of s_v from the code", "alike", {"0": fixed(0.0, matched), "matched": matched}, margin=0.05)]


def wider(ds: xr.Dataset) -> Sequence[Line]:
    found = {name: over_masks(ds, "specific_from_code", name) for name in ("matched", "doubled")}
    return [Line("R² of s_v from the code", "rises", found)]


def height_with_ratio(ds: xr.Dataset) -> Sequence[Line]:
    found = over_graphs(ds, "mean_height", "ratio", strategy="random", unit=1)
    return [Line("mean height of c (levels), random graphs, ratio at unit 1", "peaks", found, best="0.75")]


def binding_with_ratio(ds: xr.Dataset) -> Sequence[Line]:
    found = over_graphs(ds, "binding_level", "ratio", strategy="random", unit=1)
    return [Line("binding level (levels), random graphs, ratio at unit 1", "rises", found)]


def height_with_unit(ds: xr.Dataset) -> Sequence[Line]:
    found = over_graphs(ds, "mean_height", "unit", strategy="random", ratio=0.75)
    return [Line("mean height of c (levels), random graphs, unit at ratio 0.75", "rises", found)]


def aware(ds: xr.Dataset) -> Sequence[Line]:
    found = {
        strategy: over_graphs(ds, "binding_level", "ratio", strategy=strategy, unit=1)["0.75"]
        for strategy in ("random", "structure")
    }
    return [Line("binding level (levels), random graphs, ratio 0.75, unit 1", "rises", found)]


HYPOTHESES = (
    Hypothesis(
        "H1", "Theorem 2", "A code as wide as c holds c: R² above 0.9, and above the untrained code's.", c_recovered,
        "masks on larger graphs that training does not recover",
    ),
    Hypothesis(
        "H2", "Theorem 2", "Such a code holds nothing of what only the visible side shows.", specific_dropped,
        "a regressor that finds it",
    ),
    Hypothesis(
        "H3", "ours", "A code twice as wide keeps some of it: \"the right dimension\" is part of the theorem.", wider,
        "longer training of the wide code",
    ),
    Hypothesis(
        "H4", "the paper", "c is highest at ratio 0.75.", height_with_ratio,
        "another definition of c's height: Theorem 1 itself is symmetric in hidden and visible",
    ),
    Hypothesis(
        "H5", "ours", "What binds a hidden observable to the visible side lies higher the larger the ratio.",
        binding_with_ratio, "nothing: it is computed",
    ),
    Hypothesis(
        "H6", "the paper", "c lies higher the larger the unit, on random graphs too.", height_with_unit,
        "graphs that are aligned with the units",
    ),
    Hypothesis(
        "H7", "the paper, section 3.6", "Masks that follow structure bind higher than random ones.", aware,
        "graphs in which runs of observables are no subtrees",
    ),
)  # fmt: skip
AXES = {"R²": "R² (1)", "mean height": "mean height (levels)", "binding": "binding level (levels)"}
CAPTION = (
    "H1 to H3: rings are masks (32, on 8 graphs), one autoencoder each; kernel ridge regression. H4 to H7: rings are "
    "random graphs (10); computed, nothing is trained.",
    "Line: means; bars: 95 % intervals of the mean over masks, or over graphs.",
)


def levels(ds: xr.Dataset) -> alt.VConcatChart:
    """Binding level, mean height and dimension of c over the ratio, by unit and strategy, on the quadtree."""
    rows = []
    for name, title in EXPECTED.items():
        array, bounds = (
            ds[f"expected_{name}"].sel(graph="quadtree"),
            ds[f"expected_{name}_interval"].sel(graph="quadtree"),
        )
        frame = array.drop_vars("graph").to_dataframe("value").reset_index()
        for bound in ("lower", "upper"):
            frame[bound] = bounds.sel(bound=bound).transpose(*array.dims).values.ravel()
        kind = {"field": "unit", "type": "ordinal", "title": "unit (leaves a side)"}
        y = alt.Scale(zero=False)
        base = alt.Chart(frame).encode(x=alt.X("ratio:Q", title="mask ratio", scale=alt.Scale(domain=[0, 1])))
        line = base.mark_line(color="black").encode(
            y=alt.Y("value:Q", title=title, scale=y), strokeDash=alt.StrokeDash(**kind)
        )
        dots = base.mark_point(color="black", fill="white", size=30).encode(y="value:Q", shape=alt.Shape(**kind))
        bars = base.mark_rule(color="black").encode(y=alt.Y("lower:Q", title=title), y2="upper:Q")
        rows.append(
            alt.layer(line, bars, dots)
            .properties(width=190, height=140)
            .facet(column=alt.Column("strategy:N", title=None, sort=["random", "block", "structure"]))
        )
    caption = "Theorem 1 on a quadtree of height 4 (64 leaves): means over 1,000 masks with their 95 % intervals."
    return alt.vconcat(
        *rows, title=alt.TitleParams("Which latents do masks ask for?", subtitle=caption, anchor="start")
    )


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    cells = {e: [mean_half(over_masks(ds, name, e)) for name in COLUMNS] for e in ENCODERS}
    rows = [[e, *(f"{mean:.3f} ± {half:.3f}" for mean, half in cells[e])] for e in ENCODERS]
    titles = [str(ds[name].attrs["long_name"]) for name in COLUMNS]
    tree = ds.sel(graph="quadtree", strategy="random")
    expected = [
        [
            f"{unit}",
            f"{title}",
            *(f"{float(tree[f'expected_{name}'].sel(unit=unit).sel(ratio=r, method='nearest')):.2f}" for r in RATIOS),
        ]
        for unit in UNITS
        for name, title in EXPECTED.items()
    ]
    linear = float(np.mean(ds["c_from_code"].sel(checkpoint="matched", regressor="linear")))
    return (
        "Means over masks, ± 95 %; kernel ridge regression:\n\n"
        + writing.table(["encoder", *titles], rows)
        + f"\nA linear regression of c on the matched code gives {linear:.3f}.\n\nThe quadtree, random masks:\n\n"
        + writing.table(["unit", "quantity", *(f"ratio {ratio:g}" for ratio in RATIOS)], expected)
        + "\n"
        + text(ds, HYPOTHESES, "blocks (masks, or graphs)")
    )


def recovery(ds: xr.Dataset) -> alt.FacetChart:
    """What each mask's code holds, by encoder."""
    frames = [
        pd.DataFrame({"encoder": e, "value": list(over_masks(ds, name, e).values()), "quantity": title})
        for name, title in zip(
            COLUMNS[:5],
            ("c from code", "noise of c from code", "code from c", "share of code from c", "s_v from code"),
            strict=True,
        )
        for e in ENCODERS
    ]
    frame = pd.concat(frames)
    frame["value"] = frame["value"].clip(lower=-0.1)
    base = alt.Chart(frame).encode(x=alt.X("encoder:N", sort=list(ENCODERS), title=None, axis=alt.Axis(labelAngle=-40)))
    y = alt.Y("value:Q", title="R² (kernel ridge), or share", scale=alt.Scale(domain=[-0.1, 1]))
    points = base.mark_point(size=28, color="#666").encode(y=y)
    bars = base.mark_errorbar(extent="ci", color="black", thickness=2).encode(y=alt.Y("value:Q", title=""))
    mean = base.mark_tick(color="black", thickness=2, width=24).encode(y=alt.Y("mean(value):Q"))
    order = list(dict.fromkeys(frame["quantity"]))
    caption = (
        "Rings: masks (32, on 8 graphs); black: mean and its 95 % interval. s_v: what the visible side alone shows."
    )
    title = alt.TitleParams("Does a trained code hold c and nothing else?", subtitle=caption, anchor="start")
    chart = alt.layer(points, bars, mean).properties(width=140, height=220)
    return chart.facet(column=alt.Column("quantity:N", sort=order, title=None), title=title)


def main() -> None:
    ds = writing.opened(HERE)
    title = "The theory: what each hypothesis tests"
    writing.save(panels.figure(ds, HYPOTHESES, AXES, title, CAPTION), HERE, "evidence")
    writing.save(levels(ds), HERE, "levels")
    writing.save(recovery(ds), HERE, "recovery")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
