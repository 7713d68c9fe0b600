"""Curves: a quantity against the training choice (ratio or patch size), and a quantity over the layers of each model.

Grids come in three shapes, and panels follow them: full (a panel for each patch size), crossed (all ratios at one
patch size and all patch sizes at one ratio: a panel for each of both lines), or unknown (one panel, coloured by
checkpoint).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probekit.plot import theme
from probekit.plot.figure import (
    HAS_INTERVAL,
    TRAINED,
    UNTRAINED,
    Figure,
    Json,
    Panel,
    channel,
    columns,
    domain,
    layer,
    number_fields,
    tooltip,
    value,
)
from probekit.plot.grids import Group, groups, in_grid
from probekit.plot.rows import Results, Row

NOUN = {"ratio": "Mask ratio", "patch": "Patch size (px)", "checkpoint": "Checkpoint"}
WHO = [("checkpoint:N", "Checkpoint", ""), ("setting:N", "Setting", "")]
SOFT = "var(--soft)"
BASELINE = "baseline"
"""What stands for the family of an untrained encoder."""
FEW = 12
"""Intervals of up to that many curves are drawn as bands; of more, they would cover each other and stay in the
table."""


@dataclass(frozen=True)
class Colouring:
    """Which field colours the marks, with a colour for each value."""

    key: str
    values: list[Any]
    colours: list[str]
    title: str = ""

    def encode(self) -> Json:
        scale = {"domain": self.values, "range": self.colours}
        return channel(f"{self.key}:N", title=self.title, scale=scale)  # as of shapes: one legend for both

    def shape(self) -> Json:
        """The channel that tells the same values by the shape of marks; none for a single value or too many."""
        if not 1 < len(self.values) <= len(theme.MARKS):
            return {}
        scale = {"domain": self.values, "range": list(theme.MARKS[: len(self.values)])}
        return {"shape": channel(f"{self.key}:N", title=self.title, scale=scale)}

    def dash(self) -> Json:
        """The channel that tells the same values by the dashes of lines; its legend is that of the colours."""
        if not 1 < len(self.values) <= len(theme.DASHES):
            return {}
        scale = {"domain": self.values, "range": [list(dash) for dash in theme.DASHES[: len(self.values)]]}
        return {"strokeDash": channel(f"{self.key}:N", title=self.title, scale=scale)}

    def legend(self) -> list[tuple[str, str]]:
        unit = {"ratio": "ratio {:g}", "patch": "{:g} px"}.get(self.key)
        return [
            (unit.format(value) if unit else str(value), colour)
            for value, colour in zip(self.values, self.colours, strict=True)
        ]


def colouring(results: Results, rows: Sequence[Row], key: str) -> Colouring:
    """Ratios get an ordered ramp, patch sizes and names get categories; beyond eight names, one colour for all. A
    ratio or patch size has the same colour in all charts of a report."""
    values = sorted({row[key] for row in rows if row[key] is not None and not row["untrained"]})
    if key == "by":
        every = sorted(
            {value for value in results.by_values if value is not None}, key=lambda one: (str(type(one)), one)
        )
        ordered = all(isinstance(value, float) for value in every)
        colours = theme.ramp(len(every)) if ordered else theme.categories(len(every))
        return Colouring(key, every, colours, str(results.by).replace("_", " ").capitalize())
    if key != "checkpoint":
        every = sorted(
            {value for c in results.checkpoints if not c.untrained and (value := getattr(c, key)) is not None}
        )
        colours = theme.ramp(len(every)) if key == "ratio" else theme.categories(len(every))
        return Colouring(key, values, [colours[every.index(value)] for value in values], NOUN[key])
    if len(values) > len(theme.CATEGORIES):
        return Colouring(key, values, [theme.CATEGORIES[0]] * len(values), NOUN[key])
    return Colouring(key, values, theme.CATEGORIES[: len(values)], NOUN[key])


def along(rows: Sequence[Row]) -> str | None:
    """What varies among rows: "ratio", else "patch", else None."""
    for key in ("ratio", "patch"):
        if len({row[key] for row in rows if row[key] is not None and not row["untrained"]}) > 1:
            return key
    return None


def dodge(rows: Sequence[Row], key: str, other: str) -> list[Row]:
    """Rows with a `place` beside their true position, so that dots of one setting don't cover each other."""
    values = sorted({row[key] for row in rows})
    members = sorted({(row[other] or 0, row["seed"] or 0) for row in rows})
    middle = (len(members) - 1) / 2
    out = []
    for row in rows:
        step = (members.index((row[other] or 0, row["seed"] or 0)) - middle) / max(middle, 1)
        place = row[key] + step * 0.014 * (values[-1] - values[0]) if key == "ratio" else row[key] * (1 + 0.03 * step)
        out.append({**row, "place": round(place, 5)})
    return out


