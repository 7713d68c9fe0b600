"""What dense probes share: pixels of known value, and scores on patches brought to the pixels of each test image."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from probekit.collect import Measurements
from probekit.data import SPLITS, Preprocess
from probekit.data.maps import PixelMaps
from probekit.measures import dense, dense_heads
from probekit.measures.descent import DECAY
from probekit.probes.patch_tokens import Reader
from probekit.probes.pictures import IMAGE_DIMS, example_images, picture_size

PIXELS = 256
"""Pixels of each train and val image whose cross-entropy is taken."""

FITTED = (
    "batch norm (mean and variance of all train tokens) and a 1x1 convolution on frozen patch tokens (kept in float16 "
    f"where a split's take 4 GiB or less), logits brought to the image's own pixels bilinearly; cross-entropy at "
    f"{PIXELS} pixels drawn once from each train image, AdamW ({dense_heads.STEPS} batches of {dense_heads.BATCH} "
    f"images unless the option steps says otherwise, weight decay {DECAY:g}, warm-up, cosine), learning "
    f"rate of {dense_heads.RATES} by the cross-entropy at such pixels of val"
)
SCORED = (
    "on the image's own pixels inside the crop that the checkpoint sees (attribute pixels_seen: their share). Layers: "
    "those asked for, else the last"
)


def seen(preprocess: Preprocess, size: tuple[int, int]) -> dense.Places:
    """Which pixels of an image of this size the checkpoint sees, and where."""
    crop = preprocess.height, preprocess.width
    if size == crop:
        return dense.places(size, size, (0, 0), crop)
    height, width, top, left = preprocess.geometry(*size)
    return dense.places(size, (height, width), (top, left), crop)


def values(maps: PixelMaps, index: int, places: dense.Places) -> np.ndarray:
    """The map of an image at the pixels that are seen: float32 (rows, columns), NaN where nothing is known."""
    found = maps[index][np.ix_(places.rows, places.columns)]
    known = found.astype(np.float32)
    return known if maps.ignore is None else np.where(found == maps.ignore, np.float32(np.nan), known)


def maps_of(measurements: Measurements, kind: str) -> dict[str, PixelMaps]:
    """The maps of each split: kind "segmentation" or "depth"; a probe that reads them requires them."""
    return {split: getattr(measurements.images(split), kind) for split in SPLITS}


class Sample:
    """Pixels drawn once from each image of a split: `places` (images, pixels, 2) and `values` (images, pixels).

    The draw depends on the seed and the image's rank by its pixels. An image without known pixels has NaN throughout.
    """

    def __init__(self, measurements: Measurements, split: str, maps: PixelMaps) -> None:
        rows = measurements.size(split)
        self.places = np.full((rows, PIXELS, 2), 0.5, dtype=np.float32)
        self.values = np.full((rows, PIXELS), np.nan, dtype=np.float32)
        for index, rank in enumerate(measurements.order(rows, split)):
            rng = np.random.default_rng([measurements.seed, int(rank)])
            places, known = known_pixels(measurements, maps, index)
            if len(known):
                drawn = rng.choice(len(known), PIXELS, replace=len(known) < PIXELS)
                self.places[index], self.values[index] = places[drawn], known[drawn]


def known_pixels(measurements: Measurements, maps: PixelMaps, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (y and x as shares) and values of an image's pixels that are seen and known: (n, 2), (n,)."""
    found = maps[index]
    where = seen(measurements.preprocess, (found.shape[0], found.shape[1]))
    known = values(maps, index, where)
    rows, columns = np.nonzero(np.isfinite(known))
    return np.stack([where.y[rows], where.x[columns]], axis=1), known[rows, columns]


def fitted_head(
    readers: dict[str, Reader],
    samples: dict[str, Sample],
    target: Callable[[np.ndarray], np.ndarray],
    *,
    classes: int,
    steps: int,
) -> dense_heads.LinearHead:
    """The linear head of a layer: fitted on train, learning rate chosen on val."""
    measurements, layer = readers["train"].measurements, readers["train"].layer

    def drawn(split: str, rows: np.ndarray) -> dense_heads.Drawn:
        sample, device = samples[split], measurements.device
        places = torch.from_numpy(sample.places[rows]).to(device)
        return readers[split].tokens(rows), places, torch.from_numpy(target(sample.values[rows])).to(device)

    def train(count: int) -> Iterator[dense_heads.Drawn]:
        return (drawn("train", rows) for _, rows in readers["train"].shuffled(count, dense_heads.BATCH))

    def val() -> Iterator[dense_heads.Drawn]:
        return (drawn("val", rows) for rows in batches(readers["val"]))

    statistics = dense_heads.moments(readers["train"].tokens(rows) for rows in batches(readers["train"]))
    grid = measurements.layer_grid(layer)
    return dense_heads.fit_linear(train, val, statistics, grid=grid, classes=classes, steps=steps)


def batches(reader: Reader) -> Iterator[np.ndarray]:
    """All rows in order, some at a time."""
    for start in range(0, reader.rows, dense_heads.BATCH):
        yield np.arange(start, min(start + dense_heads.BATCH, reader.rows))


def predicted(
    test: Reader, maps: PixelMaps, score: Callable[[Tensor], Tensor], reduce: Callable[[Tensor], Tensor]
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Of each test image what is predicted and what is true at the pixels that are seen, and the share of these.

    Args:
        test: tokens of the test images.
        maps: the truth.
        score: tokens (images, patches, width) to scores (images, patches, classes).
        reduce: scores of pixels (pixels, classes) to what is predicted (pixels,).
    """
    measurements = test.measurements
    grid = measurements.layer_grid(test.layer)
    for rows in batches(test):
        with torch.inference_mode():
            scores = score(test.tokens(rows))
        for row, one in zip(rows, scores, strict=True):
            size = maps[int(row)].shape
            where = seen(measurements.preprocess, (size[0], size[1]))
            found = dense_heads.at_pixels(one.reshape(*grid, -1), where.y, where.x, reduce)
            yield found, values(maps, int(row), where), found.size / (size[0] * size[1])


def pictures(guess: np.ndarray, true: np.ndarray, measurements: Measurements) -> np.ndarray:
    """What is predicted and what is true, at the size of kept pictures, by nearest neighbour: float32 (2, rows,
    columns)."""
    rows, columns = picture_size(measurements)
    at = (np.arange(rows) * guess.shape[0] // rows, np.arange(columns) * guess.shape[1] // columns)
    return np.stack([one[np.ix_(*at)] for one in (guess, true)]).astype(np.float32)


def examples_of(name: str, words: str, shown: list[np.ndarray], measurements: Measurements) -> dict[str, xr.DataArray]:
    """The images that are kept, with the predicted and the true map of each.

    Args:
        name: of the quantity, e.g. "depth".
        words: what a map holds.
        shown: as `pictures` gives them, one for each image that is kept.
    """
    if not shown:
        return {}
    guessed, true = np.stack(shown, axis=1)
    out = {"example_image": example_images(measurements)}
    for key, values, word in ((name, guessed, "Predicted"), (f"{name}_true", true, "True")):
        attrs = {"long_name": f"{word} {words}", "units": "1"}
        out[f"example_{key}"] = xr.DataArray(values, dims=IMAGE_DIMS[:3], attrs=attrs)
    return out
