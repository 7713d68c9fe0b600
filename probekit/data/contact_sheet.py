"""A contact sheet: some images of every class, to look at a set before believing numbers about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from probekit.data.base import ImageSet
from probekit.errors import DataError
from probekit.files import written_whole

GAP, LABEL_HEIGHT = 4, 14


def contact_sheet(
    image_set: ImageSet, *, per_class: int = 10, rows: int = 20, tile: int = 96, masks: bool = False
) -> Image.Image:
    """One row per class (at most `rows`), its name above it, `per_class` images each, all scaled to fit `tile` pixels.

    Args:
        masks: show object masks as a red tint, where the set has them.
    """
    shown = [label for label in range(len(image_set.classes)) if np.any(image_set.labels == label)][:rows]
    per_class = min(per_class, int(np.bincount(image_set.known_labels).max()))
    pitch = tile + GAP
    sheet = Image.new(
        "RGB", (per_class * pitch + GAP, len(shown) * (pitch + LABEL_HEIGHT) + GAP + LABEL_HEIGHT), "white"
    )
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 1), f"{image_set.spec}  {image_set.split}  {len(image_set)} images", fill="black")
    for row, label in enumerate(shown):
        top = LABEL_HEIGHT + row * (pitch + LABEL_HEIGHT)
        members = np.flatnonzero(image_set.labels == label)
        text = f"{label}: {image_set.classes[label]} ({len(members)})"
        pen.text((GAP, top), text.encode("ascii", "replace").decode(), fill="black")
        for column, index in enumerate(members[:per_class]):
            image = image_set[int(index)]
            if masks and image_set.object_masks is not None:
                image = _tinted(image, image_set.object_masks[index])
            sheet.paste(_fitted(image, tile), (GAP + column * pitch, top + LABEL_HEIGHT))
    return sheet


def _tinted(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    red = np.array([255.0, 0.0, 0.0])
    return np.where(mask[..., None], 0.5 * image + 0.5 * red, image).astype(np.uint8)


def _fitted(image: np.ndarray, tile: int) -> Image.Image:
    """Small images are enlarged by a whole factor without smoothing, large ones reduced."""
    picture = Image.fromarray(image)
    if max(picture.size) > tile:
        picture.thumbnail((tile, tile), Image.Resampling.BICUBIC)
        return picture
    factor = tile // max(picture.size)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def write(image_set: ImageSet, path: str | Path, **layout: Any) -> None:
    """Write the contact sheet of a set as a PNG or JPEG file."""
    target = Path(path)
    if target.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise DataError(f"{target} is no picture file name; it has to end in .png or .jpg.")
    sheet = contact_sheet(image_set, **layout)
    with written_whole(target, kept="Name a file in another folder.") as part:
        sheet.save(part)
