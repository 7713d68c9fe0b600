"""How well frozen patch tokens tell the class of every pixel: a linear head, and nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from probekit.collect import Measurements
from probekit.errors import ProbeError
from probekit.measures import dense, dense_heads
from probekit.measures.selection import described
from probekit.measures.weakness import odd_features, what_weakens
from probekit.probes import dense_pixels
from probekit.probes.intervals import OVER_IMAGES, resampled
from probekit.probes.patch_tokens import Reader
from probekit.probes.pictures import examples
from probekit.schema import Variable

BANK = 10_000
"""Train patches that neighbours are sought among."""

VARIABLES = (
    Variable(
        "segmentation_miou", ("layer", "readout"), "Segmentation, mean IoU", "1", "higher",
        f"linear: {dense_pixels.FITTED}. knn: {dense_heads.NEIGHBOURS} nearest (cosine) of at most {BANK} patches of "
        f"train, as many from each image, each with the shares of the classes in its pixels, weighted by exp(cosine / "
        f"{dense_heads.TEMPERATURE}); shares brought to pixels bilinearly. Intersection over union of each class over "
        "the whole test set, mean over the classes that occur or are predicted; ignored pixels count for nothing; "
        f"{dense_pixels.SCORED}",
        "Oquab et al. 2024 (DINOv2, linear); Darcet et al. 2025 (CAPI, k-NN); Everingham et al. 2010 (IoU)",
        interval=OVER_IMAGES,
    ),
)  # fmt: skip
NEEDS = ("tokens:train", "tokens:val", "tokens:test")
REQUIRES = ("splits", "segmentation", "places")
READOUTS = ("linear", "knn")
CHOICES = {"readouts": READOUTS}
OPTIONS = {"readouts": list(READOUTS), "steps": dense_heads.STEPS}


def run(measurements: Measurements, *, readouts: list[str], steps: int) -> dict[str, xr.DataArray]:
    maps = dense_pixels.maps_of(measurements, "segmentation")
    classes = len(maps["test"].classes)
    samples = {split: dense_pixels.Sample(measurements, split, maps[split]) for split in ("train", "val")}
    layers = list(measurements.token_layers)
    counts = np.zeros((2, len(layers), len(readouts), classes, measurements.size("test")))
    shown: list[np.ndarray] = []
    truth = np.zeros(classes, dtype=np.int64)
    rates, share = [], 1.0
    for i, layer in enumerate(layers):
        read = {split: Reader(measurements, split, layer, 1.0) for split in maps}
        for j, readout in enumerate(readouts):
            if readout == "linear":
                head = dense_pixels.fitted_head(read, samples, _classes, classes=classes, steps=steps)
                score: Callable[[Tensor], Tensor] = head.logits
                rates.append(head.rate)
            else:
                score = neighbours(read["train"], maps["train"], classes)
            counts[:, i, j], shown, share, truth = scored(read["test"], maps["test"], score, classes)
    right, union = counts
    values, ends = dense.mean_iou(right.sum(axis=-1), union.sum(axis=-1)), interval(measurements, right, union)
    say_what_weakens(measurements, values, ends, samples["train"], truth)
    measurements.lacking |= odd_features(
        read["test"].tokens(np.arange(min(4, read["test"].rows))).flatten(0, 1).cpu().numpy(), "tokens"
    )
    out = VARIABLES[0].arrays(values, ends, coords={"layer": layers, "readout": list(readouts)})
    out["segmentation_miou"].attrs |= {
        "classes": list(maps["test"].classes), "pixels_seen": share, **described(rates, dense_heads.RATES),
    }  # fmt: skip
    return out | pictures(measurements, readouts[-1], layers[-1], shown)


def _classes(values: np.ndarray) -> np.ndarray:
    """Class numbers as targets of the fit; what is unknown counts for nothing."""
    return np.where(np.isfinite(values), values, dense_heads.NONE).astype(np.int64)


def scored(
    test: Reader, maps: Any, score: Callable[[Tensor], Tensor], classes: int
) -> tuple[np.ndarray, list[np.ndarray], float, np.ndarray]:
    """Counts of each test image (2, classes, images), the first predictions as pictures, the share of pixels that are
    seen, and how many pixels each class has (classes,)."""
    counts, shares, truth = [], [], np.zeros(classes, dtype=np.int64)
    shown: list[np.ndarray] = []
    most = examples(test.measurements)
    for guess, true, share in dense_pixels.predicted(test, maps, score, lambda found: found.argmax(dim=1)):
        known = np.isfinite(true)
        right = true[known].astype(np.int64)
        counts.append(dense.class_counts(guess[known], right, classes))
        truth += np.bincount(right, minlength=classes)
        shares.append(share)
        if len(shown) < most:
            shown.append(dense_pixels.pictures(guess, true, test.measurements))
    return np.stack(counts, axis=-1), shown, float(np.mean(shares)), truth


def say_what_weakens(
    measurements: Measurements, values: np.ndarray, ends: np.ndarray, train: dense_pixels.Sample, truth: np.ndarray
) -> None:
    """Says where no mean IoU is above that of giving every pixel the class that most of train's have."""
    known = train.values[np.isfinite(train.values)].astype(np.int64)
    if not len(known) or not truth.sum():
        return
    most = np.bincount(known).argmax()
    right, union = np.zeros_like(truth), truth.copy()
    right[most], union[most] = truth[most], truth.sum()
    measurements.lacking |= what_weakens(
        values, ends, float(dense.mean_iou(right, union)), of="segmentation", score="mean IoU",
        without="giving every pixel the most frequent class",
    )  # fmt: skip


