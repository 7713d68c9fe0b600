"""One figure for every analysis: a panel for each line that a hypothesis tests.

Black and white by design: rings are runs, the black line joins the means over seeds, bars are their 95 % intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr
from evidence import Hypothesis, Line, mean_half

COLUMNS = 3


def figure(
    ds: xr.Dataset, hypotheses: Sequence[Hypothesis], axes: dict[str, str], title: str, caption: Sequence[str]
) -> alt.ConcatChart:
    """The panels of all lines.

    Args:
        ds: results.
        hypotheses: whose lines are drawn; lines without a number are left out.
        axes: beginning of a line's title -> its y axis with the unit; the title itself where none begins so.
        title: of the figure.
        caption: lines of text that stand alone: what was measured on what, and what bars and rings are.
    """
    panels = [
        panel(f"{one.name}: {line.title}", line, next((y for key, y in axes.items() if line.title.startswith(key)), ""))
        for one in hypotheses
        for line in one.lines(ds)
        if line.settings
    ]
    caption = [*caption, "Bars that are longer than a panel is high are cut."]
    head = alt.TitleParams(title, subtitle=caption, anchor="start", fontSize=15, subtitleFontSize=12)
    chart = alt.concat(*panels, columns=COLUMNS, title=head, background="white", spacing=24)
    return chart.configure_axis(labelFontSize=11, titleFontSize=11, grid=False).configure_title(fontSize=12)


def panel(title: str, line: Line, y: str) -> alt.LayerChart:
    """One line: runs, means, intervals between seeds. With two seeds these are wide: what leaves the panel is cut."""
    runs = pd.DataFrame(
        [{"setting": name, "value": value} for name, one in line.settings.items() for value in one.values()]
    )
    rows = []
    for name, one in line.settings.items():
        mean, half = mean_half(one)
        half = half if np.isfinite(half) else 0.0
        rows.append({"setting": name, "value": mean, "lower": mean - half, "upper": mean + half})
    order = list(line.settings)
    low, high = float(runs["value"].min()), float(runs["value"].max())
    room = 0.35 * (high - low) or max(abs(high), 1e-3) * 0.1
    scale = alt.Scale(domain=[low - room, high + room], zero=False, nice=False)
    x = alt.X("setting:N", sort=order, title=None, axis=alt.Axis(labelAngle=0 if len("".join(order)) < 40 else -30))
    at = alt.Y("value:Q", title=y or None, scale=scale, axis=alt.Axis(tickCount=5))
    means = alt.Chart(pd.DataFrame(rows))
    lower = alt.Y("lower:Q", title=y or None, scale=scale)
    bars = means.mark_rule(strokeWidth=1.5, color="black", clip=True).encode(x=x, y=lower, y2="upper:Q")
    joined = means.mark_line(color="black", strokeWidth=1.2, point=alt.OverlayMarkDef(color="black", size=28)).encode(
        x=x, y=at
    )
    rings = alt.Chart(runs).mark_point(filled=False, color="#666", size=42, strokeWidth=1).encode(x=x, y=at)
    return alt.layer(bars, joined, rings).properties(width=230, height=150, title=title)
