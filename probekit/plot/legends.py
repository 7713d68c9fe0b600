"""What tells marks apart: a colour, a shape and a dash for each value, and the entries of the legend that show them.

A ratio, a patch size and a family of encoders look the same in all charts of a report. Up to six values are told by
shape and dash as well, so that charts can be read in black and white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probekit.plot import theme
from probekit.plot.figure import Json, Key, channel
from probekit.plot.rows import Results, Row

NOUN = {"ratio": "Mask ratio", "patch": "Patch size (px)", "checkpoint": "Checkpoint"}
SOFT = "var(--soft)"
SOLID: tuple[float, ...] = (1, 0)
MOST_KEYS = 16
"""A legend has no more entries than these."""
BASELINE, TRAINED, UNKNOWN = "baseline", "trained", "training unknown"
"""What stands for the family of an untrained encoder, of checkpoints that are all of one family, and of those of which
nothing is known that tells them from other families."""


@dataclass(frozen=True)
class Colouring:
    """The field that tells marks apart, with a colour for each value.

    Attributes:
        places: position of each value among all of the report, so that it looks the same in every chart.
    """

    key: str
    values: list[Any]
    colours: list[str]
    title: str = ""
    places: tuple[int, ...] = ()

    @property
    def several(self) -> bool:
        return len(self.values) > 1

    @property
    def readable(self) -> bool:
        """Whether colours tell the values apart, so that a legend says something."""
        return len(self.values) <= MOST_KEYS and len(set(self.colours)) == len(self.values)

    @property
    def order(self) -> list[int]:
        """Position of each value's shape; empty for a single value or too many."""
        if not 1 < len(self.values) <= len(theme.MARKS):
            return []
        known = len(self.places) == len(self.values) and max(self.places) < len(theme.MARKS)
        return list(self.places) if known else list(range(len(self.values)))

    def encode(self) -> Json:
        scale = {"domain": self.values, "range": self.colours}
        return channel(f"{self.key}:N", title=self.title, scale=scale)  # as of shapes: one legend for both

    def shape(self) -> Json:
        """The channel that tells the values by the shape of marks; none for a single value or too many."""
        scale = {"domain": self.values, "range": [theme.MARKS[place] for place in self.order]}
        return {"shape": channel(f"{self.key}:N", title=self.title, scale=scale)} if self.order else {}

    def dash(self) -> Json:
        """The channel that tells the values by the dashes of lines; as `shape`."""
        scale = {"domain": self.values, "range": [list(dash) for dash in self.dashes]}
        return {"strokeDash": channel(f"{self.key}:N", title=self.title, scale=scale)} if self.dashes else {}

    @property
    def dashes(self) -> list[tuple[float, ...]]:
        """The dash of each value; empty for a single value or too many."""
        order = self.order
        return [theme.DASHES[place] for place in order] if order and max(order) < len(theme.DASHES) else []

    def keys(self, *, shape: bool = False, line: bool = False, colour: str = "") -> list[Key]:
        """Entries of a legend for marks with this `shape` and `line`, in one `colour` if it is given."""
        unit = {"ratio": "ratio {:g}", "patch": "{:g} px"}.get(self.key)
        shapes = [theme.MARKS[place] if shape else "" for place in self.order] or [""] * len(self.values)
        dashes = self.dashes or [SOLID] * len(self.values)
        group = "" if unit else self.title
        return [
            Key(unit.format(one) if unit else str(one), colour or own, outline, dash if line else None, group)
            for one, own, outline, dash in zip(self.values, self.colours, shapes, dashes, strict=True)
        ]


def colouring(results: Results, rows: Sequence[Row], key: str) -> Colouring:
    """Ratios get an ordered ramp, patch sizes and names get categories; beyond eight names, one colour for all."""
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
        places = tuple(every.index(value) for value in values)
        return Colouring(key, values, [colours[place] for place in places], NOUN[key], places)
    if len(values) > len(theme.CATEGORIES):
        return Colouring(key, values, [theme.CATEGORIES[0]] * len(values), NOUN[key])
    return Colouring(key, values, theme.CATEGORIES[: len(values)], NOUN[key])


def kinds(results: Results, rows: Sequence[Row]) -> Colouring:
    """The families of encoders among rows that went through `with_kind`, by shape, dash and colour."""
    every = [*dict.fromkeys(kind_of(results, c.family) for c in results.checkpoints if not c.untrained), BASELINE]
    found = {row["kind"] for row in rows}
    values = [kind for kind in every if kind in found]
    places = tuple(every.index(kind) for kind in values)
    colours = theme.categories(len(every))
    return Colouring("kind", values, [SOFT if kind == BASELINE else colours[every.index(kind)] for kind in values],
                     "Encoder", places)  # fmt: skip


def kind_of(results: Results, family: str) -> str:
    """A family of trained encoders as charts name it."""
    return family or (UNKNOWN if any(c.family for c in results.checkpoints) else TRAINED)


def with_kind(results: Results, rows: Sequence[Row]) -> list[Row]:
    """Rows with the `kind` of their encoder."""
    return [{**row, "kind": BASELINE if row["untrained"] else kind_of(results, row["family"])} for row in rows]
