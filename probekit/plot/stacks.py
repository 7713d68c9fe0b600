"""Shares that sum to one, as stacked bars: the composition of each checkpoint's features."""

from __future__ import annotations

from probekit.plot import theme
from probekit.plot.figure import Figure, Json, Key, Panel, channel, either, in_lines, layer, tooltip, value
from probekit.plot.legends import SOFT, Colouring, colouring, kinds, with_kind
from probekit.plot.rows import Results, Row

TITLES = {"level": "Level", "rung": "Rung"}
WRITTEN = 12
"""Bars of up to so many checkpoints have their labels inside; of more, the first has."""
LETTER, PANEL = 7.0, 230.0
"""Pixels of a letter, and of the narrowest panel that labels are meant for."""


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
    caption = f"Shown: {words}. Dark is low, bright is high."
    if any(row["lower"] is not None for panel in panels for row in panel.rows):
        caption += " Intervals: in the table of all numbers."
    if len(panels) > 1:
        caption += " Each panel is one scaling of the features; what holds in one alone speaks of that scaling."
    labels = [str(label) for label in labels_of(results, dim)]
    legend = [Key(*one, group=TITLES.get(dim, dim)) for one in zip(labels, theme.ramp(len(labels)), strict=True)]
    return Figure(f"{name}-{data}", f"{results.title(name)}, {data}", panels, caption, legend, columns=len(panels))


def labels_of(results: Results, dim: str) -> list[str | int]:
    """The labels of `dim`, low to high."""
    found = results.labels(dim)
    return [label.item() if hasattr(label, "item") else label for label in found]


def share_panel(results: Results, name: str, rows: list[Row], dim: str, title: str) -> Panel:
    """Stacked bars of one scaling; checkpoints in order of grouping, then of family, setting and name. Before each bar
    stands the mark of its group or family, where there are several."""
    labels = labels_of(results, dim)
    rows = with_kind(results, [{**row, "place": labels.index(row[dim])} for row in rows])
    signs = kinds(results, rows) if results.by is None else colouring(results, rows, "by")
    told = results.by is not None or len({row["family"] for row in rows if not row["untrained"]}) > 1
    mean: dict[str, float] = {}
    for row in rows:
        mean[row["checkpoint"]] = mean.get(row["checkpoint"], 0.0) + row["place"] * row["value"]
    by = [value for value in signs.values if signs.key == "kind"]
    place = {
        row["checkpoint"]: (by.index(row["kind"]) if by else 0, str(row["by"]), row["setting_index"]) for row in rows
    }
    order = sorted(mean, key=lambda one: (place[one], one))
    written = order if len(order) <= WRITTEN else order[:1]
    rows = [
        {**row, "mark": str(row[dim]) if row["checkpoint"] in written and fits(row[dim], row["value"]) else ""}
        for row in rows
    ]
    y = channel("checkpoint:N", title=None, sort=order, axis={"labelLimit": 190, "labelPadding": 18 if told else 4})
    x = channel("value:Q", title=in_lines(results.title(name)), stack="zero", axis={"format": ".1f", "tickCount": 5})
    colour = channel(
        f"{dim}:O", title=TITLES.get(dim, dim), sort=labels, scale={"domain": labels, "range": theme.ramp(len(labels))}
    )
    tips = tooltip(
        ("checkpoint:N", "Checkpoint", ""), (f"{dim}:O", TITLES.get(dim, dim), ""), ("value:Q", "Share", ".3f")
    )
    stacked = {"x": x, "y": y, "order": channel("place:Q"), "tooltip": tips}
    layers = [layer("bar", stacked | {"color": colour}, height={"band": 0.8}, stroke="var(--paper)", strokeWidth=0.75)]
    ink = either(f"datum.place < {len(labels) / 2}", "var(--on)", "#14171b")
    inside = stacked | {"x": {**x, "bandPosition": 0.5}, "text": channel("mark:N"), "color": ink}
    layers.append(layer("text", inside, fontSize=10))
    layers += [sign_layer(y, signs)] if told and signs.order else []
    best = max(mean, key=lambda one: mean[one])
    words = f"{results.title(name)} of {len(mean)} checkpoints{', ' + title.lower() if title else ''}; highest: {best}."
    keys = tuple(signs.keys(shape=True, colour=SOFT)) if told and signs.order else ()
    return Panel(layers, rows, words, title, 18 * len(mean) + 30, shared_legend=True, keys=keys)


def fits(label: str | int, share: float) -> bool:
    """Whether a label has room in its part of a bar."""
    return share * PANEL > LETTER * len(str(label)) + 4


def sign_layer(y: Json, signs: Colouring) -> Json:
    """The mark of each checkpoint's group or family, between its name and its bar."""
    return layer(
        "point", {"x": value(-9), "y": y, **signs.shape()}, "datum.place === 0", filled=True, size=46, opacity=1,
        color=SOFT, clip=False,
    )  # fmt: skip
