"""Curves: a quantity against the training choice (ratio or patch size), and a quantity over the layers of each model.

Grids come in three shapes, and panels follow them: full (a panel for each patch size), crossed (all ratios at one
patch size and all patch sizes at one ratio: a panel for each of both lines), or unknown (one panel, coloured by
checkpoint).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from probekit.plot import depths, theme
from probekit.plot.baselines import baselines_for
from probekit.plot.figure import (
    HAS_INTERVAL,
    TRAINED,
    UNTRAINED,
    Figure,
    Json,
    Key,
    Panel,
    bounded,
    channel,
    columns,
    domain,
    in_lines,
    layer,
    lowered,
    number_fields,
    tooltip,
    value,
)
from probekit.plot.grids import Group, groups, on_axis
from probekit.plot.legends import NOUN, SOFT, Colouring, colouring, kinds, with_kind
from probekit.plot.rows import Results, Row

WHO = [("checkpoint:N", "Checkpoint", ""), ("setting:N", "Setting", "")]
FEW = 12
"""Intervals of up to that many curves are drawn as bands; of more, they would cover each other and stay in the
table."""
FEW_DOTS = 300
"""Up to so many points, curves over layers have a mark at every layer."""


def dodge(rows: Sequence[Row], key: str, other: str) -> list[Row]:
    """Rows with a `place` beside their true position, so that dots of one setting don't cover each other."""
    values = sorted({row[key] for row in rows})
    members = sorted({_lane(row, other) for row in rows})
    middle = (len(members) - 1) / 2
    out = []
    for row in rows:
        step = (members.index(_lane(row, other)) - middle) / max(middle, 1)
        place = row[key] + step * 0.014 * (values[-1] - values[0]) if key == "ratio" else row[key] * (1 + 0.03 * step)
        out.append({**row, "place": round(place, 5)})
    return out


def _lane(row: Row, other: str) -> tuple[Any, ...]:
    return row["kind"], row[other] or 0, row["seed"] or 0


def choice_axis(key: str, ticks: Sequence[float]) -> Json:
    """Ratios on a plain axis, patch sizes (which double) on a logarithmic one."""
    scale: Json = {"nice": False, "padding": 18} | ({"zero": False} if key == "ratio" else {"type": "log", "base": 2})
    return {"title": NOUN[key], "scale": scale, "axis": {"values": sorted(set(ticks)), "format": ".3~f", "grid": False}}


def choice_panels(
    results: Results, name: str, rows: Sequence[Row], *, title: str = "", height: int = 200
) -> list[Panel]:
    """A quantity against the training choice, families of encoders on one axis, told apart by shape; and a dot for
    every checkpoint that has no place there."""
    trained = [row for row in rows if not row["untrained"]]
    key, placed = (None, []) if results.by is not None else on_axis(trained, len(theme.DASHES))
    if key is None:
        return [dot_panel(results, name, rows, title=title)]
    baseline = baselines_for(rows, placed)
    panel = choice_panel(results, name, with_kind(results, [*placed, *baseline]), key, title=title, height=height)
    there = {row["checkpoint"] for row in placed}
    rest = [row for row in trained if row["checkpoint"] not in there]
    if not rest:
        return [panel]
    other = f"{title}, other checkpoints" if title else "Other checkpoints"
    coloured = not any(one.label.endswith(" px") or one.label.startswith("ratio ") for one in panel.keys)
    return [panel, dot_panel(results, name, rest, title=other, coloured=coloured)]


def told(results: Results, rows: Sequence[Row], other: str) -> tuple[Colouring | None, Colouring | None]:
    """What colours the marks, and what tells them by shape and dash: families by shape where there are several, the
    other training choice by colour where it varies; each takes both where it is alone."""
    families, others = kinds(results, rows), colouring(results, rows, other)
    colours = others if others.several else families if families.several else None
    return colours, families if families.several else colours


