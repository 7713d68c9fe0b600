"""The table of all numbers, packed for the page (finite cells only, as steps between flat positions), and small
tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from probekit.plot import published
from probekit.plot.rows import Results, plain
from probekit.report.packing import trimmed

BITS = 16
"""Bits of the numbers in the table of all numbers, which shows four or five digits."""


@dataclass(frozen=True)
class Table:
    """A small table, shown in the page and exported."""

    key: str
    title: str
    columns: list[str]
    rows: list[list[str | TableCell]]
    note: str = ""


def long_table(results: Results) -> dict[str, Any]:
    """Every finite number of every result variable."""
    layers = results.labels("layer") if "layer" in results.ds.dims else []
    last = [json_label(layers[at]) for at in results.deepest] if layers else [None] * len(results.checkpoints)
    checkpoints = [
        {"name": c.name, "ratio": c.ratio, "patch": c.patch, "seed": c.seed, "last": last[c.index]}
        for c in results.checkpoints
    ]
    variables = [packed for name in results.names if (packed := pack(results, name))]
    return {"checkpoints": checkpoints, "data": results.data, "variables": variables}


def pack(results: Results, name: str) -> dict[str, Any] | None:
    """One variable: its dims with labels, the steps between flat positions of finite cells, and their numbers."""
    values, bounds = results.array(name), results.interval(name)
    flat = np.flatnonzero(np.isfinite(values))
    if not len(flat):
        return None
    dims = [
        {"name": dim, "labels": [json_label(label) for label in results.labels(dim)]}
        for dim in ("checkpoint", "data", *results.dims(name))
    ]
    packed = {
        "name": name, "title": results.title(name), "units": results.units(name), "dims": dims,
        "steps": np.diff(flat, prepend=0), "value": trimmed(values.ravel()[flat], BITS),
        "none": results.no_interval(name),
    }  # fmt: skip
    if bounds is not None:
        pairs = bounds.reshape(-1, 2)[flat]
        packed |= {"lower": trimmed(pairs[:, 0], BITS), "upper": trimmed(pairs[:, 1], BITS)}
        packed["none"] = "not given for this cell"
    return packed


def json_label(label: Any) -> Any:
    """A label of a dimension as JSON: whole numbers stay numbers, all else is text."""
    return label.item() if isinstance(label, np.integer) else plain(label)


MISSING = "–"
"""What stands where there is no number."""


@dataclass(frozen=True)
class TableCell:
    """A number as text and its interval as text; both with the digits that the interval leaves meaningful."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} [{self.interval}]" if self.interval else self.value


