"""The card of a report on one checkpoint: what it is, and its numbers beside those of baselines."""

from __future__ import annotations

from typing import Any

import numpy as np

from probekit.plot.rows import Results
from probekit.report.tables import MISSING, Table, TableCell, cell
from probekit.schema import plain

FACTS = {
    "mask_ratio": "Mask ratio", "patch_size": "Patch size (mask unit), px", "vit_patch_size": "Encoder's patch, px",
    "image_height": "Image height, px", "depth": "Blocks", "width": "Width", "trained_on": "Trained on",
    "images_seen": "Images seen", "epochs": "Epochs", "seed": "Seed of training",
    "normalised_targets": "Targets normalised by patch", "finetuned": "Fine-tuned", "sha256": "SHA-256 of the file",
}  # fmt: skip
"""Coordinates along checkpoint -> what a card calls them, in its order."""

BASELINES = {
    "linear_accuracy": ("majority_accuracy", "colour_accuracy"),
    "knn_accuracy": ("majority_accuracy", "colour_accuracy"),
    "attentive_accuracy": ("majority_accuracy", "colour_accuracy"),
    "representation_level": ("representation_level_baseline",),
    "ladder_level": ("ladder_level_untrained", "ladder_level_baseline"),
}
"""Quantity -> what the same number is without this training."""


def tables(results: Results) -> list[Table]:
    """The card and the baselines of the only checkpoint; none where there are several."""
    if len(results.checkpoints) != 1:
        return []
    rows: list[list[str | TableCell]] = [
        [title, fact] for name, title in FACTS.items() if (fact := known(results, name)) is not None
    ]
    record = next((one for one in results.provenance.get("records", ()) if isinstance(one, dict)), {})
    about = record.get("checkpoint", {})
    verdict = about.get("verdict", {}) if isinstance(about, dict) else {}
    if isinstance(verdict, dict):
        rows += [["Format", str(verdict["format"])]] if verdict.get("format") else []
        said = verdict.get("warnings")
        rows += [["Beware", str(text)] for text in said] if isinstance(said, list) else []
    found = [Table("card", results.checkpoints[0].name, ["Fact", "Value"], rows)] if rows else []
    beside = baselines(results)
    if beside:
        heads = ["Image set", "Quantity", "Measured", "Beside", "Value"]
        found.append(Table("card-baselines", "Beside what is had without this training", heads, beside))
    return found


def known(results: Results, name: str) -> str | None:
    """A fact of the card as text; None where it is unknown."""
    if name not in results.ds.coords or results.ds[name].dims != ("checkpoint",):
        return None
    value: Any = results.ds[name].values[0]
    if value is None or value == "" or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return None
    if name == "normalised_targets":
        return "yes" if value else "no"
    return f"{value:,.12g}" if isinstance(value, int | float | np.number) else str(plain(value))


def baselines(results: Results) -> list[list[str | TableCell]]:
    """A row for every quantity, image set and baseline that were measured."""
    rows: list[list[str | TableCell]] = []
    for name, others in BASELINES.items():
        for data in results.where(name) if name in results.names else ():
            mine = shown(results, name, data)
            for other in (one for one in others if one in results.names and data in results.where(one)):
                kinds = results.labels("baseline") if "baseline" in results.dims(other) else [""]
                values = shown(results, other, data)
                for kind, value in zip(kinds, values, strict=True):
                    title = results.title(other) + (f", {plain(kind)}".replace("_", " ") if kind else "")
                    if value.value != MISSING:
                        rows.append([data, results.title(name), mine[0], title, value])
    return rows


def shown(results: Results, name: str, data: str) -> list[TableCell]:
    """The numbers of the only checkpoint as the page shows them elsewhere, one for each baseline if there are some."""
    values, bounds = results.values(name, data, ("baseline",))
    pairs = [None] * values[0].size if bounds is None else bounds[0].reshape(-1, 2)
    return [cell(float(value), pair) for value, pair in zip(values[0].ravel(), pairs, strict=True)]