def neighbours(train: Reader, maps: Any, classes: int) -> Callable[[Tensor], Tensor]:
    """Scores by nearest neighbours among train patches; a patch without known pixels is none."""
    measurements = train.measurements
    grid = measurements.layer_grid(train.layer)
    patches = grid[0] * grid[1]
    ranks = measurements.order(train.rows, "train")
    each = max(1, min(patches, BANK // train.rows))
    bank, shares = [], []
    for rows in dense_pixels.batches(train):
        found = nn.functional.normalize(train.tokens(rows), dim=-1)
        for row, one in zip(rows, found, strict=True):
            if ranks[row] >= BANK:
                continue
            drawn = np.random.default_rng([measurements.seed, int(ranks[row])]).permutation(patches)[:each]
            places, known = dense_pixels.known_pixels(measurements, maps, int(row))
            at = (places * grid).astype(np.int64)
            cell = (at[:, 0] * grid[1] + at[:, 1]) * classes + known.astype(np.int64)
            pixels = np.bincount(cell, minlength=patches * classes).reshape(patches, classes)[drawn]
            some = pixels.sum(axis=1) > 0
            bank.append(one[torch.from_numpy(drawn[some]).to(one.device)])
            shares.append(pixels[some] / pixels[some].sum(axis=1, keepdims=True))
    table = torch.cat(bank)
    if not len(table):
        raise ProbeError("No pixel of the train images has a known class: there is nothing to compare with.")
    told = torch.from_numpy(np.concatenate(shares)).float().to(table.device)

    def score(found: Tensor) -> Tensor:
        unit = nn.functional.normalize(found, dim=-1)
        return torch.stack([dense_heads.neighbour_shares(one, table, told) for one in unit])

    return score


def interval(measurements: Measurements, right: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Bootstrap intervals of the mean IoU over test images: (layers, readouts, 2)."""
    images = right.shape[-1]
    more = {"groups": measurements.groups(images), "order": measurements.order(images)}
    cells = [
        resampled(measurements, images, dense.mean_iou_interval, right[at], union[at], **more)[0]
        for at in np.ndindex(right.shape[:2])
    ]
    return np.reshape(cells, (*right.shape[:2], 2))


def pictures(measurements: Measurements, readout: str, layer: int, shown: list[np.ndarray]) -> dict[str, xr.DataArray]:
    """The predicted class of each pixel, on the images that are kept."""
    return dense_pixels.examples_of("segmentation", f"class ({readout}, layer {layer})", shown, measurements)
