"""Pictures of detections: each checkpoint's boxes and masks below the objects that there are."""

from __future__ import annotations

import numpy as np

from probekit.plot.pictures import EXAMPLES, Picture, Strip, StripRow, picked, shown_width, strip_picture, trim
from probekit.plot.rows import Checkpoint, Results


def strips(results: Results) -> list[Strip]:
    """Per image set: the images, their objects, and what each checkpoint's detector finds."""
    if not {"example_truth", "example_detection"} <= set(results.ds.data_vars):
        return []
    found = []
    for data in results.data:
        truth = _picture(results, "example_truth", data, f"Objects of test images of {data}")
        if truth is None:
            continue
        rows = [StripRow("Truth", [truth], given=True)]
        for checkpoint in results.checkpoints:
            words = f"Detections by {checkpoint.name}"
            picture = _picture(results, "example_detection", data, words, checkpoint)
            if picture is not None:
                rows.append(StripRow(checkpoint.name, [picture]))
        if len(rows) > 1:
            note = "Drawn are detections with a score of at least .5; a colour is a class."
            width = shown_width(_examples(results, "example_truth", data))
            title = f"Boxes and masks, {data}"
            found.append(Strip(title, ["Test images"], rows, width, note, f"detections-{data}"))
    return found


def _examples(results: Results, name: str, data: str, checkpoint: Checkpoint | None = None) -> np.ndarray:
    """uint8 (example, row, column, 3); none where there are none."""
    values = trim(picked(results, name, data, checkpoint))
    return np.zeros((0, 1, 1, 3), np.uint8) if values is None else np.nan_to_num(values)[:EXAMPLES].astype(np.uint8)


def _picture(
    results: Results, name: str, data: str, words: str, checkpoint: Checkpoint | None = None
) -> Picture | None:
    values = _examples(results, name, data, checkpoint)
    return strip_picture(values, words) if values.any() else None
