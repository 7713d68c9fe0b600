"""Shares that sum to one, as stacked bars: what the features of each checkpoint are made of."""

from __future__ import annotations

from probekit.plot import theme
from probekit.plot.figure import Figure, Panel, channel, layer, tooltip
from probekit.plot.rows import Results, Row

TITLES = {"level": "Level", "rung": "Rung"}


def share_figure(results: Results, name: str, dim: str, data: str) -> Figure | None:
    """A panel of stacked bars for each scaling of the features: a bar per checkpoint, a colour per label of `dim`."""
    if name not in results.names or data not in results.where(name) or dim not in results.dims(name):
        return None
    scalings = results.labels("scaling") if "scaling" in results.dims(name) else [None]
    if "scaling" in results.shown:
        scalings = [results.shown["scaling"]]
    panels = []
    for scaling in scalings:
        kept = (dim,) if scaling is None else (dim, "scaling")
        rows = [row for row in results.rows(name, data, keep=kept) if scaling in (None, row.get("scaling"))]
        if rows:
            panels.append(share_panel(results, name, rows, dim, "" if scaling is None else str(scaling).capitalize()))
    if not panels:
        return None
    words = results.choose(name, keep=(dim, "scaling")).words
    caption = f"Shown: {words}. Dark is low, bright is high. Intervals: in the table of all numbers."
    if len(panels) > 1:
        caption += " Each panel is one scaling of the features; what holds in one alone speaks of that scaling."
    legend = list(
        zip((str(label) for label in labels_of(results, name, dim)), colours(results, name, dim), strict=True)
    )
    return Figure(f"{name}-{data}", f"{results.title(name)}, {data}", panels, caption, legend, columns=len(panels))


def labels_of(results: Results, name: str, dim: str) -> list[str | int]:
    """The labels of `dim`, low to high."""
    found = results.labels(dim)
    return [label.item() if hasattr(label, "item") else label for label in found]


def colours(results: Results, name: str, dim: str) -> list[str]:
    return theme.ramp(len(labels_of(results, name, dim)))


def share_panel(results: Results, name: str, rows: list[Row], dim: str, title: str) -> Panel:
    """Stacked bars of one scaling; checkpoints in order of grouping, then of the mean label."""
    labels = labels_of(results, name, dim)
    rows = [{**row, "place": labels.index(row[dim])} for row in rows]
    mean: dict[str, float] = {}
    for row in rows:
        mean[row["checkpoint"]] = mean.get(row["checkpoint"], 0.0) + row["place"] * row["value"]
    settings = {row["checkpoint"]: (str(row["by"]), row["setting_index"]) for row in rows}
    order = sorted(mean, key=lambda one: (settings[one], one))
    y = channel("checkpoint:N", title=None, sort=order, axis={"labelLimit": 190})
    x = channel("value:Q", title=results.title(name), stack="zero", axis={"format": ".1f", "tickCount": 5})
    colour = channel(
        f"{dim}:O", title=TITLES.get(dim, dim), sort=labels, scale={"domain": labels, "range": theme.ramp(len(labels))}
    )
    tips = tooltip(
        ("checkpoint:N", "Checkpoint", ""), (f"{dim}:O", TITLES.get(dim, dim), ""), ("value:Q", "Share", ".3f")
    )
    bars = {"x": x, "y": y, "color": colour, "order": channel("place:Q"), "tooltip": tips}
    best = max(mean, key=lambda one: mean[one])
    words = f"{results.title(name)} of {len(mean)} checkpoints{', ' + title.lower() if title else ''}; highest: {best}."
    return Panel(
        [layer("bar", bars, height={"band": 0.8})], rows, words, title, 18 * len(mean) + 30, shared_legend=True
    )
