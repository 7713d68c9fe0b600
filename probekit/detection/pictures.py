"""Objects drawn into images: masks as a tint, boxes as outlines, a colour for each class."""

from __future__ import annotations

import colorsys

import numpy as np

from probekit.data.preprocess import resized

TINT = 0.45
"""Share of the class's colour in a mask."""


def colour(label: int) -> np.ndarray:
    """The colour of a class: float (3,), in [0, 255]. Hues are a golden angle apart, so that many classes differ."""
    return 255 * np.array(colorsys.hsv_to_rgb((0.61803398875 * label) % 1.0, 0.85, 1.0))


def drawn(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """An image with objects drawn into it.

    Args:
        image: uint8 (height, width, channels); the first three channels are shown, or one as grey.
        boxes: (n, 4), left, top, right, bottom in pixels.
        labels: int (n,).
        masks: bool (n, height, width).

    Returns:
        uint8 (height, width, 3).
    """
    shown = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    out = shown.astype(np.float64)
    for label, mask in zip(labels, masks, strict=True):
        out[mask] = (1 - TINT) * out[mask] + TINT * colour(int(label))
    height, width = image.shape[:2]
    for label, box in zip(labels, boxes, strict=True):
        left, top = np.floor(np.clip(box[:2], 0, (width - 1, height - 1))).astype(int)
        right, bottom = np.ceil(np.clip(box[2:], (left + 1, top + 1), (width, height))).astype(int) - 1
        for edge in (np.s_[top, left : right + 1], np.s_[bottom, left : right + 1]):
            out[edge] = colour(int(label))
        for edge in (np.s_[top : bottom + 1, left], np.s_[top : bottom + 1, right]):
            out[edge] = colour(int(label))
    return np.asarray(out.round().astype(np.uint8))


def kept(pictures: list[np.ndarray], side: int) -> np.ndarray:
    """Pictures on one black square, at most `side` pixels a side: uint8 (n, rows, columns, 3)."""
    longest = max(max(one.shape[:2]) for one in pictures)
    scale = min(1.0, side / longest)
    out = np.zeros((len(pictures), *(2 * (round(longest * scale),)), 3), dtype=np.uint8)
    for row, one in zip(out, pictures, strict=True):
        size = max(1, round(one.shape[0] * scale)), max(1, round(one.shape[1] * scale))
        small = one if size == one.shape[:2] else resized(one, size, "box")
        row[: size[0], : size[1]] = small
    return out