def choice_axis(key: str, ticks: Sequence[float]) -> Json:
    """Ratios on a plain axis, patch sizes (which double) on a logarithmic one."""
    scale: Json = {"nice": False, "padding": 18} | ({"zero": False} if key == "ratio" else {"type": "log", "base": 2})
    return {"title": NOUN[key], "scale": scale, "axis": {"values": sorted(set(ticks)), "format": ".3~f", "grid": False}}


def choice_panels(
    results: Results,
    name: str,
    rows: Sequence[Row],
    *,
    grid: Sequence[Row] | None = None,
    title: str = "",
    height: int = 200,
) -> list[Panel]:
    """A quantity against the training choice, and a dot for every checkpoint that has no place there.

    Args:
        grid: the trained rows that may be compared by their masking; None for `in_grid` of all.
    """
    trained = [row for row in rows if not row["untrained"]]
    if results.by is not None:
        return [dot_panel(results, name, rows, title=title)]
    grid = in_grid(trained) if grid is None else grid
    key = along(grid)
    placed = [row for row in grid if key and row[key] is not None]
    rest = [row for row in trained if row not in placed]
    baseline = [row for row in rows if row["untrained"]]
    panel = choice_panel(results, name, [*placed, *baseline], title=title, height=height) if placed else None
    if panel is None:
        return [dot_panel(results, name, rows, title=title)]
    other = f"{title}, other checkpoints" if title else "Other checkpoints"
    return [panel, *([dot_panel(results, name, rest, title=other)] if rest else [])]


def choice_panel(
    results: Results, name: str, rows: Sequence[Row], *, title: str = "", height: int = 200
) -> Panel | None:
    """A quantity against the ratio (or patch size): a dot with interval per checkpoint, lines through seed means."""
    key = along(rows)
    if key is None:
        return None
    other = "patch" if key == "ratio" else "ratio"
    trained = dodge([row for row in rows if not row["untrained"] and row[key] is not None], key, other)
    bounds = domain(rows)
    baseline = labelled([row for row in rows if row["untrained"]], 14 / height * (bounds[1] - bounds[0]))
    looks = {
        "title": results.axis_title(name),
        "scale": {"domain": bounds, "zero": False},
        "axis": {"titleLimit": height - 10},
    }
    axis = choice_axis(key, [row[key] for row in trained])
    y, low, place = channel("value:Q", **looks), channel("lower:Q", **looks), channel("place:Q", **axis)
    colours = colouring(results, trained, other)
    colour = colours.encode() if len(colours.values) > 1 else value(theme.CATEGORIES[0])
    means = [{"aggregate": [{"op": "mean", "field": "value", "as": "value"}], "groupby": [key, other]}]
    tips = tooltip(*WHO, ("seed:Q", "Seed", ""), *number_fields(results.title(name)))
    line = {"x": channel(f"{key}:Q", **axis), "y": y, "color": colour, "detail": channel(f"{other}:O")}
    layers = [layer("line", line | colours.dash(), TRAINED, transform=means)]
    if any(row["lower"] is not None for row in trained):
        bars = {"x": place, "y": low, "y2": {"field": "upper"}, "color": colour}
        layers.append(layer("rule", bars, TRAINED, HAS_INTERVAL))
    dots = {"x": place, "y": y, "color": colour, "tooltip": tips, **colours.shape()}
    layers.append(layer("point", dots, TRAINED, size=44, opacity=1, filled=True))
    if baseline:
        layers.append(layer("rule", {"y": y, "tooltip": tips}, UNTRAINED, strokeDash=[3, 3], color=SOFT))
        names = {"y": y, "x": value(4), "text": channel("label:N")}
        halo = {"color": "var(--paper)", "stroke": "var(--paper)", "strokeWidth": 4, "strokeJoin": "round"}
        for look in (halo, {"color": SOFT}):
            layers.append(layer("text", names, UNTRAINED, **look, align="left", dy=-6, fontSize=10))
    words = (
        f"{title or results.title(name)} against {NOUN[key].lower()}: {len(trained)} checkpoints, {extremes(trained)}."
    )
    return Panel(layers, [*trained, *baseline], words, title, height)


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
    low, high = min(rows, key=lambda row: row["value"]), max(rows, key=lambda row: row["value"])
    return f"from {low['value']:.3g} ({low['setting']}) to {high['value']:.3g} ({high['setting']})"


