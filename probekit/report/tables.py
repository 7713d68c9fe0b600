"""The table of all numbers, packed for the page (finite cells only, as steps between flat positions), and small tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from probekit.report.results import Results, plain, rounded


@dataclass(frozen=True)
class Table:
    """A small table, shown in the page and exported."""

    key: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


def long_table(results: Results) -> dict[str, Any]:
    """Every finite number of every result variable."""
    checkpoints = [{"name": c.name, "ratio": c.ratio, "patch": c.patch, "seed": c.seed} for c in results.checkpoints]
    variables = [packed for name in results.names if (packed := pack(results, name))]
    return {"checkpoints": checkpoints, "data": results.data, "variables": variables}


def pack(results: Results, name: str) -> dict[str, Any] | None:
    """One variable: its dims with labels, the steps between flat positions of finite cells, and their numbers."""
    values, bounds = results.array(name), results.interval(name)
    flat = np.flatnonzero(np.isfinite(values))
    if not len(flat):
        return None
    dims = [{"name": dim, "labels": [json_label(label) for label in results.labels(dim)]} for dim in ("checkpoint", "data", *results.dims(name))]
    packed = {
        "name": name, "title": results.title(name), "units": results.units(name), "dims": dims,
        "steps": np.diff(flat, prepend=0).tolist(), "value": [rounded(v) for v in values.ravel()[flat]],
        "none": results.no_interval(name),
    }  # fmt: skip
    if bounds is not None:
        pairs = bounds.reshape(-1, 2)[flat]
        packed |= {"lower": [rounded(v) for v in pairs[:, 0]], "upper": [rounded(v) for v in pairs[:, 1]]}
        packed["none"] = "not given for this cell"
    return packed


def json_label(label: Any) -> Any:
    return label.item() if isinstance(label, np.integer) else plain(label)
