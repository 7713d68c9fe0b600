"""Pictures as strips: a row per checkpoint, a column per example, every row from the same images and the same masks.

All examples of a cell are one small WebP in the page itself. Pictures larger than `SIDE` pixels are reduced,
so that forty checkpoints on photographs stay a page that opens.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image

from probekit.measures.colours import painted
from probekit.plot import theme
from probekit.plot.figure import SCHEMA_URL, Json, lines
from probekit.plot.rows import Checkpoint, Results

SIDE = 112
"""Longest side kept, pixels."""
SMALL = 64
"""Up to this side, pictures are stored without loss and shown enlarged, pixel by pixel."""
MANY = 64
"""Of more checkpoints than these, reconstructions are stored with loss."""
LETTER = 5.8
"""Width of a letter of the subtitle in pixels, on average."""
EXAMPLES = 6
HIDDEN_GREY = 128


@lru_cache(maxsize=1)
def encoders(process: int) -> ThreadPoolExecutor:
    """The threads of a process that encode pictures while the next ones are read; a forked process has none of them."""
    return ThreadPoolExecutor(2, f"probekit-webp-{process}")


@dataclass(frozen=True)
class Picture:
    """A picture, as wide and high as the page shows it at most, with the words that stand for it."""

    encoded: Future[bytes]
    alt: str
    width: int
    height: int

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        return f"data:image/webp;base64,{base64.b64encode(self.encoded.result()).decode()}"


@dataclass(frozen=True)
class StripRow:
    """A row of a strip: a picture, or None, for each of its columns; `given` is what was put in, no result."""

    label: str
    pictures: list[Picture | None]
    given: bool = False


@dataclass(frozen=True)
class Strip:
    """A table of strips of one image set."""

    title: str
    columns: list[str]
    rows: list[StripRow]
    width: int
    note: str = ""
    key: str = field(default="")


def reconstructions(results: Results) -> list[Strip]:
    """Per image set: inputs and masks once, then each checkpoint's reconstruction under the mask and without one."""
    kinds = [
        ("example_reconstruction", "From what is visible"),
        ("example_reconstruction_full", "Without masking"),
    ]
    kinds = [(name, title) for name, title in kinds if name in results.ds]
    if "example_image" not in results.ds or not kinds:
        return []
    found = []
    for data in results.data:
        images = inputs(results, data)
        if images is None:
            continue
        given = [strip_picture(images, f"{len(images)} input images of {data}")]
        hidden = hidden_pixels(results, data, images)
        masked = images.copy()
        masked[hidden] = HIDDEN_GREY
        given.insert(
            0, strip_picture(masked, f"The same {len(images)} images with {hidden.mean():.0%} of pixels hidden")
        )
        shown: list[Picture | None] = [given[1] if name.endswith("full") else given[0] for name, _ in kinds]
        rows = [StripRow("Input", shown, given=True)]
        for checkpoint in results.checkpoints:
            pictures = [reconstruction(results, name, data, checkpoint, images.shape) for name, _ in kinds]
            if any(pictures):
                rows.append(StripRow(checkpoint.name, pictures))
        if len(rows) > 1:
            note = (
                "Every checkpoint got the same images and the same masks. Input row: what it saw, then the whole image."
            )
            if (channels := images.shape[-1]) not in (1, 3):
                note += f" Of {channels} channels, the first {'three are' if channels > 3 else 'is'} drawn."
            if len(results.checkpoints) > MANY:
                note += " Kept with some loss, for there are many."
            if any(name.endswith("full") for name, _ in kinds):
                note += unmasked_note(results, data)
            found.append(
                Strip(
                    f"Reconstructions, {data}",
                    [title for _, title in kinds],
                    rows,
                    shown_width(images),
                    note,
                    f"reconstructions-{data}",
                )
            )
    return found


def unmasked_note(results: Results, data: str) -> str:
    """What pictures without masking can say, and how far they are from the masked ones."""
    note = " Without masking, the decoder is asked for patches that the loss of most masked autoencoders never trained."
    names = ("psnr", "masked_psnr")
    if not all(name in results.names and data in results.where(name) for name in names):
        return note
    trained = [checkpoint.index for checkpoint in results.checkpoints if not checkpoint.untrained]
    values = np.stack([results.values(name, data)[0] for name in names])[:, trained]
    both = values[:, np.isfinite(values).all(0)]
    if not both.size:
        return note
    full, hidden = (f"{mean:.1f} dB" for mean in both.mean(1))
    whose = f"Mean PSNR over trained checkpoints that have both ({both.shape[1]})"
    return f"{note} {whose}: {full} without masking, {hidden} of hidden pixels."