def choice_panel(
    results: Results, name: str, rows: Sequence[Row], key: str, *, title: str = "", height: int = 200
) -> Panel:
    """A quantity against the ratio (or patch size): a dot with interval per checkpoint, lines through seed means."""
    other = "patch" if key == "ratio" else "ratio"
    trained = dodge([row for row in rows if not row["untrained"]], key, other)
    bounds = domain(rows)
    baseline = labelled([row for row in rows if row["untrained"]], 14 / height * (bounds[1] - bounds[0]))
    looks = {
        "title": in_lines(results.axis_title(name)),
        "scale": {"domain": bounds, "zero": False},
        "axis": {"titleLimit": height - 10},
    }
    axis = choice_axis(key, [row[key] for row in trained])
    y, low, place = channel("value:Q", **looks), channel("lower:Q", **looks), channel("place:Q", **axis)
    colours, signs = told(results, trained, other)
    colour = colours.encode() if colours else value(theme.CATEGORIES[0])
    means = [{"aggregate": [{"op": "mean", "field": "value", "as": "value"}], "groupby": [key, other, "kind"]}]
    tips = tooltip(*WHO, ("kind:N", "Encoder", ""), ("seed:Q", "Seed", ""), *number_fields(results.title(name)))
    apart: Json = {"detail": [channel(f"{other}:O"), channel("kind:N")], **(signs.dash() if signs else {})}
    line = {"x": channel(f"{key}:Q", **axis), "y": y, "color": colour, **apart}
    layers = [layer("line", line, TRAINED, transform=means)]
    if any(row["lower"] is not None for row in trained):
        bars = {"x": place, "y": low, "y2": {"field": "upper"}, "color": colour}
        layers.append(layer("rule", bars, TRAINED, HAS_INTERVAL))
    dots = {"x": place, "y": y, "color": colour, "tooltip": tips, **(signs.shape() if signs else {})}
    layers.append(layer("point", dots, TRAINED, size=44, opacity=1, filled=True))
    layers += baseline_layers(y, tips) if baseline else []
    words = (
        f"{title or results.title(name)} against {NOUN[key].lower()}: {len(trained)} checkpoints, {extremes(trained)}."
    )
    keys = entries(colours, signs, line=True)
    return Panel(layers, [*trained, *baseline], words, title, height, shared_legend=True, keys=keys)


def entries(colours: Colouring | None, signs: Colouring | None, *, line: bool) -> tuple[Key, ...]:
    """The legend of marks coloured by one field and shaped by the same or another."""
    if colours is None or signs is None:
        return ()
    if colours is signs:
        return tuple(colours.keys(shape=True, line=line))
    return *colours.keys(), *signs.keys(shape=True, line=line, colour=SOFT)


ROOM = {"expr": "width - 8"}
"""Pixels for the name of a baseline: a longer one would take the chart's own."""


def baseline_layers(y: Json, tips: list[Json]) -> list[Json]:
    """Baselines as level dashes with their names."""
    names = {"y": y, "x": value(4), "text": channel("label:N")}
    halo = {"color": "var(--paper)", "stroke": "var(--paper)", "strokeWidth": 4, "strokeJoin": "round"}
    dashes = layer("rule", {"y": y, "tooltip": tips}, UNTRAINED, strokeDash=[3, 3], color=SOFT)
    return [dashes, *(layer("text", names, UNTRAINED, **look, align="left", dy=-6, fontSize=10, limit=ROOM)
                      for look in (halo, {"color": SOFT}))]  # fmt: skip


def labelled(baseline: Sequence[Row], least: float) -> list[Row]:
    """Baselines with a `label`; those less than `least` apart share one, at the highest of them."""
    ordered = sorted(baseline, key=lambda row: row["value"], reverse=True)
    out: list[Row] = []
    for row in ordered:
        if out and out[-1]["value"] - row["value"] < least:
            top = next(other for other in reversed(out) if other["label"])
            top["label"] = ", ".join(dict.fromkeys([*top["label"].split(", "), row["setting"]]))
            out.append({**row, "label": ""})
        else:
            out.append({**row, "label": row["setting"]})
    return out


