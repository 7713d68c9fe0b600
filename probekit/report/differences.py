"""Paired differences between checkpoints on the same images, from the per-image contributions stored in the file.

The interval is the normal approximation to the mean of the per-image differences (mean +- 1.96 standard errors),
which needs nothing but the file. It is computed for every pair once, so that the page can change the reference
without a server.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from probekit.report.headline import ORDER, Headline
from probekit.report.results import Results, Row, rounded
from probekit.report.statistics import all_pairs


@dataclass(frozen=True)
class Quantity:
    """All paired differences of one quantity on one image set. `cells[i, j]` is (difference, half width) of i minus
    j."""

    name: str
    data: str
    title: str
    checkpoints: list[int]
    cells: list[tuple[float, float] | None]
    reference: int


class Differences:
    """Paired differences of every quantity that has per-image contributions."""

    def __init__(self, results: Results, headline: Headline | None) -> None:
        self.results = results
        self.headline = headline

    @cached_property
    def quantities(self) -> list[Quantity]:
        names = sorted(self.results.own_names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
        found = []
        for name in names:
            if f"{name}_image" in self.results.ds:
                found += [quantity for data in self.results.where(name) if (quantity := self.compare(name, data))]
        return found

    def compare(self, name: str, data: str) -> Quantity | None:
        images = self.results.per_image(name, data)
        if images is None:
            return None
        present = [int(i) for i in np.flatnonzero(np.isfinite(images).any(1))]
        if len(present) < 2:
            return None
        value, half = all_pairs(images[present], self.groups(data, images.shape[1]))
        cells = [
            None if i == j else pair(value[i, j], half[i, j]) for i in range(len(present)) for j in range(len(present))
        ]
        title = f"{self.results.title(name)}, {data}"
        return Quantity(name, data, title, present, cells, self.reference(present))

    def groups(self, data: str, count: int) -> np.ndarray | None:
        """The group of each image (intervals resample groups, not images), where the image set has groups."""
        if "group" not in self.results.ds:
            return None
        found = np.asarray(self.results.ds["group"].isel(data=self.results.data.index(data)).values, dtype=float)
        return found.astype(int) if len(found) == count and (found >= 0).any() else None

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
        size, out = len(quantity.checkpoints), []
        for at, i in enumerate(quantity.checkpoints):
            cell = quantity.cells[at * size + quantity.reference]
            if cell:
                row = self.results.describe(self.results.checkpoints[i])
                out.append(
                    {
                        **row,
                        "quantity": quantity.title,
                        "value": cell[0],
                        "lower": rounded(cell[0] - cell[1]),
                        "upper": rounded(cell[0] + cell[1]),
                    }
                )
        return out

    def as_json(self) -> dict[str, Any]:
        """What the page needs to change quantity and reference."""
        return {
            "rows": [self.results.describe(checkpoint) for checkpoint in self.results.checkpoints],
            "quantities": [
                {"title": q.title, "checkpoints": q.checkpoints, "cells": q.cells, "reference": q.reference}
                for q in self.quantities
            ],
        }


def pair(value: float, half: float) -> tuple[float, float] | None:
    """A cell as stored in the page; None where the two checkpoints share fewer than two images."""
    if not (np.isfinite(value) and np.isfinite(half)):
        return None
    return float(f"{value:.4g}"), float(f"{half:.4g}")