def attention(results: Results) -> list[Strip]:
    """Per image set: where [CLS] and an object token look in the last layer, heads averaged."""
    kinds = [
        ("example_attention_cls", "[CLS]"),
        ("example_attention_object", "Object token"),
        ("example_attention_rollout", "Rollout"),
    ]
    return attention_strips(results, kinds, "Attention", "attention")


def attentive(results: Results) -> list[Strip]:
    """Per image set: where the head of the attentive probe learned to look, its queries averaged."""
    return attention_strips(results, [("example_attention_probe", "Learned queries")], "Attentive probe", "attentive")


def attention_strips(results: Results, kinds: list[tuple[str, str]], title: str, key: str) -> list[Strip]:
    """Per image set a strip of maps, a row for each checkpoint.

    Args:
        results: what was measured.
        kinds: variable of the maps, and what a column is called; those that are not there are left out.
        title, key: of the strips, before the name of the image set.
    """
    kinds = [(name, title) for name, title in kinds if name in results.ds]
    kinds = [(name, title) for name, title in kinds if np.isfinite(results.kept(name, ...)).any()]
    if not kinds:
        return []
    found = []
    for data in results.data:
        images = inputs(results, data)
        if images is None:
            continue
        rows = [
            StripRow("Input", [strip_picture(images, f"{len(images)} input images of {data}")] * len(kinds), given=True)
        ]
        for checkpoint in results.checkpoints:
            pictures = [attention_picture(results, name, data, checkpoint, len(images), kind) for name, kind in kinds]
            if any(pictures):
                rows.append(StripRow(checkpoint.name, pictures))
        if len(rows) > 1:
            note = "Each map is scaled to its own highest value: compare shapes, not brightness."
            found.append(
                Strip(
                    f"{title}, {data}",
                    [kind for _, kind in kinds],
                    rows,
                    shown_width(images),
                    note,
                    f"{key}-{data}",
                )
            )
    return found


def picked(results: Results, name: str, data: str, checkpoint: Checkpoint | None = None) -> np.ndarray:
    """Examples of one variable on one image set (of one checkpoint), example first."""
    where = {"data": results.data.index(data)} | ({"checkpoint": checkpoint.index} if checkpoint else {})
    return np.asarray(results.picked(name, **where).transpose("example", ...).values)


def trim(images: np.ndarray) -> np.ndarray | None:
    """Examples without the padding that lines up image sets of unequal size: rows, columns and examples at the end
    that hold nothing. What is missing between others stays, so that each example keeps its place."""
    if images.dtype.kind == "u":  # whole numbers have no NaN: they are padded with zeros at the lower and right edge
        if images.size and images[:, -1].any() and images[:, :, -1].any():
            return images
        some = np.asarray(images.any(-1) if images.ndim == 4 else images > 0)
        rows, columns = np.flatnonzero(some.any((0, 2))), np.flatnonzero(some.any((0, 1)))
        return np.asarray(images[:, : rows[-1] + 1, : columns[-1] + 1]) if len(rows) else None
    values = images.astype(float)
    solid = np.isfinite(values).all(-1) if values.ndim == 4 else np.isfinite(values)
    if not solid.any():
        return None
    ends = [int(np.flatnonzero(solid.any(other))[-1]) + 1 for other in ((1, 2), (0, 2), (0, 1))]
    return np.asarray(values[: ends[0], : ends[1], : ends[2]])


def filled(images: np.ndarray) -> np.ndarray:
    """Whether each example holds anything: a gap is drawn blank."""
    return np.asarray(np.isfinite(images).any(tuple(range(1, images.ndim))))


def inputs(results: Results, data: str) -> np.ndarray | None:
    """uint8 (example, row, column, channel); None where the image set has no examples."""
    if "example_image" not in results.ds:
        return None
    values = trim(picked(results, "example_image", data))
    return None if values is None or not values.any() else np.nan_to_num(values)[:EXAMPLES].astype(np.uint8)


def hidden_pixels(results: Results, data: str, images: np.ndarray) -> np.ndarray:
    """bool (example, row, column) cut to the images; nothing hidden where the file has no masks."""
    if "example_hidden" not in results.ds:
        return np.zeros(images.shape[:3], dtype=bool)
    values = picked(results, "example_hidden", data)[: len(images), : images.shape[1], : images.shape[2]]
    return np.asarray(np.nan_to_num(values.astype(float)) > 0.5)