def cell(value: float, bounds: np.ndarray | None) -> TableCell:
    """E.g. "0.731" and "0.702, 0.760"; an en dash where there is nothing."""
    if not np.isfinite(value):
        return TableCell(MISSING)
    if bounds is None or not np.isfinite(bounds).all():
        return TableCell(f"{value:.3g}".replace("-", "−"))
    width = float(bounds[1] - bounds[0])
    digits = min(6, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else 3
    texts = [f"{number:.{digits}f}".replace("-", "−") for number in (value, bounds[0], bounds[1])]
    return TableCell(texts[0], f"{texts[1]}, {texts[2]}")


SUMMARY = (
    "representation_level",
    "latent_r2",
    "linear_accuracy",
    "knn_accuracy",
    "shape_bias",
    "robust_accuracy",
    "ssim",
    "masked_ssim",
    "attention_distance",
    "rankme",
)
"""What a summary shows, in this order, as far as it was measured; then whatever else there is room for."""


def summary_table(results: Results, *, most: int = 5) -> list[Table]:
    """For each image set, one line per checkpoint and a column for each of up to `most` quantities."""
    found = []
    order = [name for name in SUMMARY if name in results.names] + [
        name for name in results.own_names if name not in SUMMARY
    ]
    for data in results.data:
        names = [name for name in order if data in results.where(name)][:most]
        if not names:
            continue
        columns = [results.values(name, data) for name in names]
        flat = [
            (values, bounds) if values.ndim == 1 else (values[:, 0], None if bounds is None else bounds[:, 0])
            for values, bounds in columns
        ]
        rows: list[list[str | TableCell]] = []
        for c in results.checkpoints:
            cells = [cell(values[c.index], None if bounds is None else bounds[c.index]) for values, bounds in flat]
            if any(entry.value != MISSING for entry in cells):
                known = [f"{x:g}" if x is not None else MISSING for x in (c.ratio, c.patch, c.seed)]
                rows.append([c.name, *known, *cells])
        words = "; ".join(f"{results.title(n)}: {results.choose(n).words}" for n in names if results.choose(n).words)
        bare = "; ".join(f"{results.title(n)} has no interval: {why}" for n in names if (why := without(results, n)))
        note = ". ".join(part for part in (words, bare) if part) + "." if words or bare else ""
        found.append(
            Table(
                f"summary-{data}",
                f"On {data}",
                ["Checkpoint", "Ratio", "Patch (px)", "Seed", *map(results.axis_title, names)],
                rows,
                note,
            )
        )
    return found


def without(results: Results, name: str) -> str:
    """Why the number shown for a quantity has no interval; "" where it has one."""
    if results.interval(name) is None:
        return results.no_interval(name)
    return "heads are averaged, and each has its own in the table" if results.choose(name).averaged else ""


def not_applicable_table(results: Results) -> Table | None:
    """Reasons, with the checkpoints that share one on one line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for checkpoint, probes in results.reasons.items():
        for probe, reason in probes.items() if isinstance(probes, dict) else [("", probes)]:
            groups.setdefault((str(probe), reason if isinstance(reason, str) else str(reason)), []).append(
                str(checkpoint)
            )
    if not groups:
        return None
    rows: list[list[str | TableCell]] = [
        [probe, reason, ", ".join(names)] for (probe, reason), names in sorted(groups.items())
    ]
    return Table("not-applicable", "Not applicable", ["Probe", "Reason", "Checkpoints"], rows)


def published_tables(results: Results) -> list[Table]:
    """The published values of the quantities that were measured, as tables that name their source."""
    found = []
    if any(name in results.names and results.measured(name) for name in ("linear_accuracy", "robust_accuracy")):
        rows: list[list[str | TableCell]] = [
            [f"{ratio:g}", str(patch), str(vit), *(f"{value:.2f}" for value in row)]
            for (ratio, patch, vit), row in published.TABLE_1.items()
        ]
        title = f"Published, not measured here: accuracy in % of {published.SETUP} ({published.CITATION}, Table 1)"
        note = (
            "The paper's text says that linear accuracy falls from patch size 16 to 32; its Table 1, quoted "
            "here, says that it rises."
        )
        found.append(
            Table("published-table-1", title, ["Ratio", "Patch size", "ViT patch", *published.TESTS], rows, note)
        )
    if "shape_bias" in results.names and results.measured("shape_bias"):
        rows = [[f"{ratio:g}", str(patch), f"{value:.4f}"] for (ratio, patch, _), value in published.TABLE_2.items()]
        title = f"Published, not measured here: shape bias of {published.SETUP} ({published.CITATION}, Table 2)"
        found.append(Table("published-table-2", title, ["Ratio", "Patch size", "Shape bias"], rows))
    if any(name in results.names and results.measured(name) for name in published.AVERAGE_PRECISIONS):
        rows = [
            [f"{ratio:g}", str(patch), *(f"{value:.2f}" for value in row)]
            for (ratio, patch, _), row in published.TABLE_3.items()
        ]
        title = f"Published, not measured here: AP in % on COCO of {published.SETUP} ({published.CITATION}, Table 3)"
        heads = ["Ratio", "Patch size", *published.AVERAGE_PRECISIONS.values()]
        found.append(Table("published-table-3", title, heads, rows, "After fine-tuning the encoder in a Mask R-CNN."))
    if "attentive_accuracy" in results.names and results.measured("attentive_accuracy"):
        rows = [[model, *(f"{value:.1f}" for value in row)] for model, row in published.PROBING_TABLE.items()]
        title = f"Published, not measured here: accuracy in % on ImageNet-1K ({published.PROBING})"
        found.append(Table("published-probing", title, ["Model", *published.PROBED.values()], rows))
    return found
