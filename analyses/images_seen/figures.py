"""The figure of `images_seen`, from results.nc alone: writes images_seen.png beside it.

python analyses/images_seen/figures.py
"""

from __future__ import annotations

from pathlib import Path

import altair as alt
import pandas as pd
import xarray as xr

HERE = Path(__file__).parent


def rows(ds: xr.Dataset) -> pd.DataFrame:
    """One row a checkpoint: setting, seed, images seen, level with its interval over pairs."""
    level = ds.representation_level.sel(scaling="standardised", drop=True)
    interval = ds.representation_level_ci.sel(scaling="standardised", drop=True)
    frame = pd.DataFrame(
        {
            "ratio": ds.mask_ratio.to_numpy(),
            "patch": ds.patch_size.to_numpy(),
            "seed": ds.seed.to_numpy(),
            "images": ds.images_seen.to_numpy(),
            "level": level.to_numpy(),
            "lower": interval.sel(bound="lower").to_numpy(),
            "upper": interval.sel(bound="upper").to_numpy(),
        }
    )
    return frame


def chart(frame: pd.DataFrame) -> alt.VConcatChart:
    """Left: mask ratios at the smallest unit. Right: units at ratio 0.75. The rule is the untrained encoder."""
    trained = frame.dropna(subset=["ratio"])
    trained = trained.assign(
        setting=[f"{ratio:g}" for ratio in trained.ratio], unit=[f"{patch:g} px" for patch in trained.patch]
    )
    untrained = pd.DataFrame({"level": [frame[frame.images == 0].level.mean()]})
    panels = []
    for title, part, colour in (
        ("mask ratio, at patch size 4 px", trained[trained.patch == 4], "setting"),
        ("patch size, at mask ratio 0.75", trained[trained.ratio == 0.75], "unit"),
    ):
        order = list(dict.fromkeys(part.sort_values(["ratio", "patch"])[colour]))
        base = alt.Chart(part).encode(
            x=alt.X("images:Q", title="images seen", scale=alt.Scale(type="log", nice=False)),
            color=alt.Color(f"{colour}:N", title=title.split(",")[0], sort=order, scale=alt.Scale(scheme="viridis")),
            detail="seed:N",
        )
        y = alt.Y("level:Q", title="representation level", scale=alt.Scale(zero=False))
        bars = base.mark_rule(opacity=0.35).encode(y=alt.Y("lower:Q", title=""), y2="upper:Q")
        lines = base.mark_line(point=True).encode(y=y, strokeDash=alt.StrokeDash("seed:N", title="seed"))
        floor = alt.Chart(untrained).mark_rule(strokeDash=[2, 2], color="grey").encode(y="level:Q")
        panels.append(alt.layer(floor, bars, lines).properties(width=330, height=240, title=title))
    return alt.hconcat(*panels).resolve_scale(color="independent", y="shared")


if __name__ == "__main__":
    with xr.open_dataset(HERE / "results.nc", engine="h5netcdf") as ds:
        chart(rows(ds.load())).save(str(HERE / "images_seen.png"), scale_factor=2)
