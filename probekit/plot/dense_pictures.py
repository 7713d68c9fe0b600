"""What dense probes predict, beside the truth: classes and depth of every pixel, and matches between two views."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from probekit.measures.colours import painted
from probekit.plot import theme
from probekit.plot.pictures import EXAMPLES, Strip, StripRow, inputs, picked, shown_width, strip_picture
from probekit.plot.rows import Results

UNKNOWN = (70, 70, 70)
"""Colour of pixels of which nothing is known."""

Painter = Callable[[np.ndarray, tuple[float, float]], np.ndarray]


def dense(results: Results) -> list[Strip]:
    """Strips of every dense quantity and image set that has pictures."""
    found: list[Strip | None] = []
    for data in results.data:
        found += [
            maps(results, data, "segmentation", "Classes of pixels", classes),
            maps(results, data, "depth", "Depth", depths),
            matches(results, data),
        ]
    return [strip for strip in found if strip is not None]


def maps(results: Results, data: str, name: str, title: str, paint: Painter) -> Strip | None:
    """Predicted maps under the true ones; None where there are none."""
    key, true = f"example_{name}", f"example_{name}_true"
    images = inputs(results, data)
    if images is None or key not in results.ds or true not in results.ds:
        return None
    truth = np.asarray(picked(results, true, data), float)[: len(images), : images.shape[1], : images.shape[2]]
    if not np.isfinite(truth).any():
        return None
    ends = (float(np.nanmin(truth)), float(np.nanmax(truth)))
    count = f"{len(images)} images of {data}"
    rows = [
        StripRow("Input", [strip_picture(images, count)], given=True),
        StripRow("Truth", [strip_picture(paint(truth, ends), f"True {title.lower()} of {count}")], given=True),
    ]
    for checkpoint in results.checkpoints:
        values = np.asarray(picked(results, key, data, checkpoint), float)[: len(images), : images.shape[1]]
        values = values[:, :, : images.shape[2]]
        if np.isfinite(values).any():
            words = f"{title} as read from {checkpoint.name}"
            rows.append(StripRow(checkpoint.name, [strip_picture(paint(values, ends), words)]))
    note = results.attribute(key, "long_name") + ". Grey: unknown."
    return Strip(f"{title}, {data}", [""], rows, shown_width(images), note, f"{name}-{data}") if len(rows) > 2 else None


def rgb(code: str) -> list[int]:
    return [int(code[i : i + 2], 16) for i in (1, 3, 5)]


def classes(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """A colour for each class, uint8 (example, row, column, 3); they repeat beyond eight."""
    palette = np.array([rgb(theme.LIGHT[f"c{i}"]) for i in range(1, 9)], dtype=np.uint8)
    known = np.isfinite(values)
    found: np.ndarray = palette[np.where(known, values, 0).astype(int) % len(palette)]
    found[~known] = UNKNOWN
    return found


def depths(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Bright is near, on the scale of the true depths."""
    low, high = ends
    known = np.isfinite(values)
    near = np.where(known, np.clip((high - values) / max(high - low, 1e-9), 0, 1), 0)
    found: np.ndarray = painted(np.concatenate([near, np.ones((len(near), 1, near.shape[2]))], axis=1))[
        :, :-1
    ]  # one scale for all
    found[~known] = UNKNOWN
    return found


def matches(results: Results, data: str) -> Strip | None:
    """Points in one view, and where they are in the other: truly, and as each checkpoint finds them."""
    name = "example_matches"
    images = inputs(results, data)
    if images is None or name not in results.ds or "example_other" not in results.ds:
        return None
    other = np.asarray(picked(results, "example_other", data))[: len(images), : images.shape[1], : images.shape[2]]
    rows: list[StripRow] = []
    for checkpoint in results.checkpoints:
        ends = np.asarray(picked(results, name, data, checkpoint), float)[: len(images)]
        if not np.isfinite(ends).any():
            continue
        if not rows:
            rows = [
                StripRow("Points", [strip_picture(dotted(images, ends[..., 0:2]), f"Points in {data}")], given=True),
                StripRow("Truth", [strip_picture(dotted(other, ends[..., 2:4]), "Where they are")], given=True),
            ]
        words = f"Where {checkpoint.name} finds them"
        rows.append(StripRow(checkpoint.name, [strip_picture(dotted(other, ends[..., 4:6]), words)]))
    note = "A dot has the same colour in every row. Points: one view; below, the other view."
    return Strip(f"Matches, {data}", [""], rows, shown_width(images), note, f"matches-{data}") if rows else None


def dotted(images: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Images in dim grey with a dot at each place, shares (example, match, 2)."""
    grey = (0.6 * images.astype(float).mean(axis=-1, keepdims=True)).astype(np.uint8)
    out = np.repeat(grey, 3, axis=-1)
    height, width = out.shape[1:3]
    reach = max(1, height // 40)
    for i, points in enumerate(places[:EXAMPLES]):
        for j, (row, column) in enumerate(points):
            if np.isfinite(row) and np.isfinite(column):
                y, x = int(row * height), int(column * width)
                spot = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
                out[i][spot] = rgb(theme.DARK[f"c{j % 8 + 1}"])
    return out
