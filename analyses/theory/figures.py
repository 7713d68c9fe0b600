"""Figures of the theory, from levels.nc and recovery.nc alone: writes levels.png and recovery.png beside them.

python analyses/theory/figures.py
"""

from __future__ import annotations

from pathlib import Path

import altair as alt
import pandas as pd
import xarray as xr

HERE = Path(__file__).parent
KINDS = ["conservative", "ideal", "aggressive", "random"]
ENCODERS = ["smaller", "matched", "doubled", "untrained"]
FAMILIES = {"quadtree": "quadtree, height 4", "random": "random graphs, mean of 10"}


def levels(ds: xr.Dataset) -> alt.VConcatChart:
    """Binding level, mean height and information of c over the ratio, by patch size and strategy."""
    rows = []
    for name, title in (
        ("binding_level", "Binding level"),
        ("mean_height", "Mean height of c"),
        ("intrinsic_dimension", "Intrinsic dimension of c"),
    ):
        frame = ds[name].to_dataframe().reset_index().dropna(subset=[name])
        for bound in ("lower", "upper"):
            twin = ds[f"{name}_ci"].sel(bound=bound).drop_vars("bound").to_dataframe(name=bound).reset_index()
            frame = frame.merge(twin)
        frame["family"] = frame["family"].map(FAMILIES)
        scale = alt.Scale(zero=name != "mean_height")
        base = alt.Chart(frame).encode(
            x=alt.X("mask_ratio:Q", title="mask ratio", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "patch_size:O", title="patch size", scale=alt.Scale(range=["#4c78a8", "#e45756", "#54a24b"])
            ),
        )
        band = base.mark_area(opacity=0.2).encode(y=alt.Y("lower:Q", title=title, scale=scale), y2="upper:Q")
        line = base.mark_line(point=alt.OverlayMarkDef(size=18)).encode(y=alt.Y(f"{name}:Q", title=title, scale=scale))
        layer = alt.layer(band, line).properties(width=150, height=130)
        rows.append(
            layer.facet(column=alt.Column("panel:N", title=None, sort=None)).transform_calculate(
                panel="datum.family + ': ' + datum.strategy"
            )
        )
    return alt.vconcat(*rows).configure_header(labelFontSize=9).configure_axis(titleFontSize=10)


def recovery(ds: xr.Dataset) -> alt.HConcatChart:
    """What each mask's code holds: c against s_v, by encoder; and the share of the code that c explains."""
    found = ds.sel(mask=ds.c_dim > 0)
    frames = []
    for name, title in (("c_from_code", "c from code"), ("own_from_code", "noise of c from code"),
                        ("code_from_c", "code from c"), ("specific_from_code", "s_v from code")):  # fmt: skip
        frame = found[name].sel(regressor="nonlinear").to_dataframe(name="value").reset_index()
        frames.append(frame.assign(quantity=title))
    frames.append(found.share_of_c.to_dataframe(name="value").reset_index().assign(quantity="share of code from c"))
    frame = pd.concat(frames)
    frame["value"] = frame["value"].clip(lower=-0.1)
    order = ["c from code", "noise of c from code", "code from c", "share of code from c", "s_v from code"]
    base = alt.Chart(frame).encode(x=alt.X("encoder:N", sort=ENCODERS, title=None, axis=alt.Axis(labelAngle=-40)))
    y = alt.Y("value:Q", title="R² (kernel ridge) or share", scale=alt.Scale(domain=[-0.1, 1]))
    points = base.mark_circle(size=28, opacity=0.75).encode(
        y=y,
        xOffset=alt.XOffset("kind:N", sort=KINDS),
        color=alt.Color("kind:N", sort=KINDS, title="mask", scale=alt.Scale(scheme="tableau10")),
    )
    mean = base.mark_tick(color="black", thickness=2, width=24).encode(y=alt.Y("mean(value):Q"))
    chart = alt.layer(points, mean).properties(width=150, height=230)
    return alt.hconcat(chart.facet(column=alt.Column("quantity:N", sort=order, title=None)))


def main() -> None:
    for name, draw in (("levels", levels), ("recovery", recovery)):
        source = HERE / f"{name}.nc"
        if not source.exists():
            print(f"{source.name} is not there: `python analyses/theory/run.py {name}` writes it.")
            continue
        draw(xr.load_dataset(source, engine="h5netcdf")).save(HERE / f"{name}.png", scale_factor=1.4)


if __name__ == "__main__":
    main()