def dot_panel(results: Results, name: str, rows: Sequence[Row], *, title: str = "", axis: str | None = None) -> Panel:
    """One dot per checkpoint: what is left to show when nothing is known about how they were masked."""
    looks = {
        "title": axis or results.axis_title(name),
        "scale": {"zero": False, "domain": domain(rows)},
        "axis": {"tickCount": 4, "titleLimit": 170},
    }
    order = [row["checkpoint"] for row in sorted(rows, key=lambda row: (_rank(row["by"]), -row["value"]))]
    y = channel("checkpoint:N", title=None, sort=order, axis={"labelLimit": 180})
    tips = tooltip(*WHO, *number_fields(results.title(name)))
    told = colouring(results, rows, "by") if results.by is not None else kinds(rows)
    colour = value("var(--c1)") if results.by is None else told.encode()
    rows = [{**row, "kind": row["family"] or BASELINE} for row in rows]
    layers = []
    if any(row["lower"] is not None for row in rows):
        bars = {"x": channel("lower:Q", **looks), "x2": {"field": "upper"}, "y": y, "color": colour}
        layers.append(layer("rule", bars, HAS_INTERVAL))
    dots = {"x": channel("value:Q", **looks), "y": y, "tooltip": tips, "color": colour, **told.shape()}
    layers.append(layer("point", dots, size=56, opacity=1, filled=True))
    words = f"{title or results.title(name)} of {len(rows)} checkpoints, {extremes(rows)}."
    return Panel(layers, list(rows), words, title, max(70, 24 * len(rows) + 20))


def kinds(rows: Sequence[Row]) -> Colouring:
    """Families of encoders on one axis, told apart by the shape of their marks; each of its own where there are few."""
    found = list(dict.fromkeys(row["family"] or BASELINE for row in rows))
    return Colouring("kind", found, theme.categories(len(found)), "Encoder")


def _rank(group: Any) -> tuple[bool, float, str]:
    """Order of groups: numbers by size, texts by the alphabet, the unknown last."""
    number = group if isinstance(group, float) else 0.0
    return group is None, number, "" if isinstance(group, float) else str(group)


def layer_rows(results: Results, name: str, data: str) -> tuple[list[Row], str]:
    """Rows over layers and the field for the x axis: the layer, or the relative depth where models differ in depth."""
    rows = results.rows(name, data, keep=("layer",))
    deepest: dict[str, float] = defaultdict(float)
    for row in rows:
        deepest[row["checkpoint"]] = max(deepest[row["checkpoint"]], row["layer"])
    if len(set(deepest.values())) <= 1:
        return rows, "layer"
    return [{**row, "depth": round(row["layer"] / (deepest[row["checkpoint"]] or 1), 4)} for row in rows], "depth"


