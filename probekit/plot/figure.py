"""A figure: one or more panels (Vega-Lite charts), a title, what it shows in words, and a caption.

Panels are separate charts in a CSS grid rather than one facetted chart, so that they reflow from four columns on a wide
screen to one on a telephone. A report has up to a hundred of them, and Altair takes 0.1 s for each to check and copy
what ends as plain JSON; so the JSON is written here directly, and the tests check every chart with Altair against the
schema of Vega-Lite.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from probekit.errors import printable
from probekit.plot import theme
from probekit.plot.rows import Row

Json = dict[str, Any]
SCHEMA_URL = "https://vega.github.io/schema/vega-lite/v6.json"
ROWS = "rows"
"""Name of a panel's data source, so that the page can exchange its rows."""
HIDDEN = "hidden"
"""Name of the Vega signal that lists the checkpoints switched off in the page."""
TOLD_BY = ("color", "shape", "strokeDash")
"""Channels that have a legend."""
KINDS = {"Q": "quantitative", "N": "nominal", "O": "ordinal"}
TRAINED = "!datum.untrained"
UNTRAINED = "datum.untrained"
HAS_INTERVAL = "isValid(datum.lower)"
NAMED = ("ViT", "Fourier", "Theorem")
"""Words that keep their capital within a sentence."""


def channel(shorthand: str, **options: Any) -> Json:
    """An encoding channel from "field:Q" (or N, O) and Vega-Lite's options of it."""
    name, kind = shorthand.rsplit(":", 1)
    return {"field": name, "type": KINDS[kind], **options}


def layer(kind: str, encoding: Json, *where: str, transform: Sequence[Json] = (), **look: Any) -> Json:
    """One layer: a mark with its look, its channels, and the filter expressions that pick its rows."""
    made: Json = {"mark": {"type": kind, **look}, "encoding": encoding}
    steps = [{"filter": expression} for expression in where] + list(transform)
    return made | ({"transform": steps} if steps else {})


def value(constant: Any) -> Json:
    return {"value": constant}


def either(test: str, then: str, otherwise: str) -> Json:
    """A colour that depends on the row."""
    return {"condition": {"test": test, "value": then}, "value": otherwise}


def lines(text: str, width: int) -> list[str]:
    """A text in lines of at most `width` characters, but for longer words."""
    return textwrap.wrap(text, width, break_long_words=False)


def in_lines(text: str, width: int = 26) -> str | list[str]:
    """An axis title in lines of about `width` characters, where it is longer than one."""
    return text if len(text) <= width else lines(text, width)


def fitting(most: float, columns: int, letters: float = 4) -> Json:
    """A font size with which so many letters fit into each of the columns of a heat map, however wide it is drawn."""
    return {"expr": f"min({most:g}, width / {columns} / {0.62 * letters:g})"}


def tooltip(*fields: tuple[str, str, str]) -> list[Json]:
    """(field, title, format) triples; an empty format for text."""
    return [channel(name, title=title, **({"format": form} if form else {})) for name, title, form in fields]


def number_fields(title: str) -> list[tuple[str, str, str]]:
    return [("value:Q", title, ".4~g"), ("lower:Q", "95 % from", ".4~g"), ("upper:Q", "95 % to", ".4~g")]


def lowered(title: str) -> str:
    """A title within a sentence: its first letter small, unless the first word is an abbreviation or a symbol.

    >>> lowered("Ladder level"), lowered("SSIM, hidden pixels"), lowered("RankMe"), lowered("R² of latents")
    ('ladder level', 'SSIM, hidden pixels', 'RankMe', 'R² of latents')
    """
    first = title.split(" ")[0].strip(",;:")
    plain = first[1:].replace("-", "").isalpha() and first[1:].islower()
    return title[:1].lower() + title[1:] if plain and not first.startswith(NAMED) else title


