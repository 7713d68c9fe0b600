"""A figure: one or more panels (Vega-Lite charts), a title, what it shows in words, and a caption.

Panels are separate charts in a CSS grid rather than one facetted chart, so that they reflow from three columns on a wide
screen to one on a telephone. Rows travel outside of Altair (which would validate each of them) as a named data source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import altair as alt

from probekit.report import theme
from probekit.report.results import Row

SCHEMA_URL = alt.SCHEMA_URL
ROWS = "rows"
HIDDEN = "hidden"
"""Name of the Vega signal that lists the checkpoints switched off in the page."""


@dataclass(frozen=True)
class Panel:
    """One chart. `chart` reads the data source `ROWS`; `alt` says in words what it shows."""

    chart: alt.TopLevelMixin
    rows: list[Row]
    alt: str
    title: str = ""
    height: int = 220
    role: str = ""

    def spec(self) -> dict[str, Any]:
        """The specification for the page: as wide as its container."""
        spec = self.chart.to_dict(validate=False)
        spec |= {"width": "container", "height": self.height, "datasets": {ROWS: self.rows}, "config": theme.config()}
        spec |= {"autosize": {"type": "fit-x", "contains": "padding"}, "description": self.alt}
        return spec

    def file_spec(self, width: int = 420) -> dict[str, Any]:
        """The specification for a file: fixed width, titled, in concrete colours."""
        spec = self.spec() | {"width": width, "autosize": {"type": "pad"}}
        if self.title:
            spec["title"] = self.title
        return theme.concrete(spec)


@dataclass(frozen=True)
class Figure:
    """Panels under one title. `key` names files and anchors."""

    key: str
    title: str
    panels: list[Panel]
    caption: str = ""
    legend: list[tuple[str, str]] = field(default_factory=list)
    columns: int = 0
    note: str = ""


def source() -> alt.NamedData:
    return alt.NamedData(name=ROWS)


def base() -> alt.Chart:
    """A chart over the panel's rows that leaves out checkpoints switched off in the page."""
    return alt.Chart(source()).add_params(alt.param(name=HIDDEN, value=[])).transform_filter(f"indexof({HIDDEN}, datum.checkpoint) < 0")


def domain(rows: Iterable[Row], keys: tuple[str, ...] = ("value", "lower", "upper"), *, pad: float = 0.04) -> list[float]:
    """A common axis range for panels that are to be compared: the data's, a little wider."""
    values = [row[key] for row in rows for key in keys if row.get(key) is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * pad or abs(high) * pad or 1.0
    return [low - room, high + room]


def tooltip(*fields: tuple[str, str, str]) -> list[alt.Tooltip]:
    """(field, title, format) triples; an empty format for text."""
    return [alt.Tooltip(name, title=title, **({"format": form} if form else {})) for name, title, form in fields]


def number_fields(title: str) -> list[tuple[str, str, str]]:
    return [("value:Q", title, ".4~g"), ("lower:Q", "95 % from", ".4~g"), ("upper:Q", "95 % to", ".4~g")]
