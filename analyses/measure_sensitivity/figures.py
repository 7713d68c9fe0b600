"""The figure and the tables of `measure_sensitivity`, from results.nc alone.

python analyses/measure_sensitivity/figures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from probekit.measures.inference import rank_correlation

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)


def by_setting(ds: xr.Dataset) -> tuple[list[str], np.ndarray]:
    """Names of the settings, and means over their runs: (readings, settings)."""
    pairs = list(zip(ds.mask_ratio.values.tolist(), ds.patch_size.values.tolist(), strict=True))
    settings = sorted(set(pairs), key=lambda pair: (pair[1], pair[0]))
    means = [ds.value.values[:, [one == setting for one in pairs]].mean(axis=1) for setting in settings]
    return [f"{ratio:g}, {unit:g} px" for ratio, unit in settings], np.stack(means, axis=1)


def last(ds: xr.Dataset) -> list[str]:
    """The readings at the last layer, and those that have one layer."""
    layers = {int(name.split("layer ")[1]) for name in ds.reading.values.tolist() if "layer " in name}
    return [name for name in ds.reading.values.tolist() if "layer " not in name or f"layer {max(layers)}" in name]


def correlations(ds: xr.Dataset, names: list[str]) -> np.ndarray:
    """Rank correlation of every reading with every other over the settings; NaN where one has no number."""
    place = [ds.reading.values.tolist().index(name) for name in names]
    means = by_setting(ds)[1][place]
    return np.array([[rank_correlation(a, b) if np.isfinite(a + b).all() else np.nan for b in means] for a in means])


def numbers(ds: xr.Dataset) -> str:
    """The tables that stand in the README."""
    names, (settings, means) = last(ds), by_setting(ds)
    short = {name: name.rsplit(", layer", 1)[0] for name in names}
    reference = next(name for name in names if name.startswith("recovery, 512 landmarks, amount"))
    with_it = correlations(ds, names)[names.index(reference)]
    rows = []
    for name, rank in zip(names, with_it, strict=True):
        values = means[ds.reading.values.tolist().index(name)]
        rows.append([short[name], *(f"{one:.2f}" for one in values), f"{rank:+.2f}" if np.isfinite(rank) else ""])
    out = writing.table(["reading (last layer)", *settings, "rank correlation with the amount"], rows)
    levels = ds.level.values.tolist()
    columns = [f"{cell}, level {level}" for cell in ds.cell.values.tolist() for level in levels]
    table = [
        [str(name), *(f"{value:.3f}" for value in ds.regressor_r2.sel(regressor=name).values.ravel())]
        for name in ds.regressor.values
    ]
    return out + "\n" + writing.table(["regressor, from all patch tokens averaged", *columns], table)


def chart(ds: xr.Dataset) -> alt.LayerChart:
    """Rank correlation of every reading with every other."""
    names = last(ds)
    short = [name.rsplit(", layer", 1)[0] for name in names]
    found = correlations(ds, names)
    data = pd.DataFrame(
        [
            {"a": short[i], "b": short[j], "rank correlation": found[i, j]}
            for i in range(len(names))
            for j in range(len(names))
        ]
    )
    title = alt.TitleParams(
        "Do two readings order the settings alike?",
        subtitle=["Rank correlation over seven settings of the quadtree grid (means over seeds), last layer."],
        anchor="start",
    )
    at = {"sort": short, "title": None}
    base = alt.Chart(data).encode(
        x=alt.X("a:N", axis=alt.Axis(labelAngle=-60, labelLimit=260), **at),
        y=alt.Y("b:N", axis=alt.Axis(labelLimit=260), **at),
    )
    scale = alt.Scale(scheme="greys", domain=[-1, 1])
    boxes = base.mark_rect().encode(color=alt.Color("rank correlation:Q", scale=scale))
    words = base.mark_text(fontSize=8).encode(
        text=alt.Text("rank correlation:Q", format="+.1f"),
        color=alt.condition("datum['rank correlation'] > 0.2", alt.value("white"), alt.value("black")),
    )
    return (boxes + words).properties(width=alt.Step(24), height=alt.Step(18), title=title, background="white")


def main() -> None:
    ds = writing.opened(HERE)
    writing.save(chart(ds), HERE, "agreement")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