def domain(
    rows: Iterable[Row], keys: tuple[str, ...] = ("value", "lower", "upper"), *, pad: float = 0.04
) -> list[float]:
    """A common axis range for panels that are to be compared: the data's, a little wider."""
    values = [row[key] for row in rows for key in keys if row.get(key) is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * pad if high > low else abs(high) * 0.1 or 1.0
    return [low - room, high + room]


@dataclass(frozen=True)
class Key:
    """An entry of a legend: its text, and how its marks look; a bare patch of colour without shape and line."""

    label: str
    colour: str
    shape: str = ""
    dash: tuple[float, ...] | None = None
    """Of a line; (1, 0) for a solid one, None where there is no line."""
    group: str = ""
    """What the entries of one kind have in common, where their texts do not say so."""

    @property
    def outline(self) -> str:
        """SVG path of the shape around 0, 0; "" where there is none."""
        return theme.OUTLINES.get(self.shape, "")

    @property
    def dashes(self) -> str:
        """The dash as SVG writes it."""
        return "" if self.dash in (None, (1, 0)) else " ".join(f"{step:g}" for step in self.dash or ())


@dataclass(frozen=True)
class Panel:
    """One chart: layers over `rows`, and words that stand for it. With `shared_legend` the page shows the figure's
    legend, which has the `keys` of all its panels, once in place of each panel's."""

    layers: list[Json]
    rows: list[Row]
    alt: str
    title: str = ""
    height: int = 220
    shared_legend: bool = False
    keys: tuple[Key, ...] = ()

    def spec(self) -> Json:
        """The specification for the page: as wide as its container, without what is switched off."""
        config = theme.config() | ({"legend": {"disable": True}} if self.shared_legend else {})
        return {
            "$schema": SCHEMA_URL,
            "description": self.alt,
            "width": "container",
            "height": self.height,
            "autosize": {"type": "fit-x", "contains": "padding"},
            "config": config,
            "params": [{"name": HIDDEN, "value": []}],
            "data": {"name": ROWS},
            "transform": [{"filter": f"indexof({HIDDEN}, datum.checkpoint) < 0"}],
            "layer": safe(self.layers),
            "datasets": {ROWS: safe_rows(self.rows)},
        }

    def file_spec(self, width: int = 420) -> Json:
        """The specification for a file: of fixed width, with its legend, titled, in concrete colours."""
        spec = self.spec() | {"width": width, "autosize": {"type": "pad"}, "config": theme.config()}
        if self.title:
            spec["title"] = self.title
        return theme.concrete(spec)

    def chart_spec(self, width: int = 320) -> Json:
        """The specification as a part of a larger chart: of fixed width, with its rows inside, without the page's
        switches."""
        spec: Json = {"description": self.alt, "width": width, "height": self.height, "layer": safe(self.layers)}
        return spec | {"data": {"values": safe_rows(self.rows)}} | ({"title": self.title} if self.title else {})


def safe(part: Any) -> Any:
    """A part of a specification whose texts can do no harm: control characters are made visible, and backslashes in
    titles look like themselves but are others. Vega-Lite puts titles into expressions, where a backslash of a unit such
    as `$\\xi$` is a syntax error.
    """
    text = json.dumps(part, ensure_ascii=False)  # has a backslash for each of them below a space, and for a quote
    return _harmless(part) if "\\" in text or printable(text) != text else part


def _harmless(part: Any, *, title: bool = False) -> Any:
    if isinstance(part, str):
        return printable(part, line=True).replace("\\", "\N{SET MINUS}") if title else _printable(part)
    if isinstance(part, dict):
        return {key: _harmless(inner, title=key == "title") for key, inner in part.items()}
    return [_harmless(inner, title=title) for inner in part] if isinstance(part, list) else part


_printable = cache(printable)
"""The same names stand in thousands of rows."""


def safe_rows(rows: list[Row]) -> list[Row]:
    """`safe` of rows, whose values are numbers and texts."""
    texts = {one for row in rows for one in row.values() if isinstance(one, str)}
    if all(_printable(text) == text for text in texts):
        return rows
    return [{key: _printable(one) if isinstance(one, str) else one for key, one in row.items()} for row in rows]


def columns(count: int) -> int:
    """How many panels stand side by side on a wide screen: up to four, and few gaps in the last row."""
    return max(2, count) if count <= 4 else min((4, 3), key=lambda wide: -count % wide)


def unexplained(one: Json) -> Json:
    """A layer without its legends."""
    told = {key: one["encoding"][key] for key in TOLD_BY if "field" in one["encoding"].get(key, {})}
    return {**one, "encoding": one["encoding"] | {key: {**each, "legend": None} for key, each in told.items()}}


def side_by_side(panels: Sequence[Panel]) -> list[Json]:
    """Panels as parts of one chart; what a legend has said already is not said again."""
    parts, said = [], set[Key]()
    for panel in panels:
        part = panel.chart_spec()
        if panel.keys and said.issuperset(panel.keys):
            part["layer"] = [unexplained(one) for one in part["layer"]]
        said.update(panel.keys)
        parts.append(part)
    return parts


def bounded(panels: Iterable[Panel]) -> bool:
    """Whether any of the panels draws intervals."""
    return any({"filter": HAS_INTERVAL} in one.get("transform", ()) for panel in panels for one in panel.layers)


@dataclass(frozen=True)
class Figure:
    """Panels under one title. `key` names files and anchors; `legend` is shown once, before the panels' own keys."""

    key: str
    title: str
    panels: list[Panel]
    caption: str = ""
    legend: list[Key] = field(default_factory=list)
    columns: int = 0

    def chart_spec(self) -> Json:
        """The panels as one chart, for a notebook or a file."""
        columns = self.columns or math.ceil(math.sqrt(len(self.panels)))
        words = lines(self.caption, 62 * min(columns, len(self.panels)))
        spec: Json = {"$schema": SCHEMA_URL, "config": theme.config(), "title": {"text": self.title, "subtitle": words}}
        spec |= {"concat": side_by_side(self.panels), "columns": columns}
        spec["resolve"] = {"scale": dict.fromkeys(TOLD_BY, "independent")}  # panels differ in what colours mean
        return spec

    @property
    def keys(self) -> dict[str, list[Key]]:
        """The legend by group, each entry once; empty if there is only one entry."""
        found: dict[str, dict[str, Key]] = {}
        for key in [*self.legend, *(key for panel in self.panels for key in panel.keys)]:
            found.setdefault(key.group, {}).setdefault(key.label, key)
        if sum(map(len, found.values())) < 2:
            return {}
        return {group: list(entries.values()) for group, entries in found.items()}
