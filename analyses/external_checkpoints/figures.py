"""Figures, numbers and verdicts of `external_checkpoints`, from results.nc alone.

python analyses/external_checkpoints/figures.py
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

import writing  # noqa: E402  (it lies beside this folder)
from evidence import Hypothesis, Line, text  # noqa: E402  (beside it)

IMAGES = {
    "ImageNet, train": 1_281_167, "ImageNet, validation": 50_000, "ImageNet-v2": 10_000, "ObjectNet": 18_574,
    "ImageNet-R": 30_000, "ImageNet-A": 7_500, "ImageNet-Sketch": 50_889, "cue conflict": 1_280,
    "reconstructions, with and without a mask": 100_000,
}  # fmt: skip
"""Forwards of one checkpoint: what Figures 5 to 8 and Tables 1 and 2 need, features in one pass."""
CELLS = {"ViT-B/16": 5, "ViT-B/8": 3}
"""The paper's grid: five ratios with a ViT patch of 16, three units with one of 8."""
EPOCHS = 800


def by_layer(ds: xr.Dataset, name: str, checkpoint: str) -> Values:
    """Layer -> accuracy."""
    found = ds[name].sel(checkpoint=checkpoint, pooling="mean").isel(data=0)
    found = found.sel(k=20) if "k" in found.dims else found
    return {float(layer): float(value) for layer, value in zip(found["layer"].values, found.values, strict=True)}


def alike(ds: xr.Dataset) -> Sequence[Line]:
    first, *others = map(str, ds["checkpoint"].values)
    return [
        Line(f"{words}, {other}", "alike", {one: by_layer(ds, name, one) for one in (first, other)}, margin=0.001)
        for name, words in (("linear_accuracy", "linear accuracy"), ("knn_accuracy", "k-NN accuracy"))
        for other in others
    ]


HYPOTHESES = (
    Hypothesis(
        "H1", "ours", "One encoder under the names of several projects reads alike from every file.", alike,
        "a format that is read otherwise; the stand-ins are written by us, not by those projects",
    ),
)  # fmt: skip


def hours(ds: xr.Dataset) -> list[list[str]]:
    """Core-hours of the paper's grid, measured and pretrained, by size of the ViT patch."""
    rows = []
    for cell, count in CELLS.items():
        each = {stage: float(ds["core_seconds"].sel(cell=cell, stage=stage)) for stage in ("forward", "step")}
        measured = each["forward"] * sum(IMAGES.values()) / 3600
        trained = each["step"] * IMAGES["ImageNet, train"] * EPOCHS / 3600
        numbers = [f"{each['forward']:.3f}", f"{each['step']:.3f}", f"{measured:,.0f}", f"{count * measured:,.0f}"]
        rows.append([cell, str(count), *numbers, f"{trained:,.0f}", f"{count * trained:,.0f}"])
    return rows


def numbers(ds: xr.Dataset) -> str:
    """The block that stands in the README."""
    names = list(zip(map(str, ds["checkpoint"].values), map(str, ds["format"].values), strict=True))
    formats = [[name, form, *accuracies(ds, name)] for name, form in names]
    head = [
        "ViT",
        "cells",
        "core-seconds a forward",
        "core-seconds a step",
        "core-hours to measure a cell",
        "all cells",
    ]
    head += [f"core-hours to pretrain a cell ({EPOCHS} epochs)", "all cells"]
    forwards = ", ".join(f"{name} {count:,}" for name, count in IMAGES.items())
    return (
        writing.table(["file", "read as", "linear accuracy, last layer", "k-NN accuracy, last layer"], formats)
        + f"\nForwards of one cell: {forwards}; {sum(IMAGES.values()):,} in all.\n\n"
        + writing.table(head, hours(ds))
        + "\n"
        + text(ds, HYPOTHESES, "layers")
    )


def accuracies(ds: xr.Dataset, name: str) -> list[str]:
    values = [by_layer(ds, variable, name) for variable in ("linear_accuracy", "knn_accuracy")]
    return [f"{one[max(one)]:.3f}" for one in values]


def chart(ds: xr.Dataset) -> alt.HConcatChart:
    """Accuracy over layers from each file, with intervals over images: one curve where all read alike."""
    parts = []
    for name, title in (("linear_accuracy", "linear accuracy"), ("knn_accuracy", "k-NN accuracy (k = 20)")):
        rows = []
        for file in map(str, ds["checkpoint"].values):
            bounds = ds[f"{name}_ci"].sel(checkpoint=file, pooling="mean").isel(data=0)
            bounds = bounds.sel(k=20) if "k" in bounds.dims else bounds
            for layer, value in by_layer(ds, name, file).items():
                low, high = (float(bounds.sel(layer=layer, bound=bound)) for bound in ("lower", "upper"))
                rows.append({"file": file, "layer": layer, "value": value, "lower": low, "upper": high})
        base = alt.Chart(pd.DataFrame(rows)).encode(x=alt.X("layer:O", title="layer (0 = embedding)"))
        offset = alt.XOffset("file:N", sort=list(map(str, ds["checkpoint"].values)))
        shape = alt.Shape("file:N", title="file", sort=list(map(str, ds["checkpoint"].values)))
        bars = base.mark_rule(color="#888").encode(
            y=alt.Y("lower:Q", title=f"{title} (share)"), y2="upper:Q", xOffset=offset
        )
        dots = base.mark_point(color="black", size=36).encode(y="value:Q", xOffset=offset, shape=shape)
        parts.append(alt.layer(bars, dots).properties(width=380, height=220))
    caption = [
        "One encoder in the formats of several projects, measured from each file on generated shapes; mean pooling.",
        "Bars: 95 % intervals over test images. Within a layer all files lie at the same height.",
    ]
    title = alt.TitleParams("Do checkpoints of other projects read alike?", subtitle=caption, anchor="start")
    return alt.hconcat(*parts, title=title)


def main() -> None:
    ds = writing.opened(HERE)
    writing.save(chart(ds), HERE, "formats")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
