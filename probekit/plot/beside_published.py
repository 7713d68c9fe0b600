"""Published figures beside measured ones, where the same quantity was measured. Published series are hollow, dashed
and grey, and say so in their titles: other data, another model, and no intervals."""

from __future__ import annotations

import math
from dataclasses import asdict

from probekit.plot import published
from probekit.plot.curves import choice_axis, choice_panels
from probekit.plot.figure import Figure, Panel, channel, columns, domain, layer, tooltip
from probekit.plot.last_layer import split
from probekit.plot.legends import NOUN
from probekit.plot.rows import Results, Row

QUANTITIES = ("linear_accuracy", "robust_accuracy", "shape_bias", *published.AVERAGE_PRECISIONS)
GREY = "var(--soft)"


def figures(results: Results) -> list[Figure]:
    """One figure per quantity that the paper published and this file measured."""
    return [
        figure
        for name in QUANTITIES
        if name in results.names and results.measured(name) and (figure := beside(results, name))
    ]


def beside(results: Results, name: str) -> Figure | None:
    panels = []
    for data in results.where(name):
        for label, rows in split(results, name, data):
            title = f"Measured here: {', '.join(part for part in (data, label) if part)}"
            panels += choice_panels(results, name, rows, title=title, height=210)
    values = [asdict(value) for value in published.series(name)]
    panels.append(series_panel(results, name, [v for v in values if v["vit_patch"] == 16], "ratio"))
    by_patch = [value for value in values if value["vit_patch"] == 8]
    if by_patch:
        panels.append(series_panel(results, name, by_patch, "patch"))
    text = (
        f"Grey: published by {published.CITATION}, {published.SETUP}; not measured here, and published "
        "without intervals. Compare the course, not the height."
    )
    return Figure(
        f"published-{name}",
        f"{results.title(name)}: measured and published",
        panels,
        text,
        columns=columns(len(panels)),
    )


def series_panel(results: Results, name: str, rows: list[Row], key: str) -> Panel:
    """The published values along the ratio, or along the patch size at ratio 0.75."""
    ticks = sorted({row[key] for row in rows})
    several = len({row["test"] for row in rows}) > 1
    axis = choice_axis(key, ticks)
    if several:  # room for their names behind the last point
        end = ticks[-1] + 0.8 * (ticks[-1] - ticks[0]) if key == "ratio" else ticks[-1] * (ticks[-1] / ticks[0]) ** 0.8
        axis["scale"] |= {"domain": [ticks[0], end]}
    x = channel(f"{key}:Q", **axis)
    looks = {"title": results.axis_title(name), "scale": {"zero": False, "domain": domain(rows, pad=0.1)}}
    y = channel("value:Q", **looks)
    tips = tooltip(
        ("test:N", "Published, tested on", ""), ("ratio:Q", "Mask ratio", ""), ("patch:Q", "Patch size (px)", ""),
        ("vit_patch:Q", "ViT patch (px)", ""), ("value:Q", results.title(name), ".4~f"),
    )  # fmt: skip
    place = {"x": x, "y": y, "detail": channel("test:N")}
    layers = [
        layer("line", place, color=GREY, strokeDash=[5, 4]),
        layer("point", place | {"tooltip": tips}, color=GREY, size=44, strokeWidth=1.5, filled=False, opacity=1),
    ]
    if several:
        rows = rows + label_places(rows, key)
        names = place | {"y": channel("label:Q", **looks), "text": channel("test:N")}
        layers.append(layer("text", names, "isValid(datum.label)", color=GREY, align="left", dx=8, fontSize=10))
    fixed = "patch size 16 px" if key == "ratio" else f"ratio {rows[0]['ratio']:g}, ViT patch {rows[0]['vit_patch']} px"
    tests = "" if several else f" {rows[0]['test']},"
    title = f"Published:{tests} {fixed}"
    words = f"Published, not measured here: {results.title(name)} against {NOUN[key].lower()}, {len(rows)} values."
    return Panel(layers, rows, words, title, 210)


def label_places(rows: list[Row], key: str) -> list[Row]:
    """A row for the name of each series beside its last point, pushed upwards where two would overlap."""
    last = max(row[key] for row in rows)
    spread = max(row["value"] for row in rows) - min(row["value"] for row in rows)
    found: list[Row] = []
    for row in sorted((row for row in rows if row[key] == last), key=lambda row: row["value"]):
        lowest = found[-1]["label"] + 0.075 * spread if found else -math.inf
        found.append({key: last, "test": row["test"], "label": max(row["value"], lowest)})
    return found