def extremes(rows: Sequence[Row]) -> str:
    """The highest and the lowest row in words, for the text that stands for a chart."""
    if not rows:  # numbers whose mean over seeds is not finite
        return "no finite number"
    low, high = min(rows, key=lambda row: row["value"]), max(rows, key=lambda row: row["value"])
    return f"from {low['value']:.3g} ({low['setting']}) to {high['value']:.3g} ({high['setting']})"


def dot_panel(
    results: Results, name: str, rows: Sequence[Row], *, title: str = "", axis: str | None = None, coloured: bool = True
) -> Panel:
    """One dot per checkpoint: what is left to show when nothing is known about how they were masked.

    Args:
        coloured: whether families differ in colour too, which a chart beside this one may need for something else.
    """
    looks = {
        "title": axis or in_lines(results.axis_title(name)),
        "scale": {"zero": False, "domain": domain(rows)},
        "axis": {"tickCount": 4, "titleLimit": 170},
    }
    order = [row["checkpoint"] for row in sorted(rows, key=lambda row: (_rank(row["by"]), -row["value"]))]
    y = channel("checkpoint:N", title=None, sort=order, axis={"labelLimit": 180})
    tips = tooltip(*WHO, *number_fields(results.title(name)))
    rows = with_kind(results, rows)
    signs = colouring(results, rows, "by") if results.by is not None else kinds(results, rows)
    coloured = results.by is not None or (coloured and bool(signs.order))
    colour = signs.encode() if coloured else value(theme.CATEGORIES[0])
    layers = []
    if any(row["lower"] is not None for row in rows):
        bars = {"x": channel("lower:Q", **looks), "x2": {"field": "upper"}, "y": y, "color": colour}
        layers.append(layer("rule", bars, HAS_INTERVAL))
    dots = {"x": channel("value:Q", **looks), "y": y, "tooltip": tips, "color": colour, **signs.shape()}
    layers.append(layer("point", dots, size=56, opacity=1, filled=True))
    words = f"{title or results.title(name)} of {len(rows)} checkpoints, {extremes(rows)}."
    keys = signs.keys(shape=True, colour="" if coloured else SOFT) if signs.order or results.by is not None else []
    height = max(70, 24 * len(rows) + 20)
    return Panel(layers, rows, words, title, height, shared_legend=True, keys=tuple(keys))


def _rank(group: Any) -> tuple[bool, float, str]:
    """Order of groups: numbers by size, texts by the alphabet, the unknown last."""
    number = group if isinstance(group, float) else 0.0
    return group is None, number, "" if isinstance(group, float) else str(group)


def layer_rows(results: Results, name: str, data: str) -> tuple[list[Row], str]:
    """Rows over layers and the field for the x axis: the layer, or the relative depth where models differ in depth."""
    rows = results.rows(name, data, keep=("layer",))
    index = {one.name: one.index for one in results.checkpoints}
    layers = {label: at for at, label in enumerate(results.labels("layer"))}
    known = depths.relative(results.ds)

    def place(row: Row) -> int:
        return index[str(row["twin_of"] if "twin_of" in row else row["checkpoint"])]

    def depth(row: Row) -> float:
        found, last = known[place(row), layers[row["layer"]]], results.labels("layer")[results.deepest[place(row)]]
        return float(found) if np.isfinite(found) else row["layer"] / (last or 1)

    if len({int(results.deepest[place(row)]) for row in rows}) <= 1:
        return rows, "layer"
    return [{**row, "depth": round(depth(row), 4)} for row in rows], "depth"