def reconstruction(
    results: Results, name: str, data: str, checkpoint: Checkpoint, shape: tuple[int, ...]
) -> Picture | None:
    values = trim(picked(results, name, data, checkpoint))
    if values is None or not values.any():
        return None
    values = np.nan_to_num(values)[: shape[0], : shape[1], : shape[2]].astype(np.uint8)
    how = "without masking" if name.endswith("full") else "under the mask"
    lossy = len(results.checkpoints) > MANY
    return strip_picture(values, f"Reconstructions by {checkpoint.name} {how}", lossy=lossy)


def attention_picture(
    results: Results, name: str, data: str, checkpoint: Checkpoint, count: int, title: str
) -> Picture | None:
    values = trim(picked(results, name, data, checkpoint))
    if values is None or not values.any():
        return None
    there, values = filled(values[:count]), np.nan_to_num(values[:count])
    return strip_picture(painted(values), f"Attention of the {title} by {checkpoint.name}", there=there)


def shown_width(images: np.ndarray) -> int:
    """Width of a strip on the page: each example about 60 pixels wide, more for large pictures."""
    return len(images) * 46


def strip_picture(images: np.ndarray, words: str, *, lossy: bool = False, there: np.ndarray | None = None) -> Picture:
    """Examples side by side, two pixels apart, as one picture in a data URL: WebP, small pictures without loss unless
    asked for. Of other than three channels, the first three are drawn, or the first one as grey. Of examples that are
    not `there`, the place stays blank."""
    images = images[..., :3] if images.shape[-1] >= 3 else images[..., [0, 0, 0]]
    count, rows, columns = images.shape[:3]
    factor = max(1, -(-max(rows, columns) // SIDE))
    if factor > 1:
        rows, columns = rows // factor, columns // factor
        images = np.stack(
            [np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BOX)) for image in images]
        )
    gap = max(1, columns // 16)
    sheet = np.zeros((rows, count * (columns + gap) - gap, 4), dtype=np.uint8)
    for i, image in enumerate(images):
        start = i * (columns + gap)
        sheet[:, start : start + columns, :3] = image
        sheet[:, start : start + columns, 3] = 255 if there is None or there[i] else 0
    look = {"quality": 90 if lossy else 80}
    if max(rows, columns) <= SMALL and not lossy:
        look = {"lossless": True, "method": 0, "quality": 0}
    return Picture(encoders(os.getpid()).submit(_webp, sheet, look), words, sheet.shape[1], sheet.shape[0])


def _webp(picture: np.ndarray, look: Mapping[str, int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", **look)
    return buffer.getvalue()


def as_png(source: str) -> str:
    """A picture's data URL as PNG: vl-convert puts no WebP into a PDF."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def strip_spec(strip: Strip) -> Json:
    """A strip as a Vega-Lite specification: a row per checkpoint, a column per kind of picture."""
    rows = [
        {"checkpoint": row.label, "kind": kind, "picture": as_png(picture.source), "words": picture.alt}
        for row in strip.rows
        for kind, picture in zip(strip.columns, row.pictures, strict=True)
        if picture is not None
    ]
    shapes = [picture for row in strip.rows for picture in row.pictures if picture is not None]
    width, height = max(one.width for one in shapes), max(one.height for one in shapes)
    factor = max(1.0, 40 / height)
    letters = max(60, int((width * factor + 12) * len(strip.columns) / LETTER))
    x = {
        "field": "kind",
        "type": "nominal",
        "sort": strip.columns,
        "title": None,
        "axis": {"labelAngle": 0, "orient": "top"},
    }
    y = {"field": "checkpoint", "type": "nominal", "sort": [row.label for row in strip.rows], "title": None}
    mark = {"type": "image", "width": width * factor, "height": height * factor, "aspect": True}
    encoding: Json = {"x": x, "y": y, "url": {"field": "picture", "type": "nominal"}}
    encoding["tooltip"] = {"field": "words", "type": "nominal"}
    spec: Json = {
        "$schema": SCHEMA_URL,
        "config": theme.config(),
        "title": {"text": strip.title, "subtitle": lines(strip.note, letters)},
    }
    spec |= {"data": {"values": rows}, "mark": mark, "encoding": encoding}
    spec |= {"width": {"step": width * factor + 12}, "height": {"step": height * factor + 6}}
    return spec