def layer_panel(results: Results, name: str, group: Group, x_key: str, bounds: list[float], title: str) -> Panel:
    """Curves over layers, one per checkpoint, with bands where there are few."""
    rows = group.rows
    looks = {"title": results.axis_title(name), "scale": {"domain": bounds, "zero": False}}
    by_layer = x_key == "layer"
    ticks = sorted({int(row["layer"]) for row in rows})
    ticks = ticks[:: -(-len(ticks) // 13)]  # at most 13, evenly spaced
    axis = {"values": ticks, "format": "d"} if by_layer else {"format": ".1f", "tickCount": 6}
    x = channel(f"{x_key}:Q", title="Layer" if by_layer else "Relative depth", axis=axis, scale={"nice": False})
    y, detail = channel("value:Q", **looks), channel("checkpoint:N")
    colour = colouring(results, rows, group.key).encode()
    tips = tooltip(*WHO, ("layer:Q", "Layer", ""), *number_fields(results.title(name)))
    curves = {row["checkpoint"] for row in rows}
    trained = [row for row in rows if not row["untrained"]]
    layers = []
    if len(curves) <= FEW and any(row["lower"] is not None for row in trained):
        band = {"x": x, "y": channel("lower:Q", **looks), "y2": {"field": "upper"}, "color": colour, "detail": detail}
        layers.append(layer("area", band, TRAINED, HAS_INTERVAL, opacity=0.14))
    lines = {"x": x, "y": y, "color": colour, "detail": detail, "tooltip": tips[:2]}
    if trained:
        layers.append(layer("line", lines, TRAINED, strokeWidth=1.5))
    if trained and len(rows) <= 300:
        layers.append(layer("circle", {"x": x, "y": y, "color": colour, "tooltip": tips}, TRAINED, size=22, opacity=1))
    if any(row["untrained"] for row in rows):
        plain = {"x": x, "y": y, "detail": detail, "tooltip": tips[:2]}
        layers.append(layer("line", plain, UNTRAINED, strokeDash=[3, 3], color=SOFT, strokeWidth=1.5))
    words = f"{results.title(name)} over layers, {title or 'all checkpoints'}: {len(curves)} curves, {extremes(rows)}."
    return Panel(layers, rows, words, title, 190, shared_legend=True)


def layer_figure(results: Results, name: str) -> Figure | None:
    """All curves of one quantity over layers: panels for each image set and line of the grid; None with one layer."""
    panels: list[Panel] = []
    colourings: dict[str, list[Row]] = {}
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
            colourings.setdefault(group.key, []).extend(group.rows)
    if not panels:
        return None
    legend = [
        entry
        for key, rows in colourings.items()
        if len(colouring(results, rows, key).values) <= 8
        for entry in colouring(results, rows, key).legend()
    ]
    untrained = any(row["untrained"] for rows in colourings.values() for row in rows)
    legend += [("baseline, untrained (dashed)", SOFT)] if untrained else []
    choice = results.choose(name, keep=("layer",)).words
    caption = f"Shown: {choice}. " if choice else ""
    caption += interval_words(results, name, banded=banded)
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
    return ", ".join(
        [first[:1].upper() + first[1:], *(part[:1].lower() + part[1:] if part[:2] != "Vi" else part for part in rest)]
    )


def interval_words(results: Results, name: str, *, banded: bool = True) -> str:
    if results.interval(name) is None:
        return f"No interval: {results.no_interval(name)}."
    if any(dim in results.dims(name) for dim in ("head",)):
        return "The mean over heads has no interval in the file; each head's is in the table."
    return "Bands: 95 % interval of each checkpoint." if banded else "Intervals: in the table of all numbers."
