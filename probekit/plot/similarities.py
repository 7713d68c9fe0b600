"""How alike checkpoints are: a heat map for each measure of similarity."""

from __future__ import annotations

from probekit.plot import theme
from probekit.plot.figure import Figure, Panel, channel, columns, either, fitting, layer, tooltip
from probekit.plot.rows import Results

NAME = "similarity"


def similarity_figure(results: Results, data: str) -> Figure | None:
    """One heat map of checkpoint by checkpoint for each metric, at the last layer."""
    if NAME not in results.names or data not in results.where(NAME) or len(results.checkpoints) < 2:
        return None
    rows = results.rows(NAME, data, keep=("other", "metric"))
    panels = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        cells = [row for row in rows if row["metric"] == metric]
        quiet = {"domain": False, "ticks": False, "labelLimit": 140}
        place = {
            "x": channel("other:N", title=None, sort=None, axis={"labelAngle": -40, **quiet}),
            "y": channel("checkpoint:N", title=None, sort=None, axis=quiet),
            "tooltip": tooltip(
                ("checkpoint:N", "Checkpoint", ""), ("other:N", "Other", ""), ("value:Q", "Similarity", ".3f")
            ),
        }
        scale = {"range": theme.HEAT, "domain": [0, 1], "clamp": True, "interpolate": "lab"}
        colour = channel("value:Q", title=None, legend=None, scale=scale)
        layers = [layer("rect", place | {"color": colour}, stroke="var(--paper)", strokeWidth=1)]
        names = {row["checkpoint"] for row in cells}
        if len(names) <= 12:
            ink = either("datum.value > 0.55", "#14171b", "#ffffff")
            size = fitting(11, len(names))
            layers.append(
                layer("text", place | {"text": channel("value:Q", format=".2f"), "color": ink}, fontSize=size)
            )
        title = str(metric).replace("_", " ")
        panels.append(
            Panel(layers, cells, f"Similarity by {title} of {len(names)} checkpoints.", title, 24 * len(names) + 60)
        )
    words = results.choose(NAME, keep=("other", "metric")).words
    caption = (
        f"Shown: {words}. 0 is what independent representations give, 1 is the same up to what the measure ignores."
    )
    return Figure(
        f"similarity-{data}", f"Similarity of checkpoints, {data}", panels, caption, columns=columns(len(panels))
    )
