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
    members = _members(image_set, per_class)
    shown = list(members)[:rows]
    per_class = min(per_class, max(len(indices) for indices in members.values()))
    pitch = tile + GAP
    sheet = Image.new(
        "RGB", (per_class * pitch + GAP, len(shown) * (pitch + LABEL_HEIGHT) + GAP + LABEL_HEIGHT), "white"
    )
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 1), f"{image_set.spec}  {image_set.split}  {len(image_set)} images", fill="black")
    for row, text in enumerate(shown):
        top = LABEL_HEIGHT + row * (pitch + LABEL_HEIGHT)
        pen.text((GAP, top), text.encode("ascii", "replace").decode(), fill="black")
        for column, index in enumerate(members[text][:per_class]):
            image = in_colour(image_set[int(index)])
            if masks and image_set.object_masks is not None:
                image = _tinted(image, image_set.object_masks[index])
            sheet.paste(_fitted(image, tile), (GAP + column * pitch, top + LABEL_HEIGHT))
    return sheet


def _members(image_set: ImageSet, per_class: int) -> dict[str, np.ndarray]:
    """The text above a row -> indices of the images in it; rows of images where there are no labels."""
    labels = image_set.labels
    if labels is None:
        starts = range(0, len(image_set), per_class)
        return {f"from {start}": np.arange(start, min(start + per_class, len(image_set))) for start in starts}
    found = {label: np.flatnonzero(labels == label) for label in range(len(image_set.classes))}
    return {f"{label}: {image_set.classes[label]} ({len(at)})": at for label, at in found.items() if len(at)}


def in_colour(image: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 3) of any number of channels: grey three times, else the first three (a missing one is 0).

    >>> in_colour(np.full((1, 1, 6), 9, np.uint8)).shape
    (1, 1, 3)
    """
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    return np.pad(image[..., :3], ((0, 0), (0, 0), (0, max(0, 3 - image.shape[2]))))


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
