"""Paired differences between checkpoints on the same images, from the per-image contributions stored in the file.

Interval and groups are those of `probekit.contrast`. They are computed for every pair once, so that the page can change
the reference without a server.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from probekit.constants import CONFIDENCE
from probekit.measures import inference
from probekit.plot.curves import WHO, dot_panel
from probekit.plot.figure import Figure, Json, Panel, channel, either, layer, number_fields, tooltip
from probekit.plot.headline import ORDER, Headline
from probekit.plot.rows import Results, Row, rounded
from probekit.results.contrasts import groups_of


@dataclass(frozen=True)
class Quantity:
    """All paired differences of one quantity on one image set: of i minus j the difference `value[i, j]` and the half
    width `half[i, j]` of its interval, NaN where the two share fewer than two images; `grouped` where images are not
    independent, and groups of them were compared."""

    name: str
    data: str
    title: str
    checkpoints: list[int]
    value: np.ndarray
    half: np.ndarray
    reference: int
    grouped: bool = False


class Differences:
    """Paired differences of every quantity that has per-image contributions."""

    def __init__(self, results: Results, headline: Headline | None) -> None:
        self.results = results
        self.headline = headline

    @cached_property
    def quantities(self) -> list[Quantity]:
        """Every quantity on every image set where two checkpoints or more can be compared, the headline's first."""
        names = sorted(self.results.own_names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
        found = []
        for name in names:
            if f"{name}_image" in self.results.ds:
                found += [quantity for data in self.results.where(name) if (quantity := self.compare(name, data))]
        return found

    def compare(self, name: str, data: str) -> Quantity | None:
        """All pairs on one image set; None where fewer than two checkpoints have per-image values."""
        images = self.results.per_image(name, data)
        if images is None:
            return None
        present = [int(i) for i in np.flatnonzero(np.isfinite(images).any(1))]
        if len(present) < 2:
            return None
        groups = groups_of(self.results.ds, name, self.results.data.index(data))
        value, half = inference.all_pairs(images[present], CONFIDENCE, groups)
        title = f"{self.results.title(name)}, {data}"
        return Quantity(name, data, title, present, value, half, self.reference(present), groups is not None)

    def reference(self, present: list[int]) -> int:
        """Position of the checkpoint to compare with: nearest to the usual ratio, smallest patches, first seed."""
        known = self.results.checkpoints
        trained = [at for at, i in enumerate(present) if not known[i].untrained] or [0]
        return min(
            trained,
            key=lambda at: (
                abs((known[present[at]].ratio or 0) - 0.75),
                known[present[at]].patch or 0,
                known[present[at]].seed or 0,
            ),
        )

    def rows(self, quantity: Quantity) -> list[Row]:
        """Rows of the chart for the default reference."""
        out = []
        for at, i in enumerate(quantity.checkpoints):
            value, half = quantity.value[at, quantity.reference], quantity.half[at, quantity.reference]
            if at != quantity.reference and np.isfinite(half):
                numbers = {"value": rounded(value), "lower": rounded(value - half), "upper": rounded(value + half)}
                row = self.results.describe(self.results.checkpoints[i])
                out.append({**row, "quantity": quantity.title, **numbers})
        return out

    def as_json(self) -> dict[str, Any]:
        """What the page needs to change quantity and reference: of each pair once, the rows above the diagonal one
        after the other."""
        found = []
        for q in self.quantities:
            above = np.triu_indices(len(q.checkpoints), 1)
            numbers = {"value": q.value[above], "half": q.half[above]}
            found.append({"title": q.title, "checkpoints": q.checkpoints, "reference": q.reference, **numbers})
        return {"rows": [self.results.describe(checkpoint) for checkpoint in self.results.checkpoints],
                "quantities": found}  # fmt: skip


def forest(differences: Differences) -> Figure | None:
    """Differences to one reference, each with its interval; the page can change quantity and reference."""
    if not differences.quantities:
        return None
    first = differences.quantities[0]
    rows = differences.rows(first)
    if not rows:
        return None
    names = max(len(quantity.checkpoints) for quantity in differences.quantities)
    y = channel("checkpoint:N", title=None, sort={"field": "value", "order": "descending"}, axis={"labelLimit": 190})
    apart = either("datum.lower > 0 || datum.upper < 0", "var(--c1)", "var(--c7)")
    tips = tooltip(*WHO, *number_fields("Difference"))
    x = {"title": "Difference", "axis": {"tickCount": 7}}
    bars = {"x": channel("lower:Q", **x), "x2": {"field": "upper"}, "y": y, "color": apart, "tooltip": tips}
    inside = either("datum.lower > 0 || datum.upper < 0", "var(--c1)", "var(--paper)")
    dots = {"x": channel("value:Q", **x), "y": y, "color": apart, "fill": inside, "tooltip": tips}
    zero: Json = {
        "data": {"values": [{}]},
        **layer("rule", {"x": {"datum": 0}}, color="var(--soft)", strokeDash=[2, 2]),
    }
    layers = [zero, layer("rule", bars, strokeWidth=2), layer("point", dots, size=46, opacity=1)]
    reference = differences.results.checkpoints[first.checkpoints[first.reference]].name
    words = f"Paired differences of {first.title} to {reference}, with intervals; {len(rows)} checkpoints."
    panel = Panel(layers, rows, words, "", 16 * min(names, len(rows)) + 30)
    caption = (
        "Each checkpoint minus the reference, over the images both were measured on; 95 % interval by Student's t of "
        f"{compared(differences.quantities)}. Blue and filled: the interval excludes 0. It separates two checkpoints, "
        "not two settings: that takes seeds."
    )
    return Figure("differences", "Paired differences", [panel], caption, columns=1)


def compared(quantities: list[Quantity]) -> str:
    """What the intervals of differences are over: images, or groups of images where these are not independent."""
    grouped = [quantity for quantity in quantities if quantity.grouped]
    if not grouped:
        return "the per-image differences"
    if len(grouped) == len(quantities):
        return "the differences of groups of images"
    loose = {quantity.data for quantity in quantities if not quantity.grouped}
    where = dict.fromkeys(one.title if one.data in loose else one.data for one in grouped)
    return f"the per-image differences, and of the differences of groups of images for {'; '.join(where)}"


def difference_figure(results: Results, name: str, data: str) -> Figure:
    """Differences to a baseline, as `probekit.contrast` returns them, each with its interval."""
    rows = results.rows(name, data)
    panel = dot_panel(results, name, rows, axis="Difference")
    zero: Json = {
        "data": {"values": [{}]},
        **layer("rule", {"x": {"datum": 0}}, color="var(--soft)", strokeDash=[2, 2]),
    }
    attrs = results.ds[name].attrs
    words = results.choose(name).words
    caption = f"Correction: {attrs.get('correction', 'None')}." + (f" Shown: {words}." if words else "")
    return Figure(
        f"{name}-{data}", f"{results.title(name)}, {data}", [replace(panel, layers=[zero, *panel.layers])], caption
    )
