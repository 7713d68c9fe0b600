"""The figure and the table of `coverage`, from results.nc alone.

python analyses/coverage/figures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import altair as alt
import pandas as pd
import xarray as xr

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

LOW, HIGH = 0.93, 0.97
"""What an interval of 95 % is held to."""


def rows(ds: xr.Dataset) -> list[dict[str, object]]:
    """One row for each case, in the order of the results."""
    table = ds.reset_coords()
    return [
        {
            "words": f"{table.words.values[i]}, n = {table.images.values[i]}",
            "covers": str(table.covers.values[i]),
            "why": str(table.why.values[i]),
            "coverage": float(ds.coverage[i]),
            "lower": float(ds.coverage_ci[i, 0]),
            "upper": float(ds.coverage_ci[i, 1]),
            "simulations": int(ds.simulations[i]),
        }
        for i in range(ds.sizes["case"])
    ]


def numbers(ds: xr.Dataset) -> str:
    """The table that stands in the README."""
    found = rows(ds)
    cells = [
        [
            str(one["words"]),
            ", ".join(f"`{name}`" for name in str(one["covers"]).split()),
            f"{one['coverage']:.1%} ({one['lower']:.1%} to {one['upper']:.1%})",
            str(one["simulations"]),
        ]
        for one in found
    ]
    out = writing.table(["simulated", "stands for", "coverage of 95 % (its own 95 %)", "simulations"], cells)
    outside = [one for one in found if not LOW <= float(str(one["coverage"])) <= HIGH]
    out += f"\n{len(found) - len(outside)} of {len(found)} cases lie within 93 to 97 %. The others:\n\n"
    return out + "".join(f"- {one['words']}: {one['coverage']:.1%}. {one['why']}\n" for one in outside)


def chart(ds: xr.Dataset) -> alt.LayerChart:
    """Coverage of every case, with the band that intervals are held to."""
    data = pd.DataFrame(rows(ds))
    y = alt.Y("words:N", sort=data["words"].tolist(), title=None, axis=alt.Axis(labelLimit=340))
    scale = alt.Scale(domain=[0.85, 1])
    x = alt.X("coverage:Q", title="share of 95 % intervals that hold the truth", scale=scale, axis=alt.Axis(format="%"))
    band = (
        alt.Chart(pd.DataFrame({"low": [LOW], "high": [HIGH]}))
        .mark_rect(color="#dddddd")
        .encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    )
    bars = alt.Chart(data).mark_rule(color="black").encode(y=y, x=alt.X("lower:Q", scale=scale), x2="upper:Q")
    points = alt.Chart(data).mark_point(color="black", filled=True, opacity=1).encode(y=y, x=x)
    title = alt.TitleParams(
        "Coverage of the suites' intervals, by simulation",
        subtitle=["Points: share that holds the truth; bars: its own 95 % (Wilson); grey: 93 to 97 %."],
        anchor="start",
    )
    return (band + bars + points).properties(width=420, height=alt.Step(15), title=title, background="white")


def main() -> None:
    ds = writing.opened(HERE)
    writing.save(chart(ds), HERE, "coverage")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