def layer_panel(results: Results, name: str, group: Group, x_key: str, bounds: list[float], title: str) -> Panel:
    """Curves over layers, one per checkpoint, with bands where there are few."""
    rows = group.rows
    looks = {"title": in_lines(results.axis_title(name)), "scale": {"domain": bounds, "zero": False}}
    by_layer = x_key == "layer"
    ticks = sorted({int(row["layer"]) for row in rows})
    ticks = ticks[:: -(-len(ticks) // 13)]  # at most 13, evenly spaced
    axis = {"values": ticks, "format": "d"} if by_layer else {"format": ".1f", "tickCount": 6}
    x = channel(f"{x_key}:Q", title="Layer" if by_layer else "Relative depth", axis=axis, scale={"nice": False})
    y, detail = channel("value:Q", **looks), channel("checkpoint:N")
    signs = colouring(results, rows, group.key)
    colour = signs.encode()
    tips = tooltip(*WHO, ("layer:Q", "Layer", ""), *number_fields(results.title(name)))
    curves = {row["checkpoint"] for row in rows}
    trained = [row for row in rows if not row["untrained"]]
    layers = []
    if len(curves) <= FEW and any(row["lower"] is not None for row in trained):
        band = {"x": x, "y": channel("lower:Q", **looks), "y2": {"field": "upper"}, "color": colour, "detail": detail}
        layers.append(layer("area", band, TRAINED, HAS_INTERVAL, opacity=0.14))
    lines = {"x": x, "y": y, "color": colour, "detail": detail, "tooltip": tips[:2]}
    if trained:
        layers.append(layer("line", lines | signs.dash(), TRAINED, strokeWidth=1.5))
    if trained and len(rows) <= FEW_DOTS:
        dots = {"x": x, "y": y, "color": colour, "tooltip": tips, **signs.shape()}
        layers.append(layer("point", dots, TRAINED, filled=True, size=26, opacity=1))
    if any(row["untrained"] for row in rows):
        plain = {"x": x, "y": y, "detail": detail, "tooltip": tips[:2]}
        layers.append(layer("line", plain, UNTRAINED, strokeDash=[3, 3], color=SOFT, strokeWidth=1.5))
    words = f"{results.title(name)} over layers, {title or 'all checkpoints'}: {len(curves)} curves, {extremes(rows)}."
    keys = signs.keys(shape=len(rows) <= FEW_DOTS, line=True) if signs.readable else []
    return Panel(layers, rows, words, title, 190, shared_legend=True, keys=tuple(keys))


def layer_figure(results: Results, name: str) -> Figure | None:
    """All curves of one quantity over layers: panels for each image set and line of the grid; None with one layer."""
    panels: list[Panel] = []
    sets = results.where(name)
    banded = True
    for data in sets:
        rows, x_key = layer_rows(results, name, data)
        if len({row[x_key] for row in rows}) < 2:
            continue
        bounds = domain(rows)
        for group in groups(rows):
            title = ", ".join(part for part in ((data if len(sets) > 1 else ""), group.title) if part)
            panels.append(layer_panel(results, name, group, x_key, bounds, sentence(title)))
            banded &= len({row["checkpoint"] for row in group.rows}) <= FEW
    if not panels:
        return None
    untrained = any(row["untrained"] for panel in panels for row in panel.rows)
    legend = [Key("baseline, untrained", SOFT, dash=(3, 3))] if untrained else []
    choice = results.choose(name, keep=("layer",)).words
    caption = f"Shown: {choice}. " if choice else ""
    caption += interval_words(results, name, panels, banded=banded)
    return Figure(
        f"layers-{name}",
        f"{results.title(name)} over layers",
        panels,
        caption,
        legend,
        columns=columns(len(panels)),
    )


def sentence(title: str) -> str:
    """Parts joined by commas, with one capital at the start."""
    first, *rest = title.split(", ")
    return ", ".join([first[:1].upper() + first[1:], *map(lowered, rest)])


def interval_words(results: Results, name: str, panels: Sequence[Panel], *, banded: bool = True) -> str:
    """How panels show the intervals of a quantity, or why they have none."""
    if not any(row["lower"] is not None for panel in panels for row in panel.rows):
        return f"No interval: {why_none(results, name)}."
    drawn = banded and bounded(panels)
    return "Bands: 95 % interval of each checkpoint." if drawn else "Intervals: in the table of all numbers."


def why_none(results: Results, name: str) -> str:
    """Why the numbers that are shown of a quantity have no interval."""
    if results.interval(name) is None:
        return results.no_interval(name)
    if results.choose(name).averaged:
        return "the mean over heads has none in the file, each head's is in the table"
    return "the file has none of these numbers"
