"""How well frozen patch tokens find the same point in another view, without any fitting."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from probekit.collect import Measurements
from probekit.measures import dense, dense_heads, resample
from probekit.probes import dense_pixels
from probekit.probes.intervals import OVER_TEST, resampled
from probekit.probes.pictures import IMAGE_DIMS, example_images, examples, shrink
from probekit.schema import Variable

POINTS = 100
"""Points of each image that are matched, drawn from those whose match is known."""

THRESHOLDS = (0.02, 0.05, 0.1)

KEPT = 16
"""Matches of each kept image that go into the results."""

VARIABLES = (
    Variable(
        "correspondence_accuracy", ("layer", "threshold"), "Correct correspondences", "1", "higher",
        f"{POINTS} points of each test image whose match in its other view is known, drawn by the image's pixels; each "
        "goes to the pixel of the other view whose token (both bilinearly at the pixel) has the greatest cosine with "
        "its own; share of points within threshold x the image's longer side of the true match, over all points, on "
        "the image's own pixels inside the crop that the checkpoint sees. Nothing is fitted. Attribute same_place: the "
        "share for a match at the same place. Layers: those asked for, else the last",
        "Yang and Ramanan 2013 (PCK); Tang et al. 2023 (DIFT)",
        interval=OVER_TEST,
    ),
)  # fmt: skip
NEEDS = ("images:test",)
REQUIRES = ("test", "matches", "places")
OPTIONS: dict[str, Any] = {}


def run(measurements: Measurements) -> dict[str, xr.DataArray]:
    layers = list(measurements.token_layers)
    images = measurements.size("test")
    ranks = measurements.order(images)
    hits = np.zeros((len(layers) + 1, len(THRESHOLDS), images))  # the last row: a match at the same place
    counts = np.zeros(images)
    shown = np.full((examples(measurements), KEPT, len(ENDS)), np.nan, dtype=np.float32)
    for index in range(images):
        here, true, size = points(measurements, index, int(ranks[index]))
        counts[index] = len(here)
        if len(here):
            guesses = [*matched(measurements, index, layers, here, size), here]
            for i, guess in enumerate(guesses):
                hits[i, :, index] = dense.correct_matches(guess, true, size, THRESHOLDS)
            if index < len(shown):
                few = min(KEPT, len(here))
                shown[index, :few] = seen_places(measurements, [here, true, guesses[-2]], size)[:few]
    pixels = np.broadcast_to(counts, hits.shape)
    values = resample.ratio(hits, pixels)
    ends = resampled(
        measurements, images, resample.ratio_interval, hits[:-1], pixels[:-1],
        groups=measurements.groups(images), order=ranks,
    )  # fmt: skip
    per_image = resample.ratio_influence(hits[:-1], pixels[:-1]).astype(np.float32)
    coords: dict[str, Any] = {"layer": layers, "threshold": list(THRESHOLDS)}
    out = VARIABLES[0].arrays(values[:-1], ends, coords=coords, per_image=per_image)
    out["correspondence_accuracy"].attrs |= {"same_place": values[-1].tolist(), "points": int(counts.sum())}
    return out | pictures(measurements, shown)


ENDS = ("row", "column", "row_true", "column_true", "row_found", "column_found")
"""A kept match: the point, where it is in the other view, where it was found; shares of the picture."""


def seen_places(measurements: Measurements, found: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Pixels of the image, (n, 2) each, as shares of the crop that the checkpoint sees: (n, 2 x their number)."""
    where = dense_pixels.seen(measurements.preprocess, size)
    first = np.array([where.rows[0], where.columns[0]])
    extent = np.array([len(where.rows), len(where.columns)])
    return np.concatenate([(pixels - first + 0.5) / extent for pixels in found], axis=1)


def pictures(measurements: Measurements, shown: np.ndarray) -> dict[str, xr.DataArray]:
    """Both views of the images that are kept, and some matches of each."""
    if not len(shown):
        return {}
    test: Any = measurements.images("test")
    right = np.stack([measurements.preprocess(test.right(index)) for index in range(len(shown))])
    matches = xr.DataArray(shown, dims=("example", "match", "end"), coords={"end": list(ENDS)})
    return {
        "example_image": example_images(measurements),
        "example_other": xr.DataArray(shrink(right, measurements), dims=IMAGE_DIMS, attrs={"long_name": "Other view"}),
        "example_matches": matches.assign_attrs(long_name="Some matches, last layer", units="1"),
    }


def points(measurements: Measurements, index: int, rank: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Some points of an image and their true matches, (n, 2) each, and the image's (height, width)."""
    test: Any = measurements.images("test")
    here, there = test.correspondences(index)
    size = test[index].shape[:2]
    where = dense_pixels.seen(measurements.preprocess, size)
    inside = np.isin(here[:, 0], where.rows) & np.isin(here[:, 1], where.columns)
    for axis, kept in enumerate((where.rows, where.columns)):
        inside &= (there[:, axis] >= kept[0] - 0.5) & (there[:, axis] <= kept[-1] + 0.5)
    known = np.flatnonzero(inside)
    rng = np.random.default_rng([measurements.seed, rank])
    chosen = rng.permutation(known)[:POINTS]
    return here[chosen], there[chosen], size


def matched(
    measurements: Measurements, index: int, layers: list[int], here: np.ndarray, size: tuple[int, int]
) -> list[np.ndarray]:
    """For each layer the pixels of the other view that points are matched to, (n, 2)."""
    test: Any = measurements.images("test")
    preprocess = measurements.preprocess
    where = dense_pixels.seen(preprocess, size)
    at = np.stack(
        [
            where.y[np.searchsorted(where.rows, here[:, 0])],
            where.x[np.searchsorted(where.columns, here[:, 1])],
        ],
        axis=1,
    )
    places = torch.from_numpy(at).float().to(measurements.device)
    out = []
    images = encoder_input(measurements, [test[index], test.right(index)])
    for layer in layers:
        source, target = measurements.patch_tokens(images, layer)
        grid = measurements.layer_grid(layer)
        found = dense_heads.nearest_pixels(
            source.reshape(*grid, -1), target.reshape(*grid, -1), places, where.y, where.x
        )
        out.append(np.stack([where.rows[found[:, 0]], where.columns[found[:, 1]]], axis=1).astype(np.float64))
    return out


def encoder_input(measurements: Measurements, pictures: list[np.ndarray]) -> Tensor:
    """8-bit images as the checkpoint gets them: (pictures, channels, height, width)."""
    pixels = np.stack([measurements.preprocess(image) for image in pictures])
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(measurements.device)
    return measurements.preprocess.normalise(planes)
