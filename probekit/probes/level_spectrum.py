"""Which level of the generating process features follow: shares of variance by height, mean height."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit import schema
from probekit.collect import Measurements
from probekit.collect.partners import SCALINGS, shared
from probekit.errors import ProbeError
from probekit.measures import level_shares, resample
from probekit.measures.whitening import IMAGES_PER_DIMENSION, RULE, fit_whitening
from probekit.schema import Variable

_PROTOCOL = (
    "S_h = tr Cov(f(x), f(x')) / tr Var f over pairs that share exactly the latents of height >= h (a closed Sobol "
    "index, nothing fitted), estimated from an image and its H partners, all pairs among them; no mask; for tokens "
    "over images at each position, traces summed over positions; raw, standardised (every dimension at unit variance), "
    f"or whitened ({RULE}; fitted on the test images, for tokens on their covariance at their own position, mean over "
    "positions): the same for every invertible linear map of the features"
)
_REFERENCE = "probekit; Sobol 1993 for the index, Kong et al. 2023 for the generating process"
_OVER = "bootstrap over pairs of test images"
_DIMS = ("layer", "pooling", "scaling")

BASELINES = ("pooled_pixels", "mean_colour", "random_features")
"""Pixels averaged over 4 x 4 cells; the mean colour; `RANDOM` rectified random projections of all pixels."""

RANDOM = 64
"""Few enough that the 150 pairs of the suite `paper` are two for each, which whitening needs."""

VARIABLES = (
    Variable(
        "level_share", (*_DIMS, "level"), "Share of variance by level", "1", "none",
        _PROTOCOL + "; share of level h = S_h - S_(h+1), level 0 = pixel noise", _REFERENCE, version=2,
        interval=_OVER,
    ),
    Variable(
        "representation_level", _DIMS, "Representation level", "levels", "none",
        _PROTOCOL + "; sum over h of h x share(h), from 0 (pixel noise) to H (root)", _REFERENCE, version=2,
        interval=_OVER,
    ),
    Variable(
        "representation_level_pixels", ("scaling",), "Representation level of raw pixels", "levels", "none",
        _PROTOCOL + "; f = the pixels that the checkpoint sees", _REFERENCE, version=2,
        interval=_OVER,
    ),
    Variable(
        "representation_level_untrained", _DIMS, "Representation level of the untrained encoder", "levels", "none",
        _PROTOCOL + "; f = the same architecture, freshly initialised with seed 0", _REFERENCE, version=3,
        interval=_OVER,
    ),
    Variable(
        "representation_level_baseline", ("baseline", "scaling"), "Representation level of simple features", "levels",
        "none", _PROTOCOL + "; f = pixels averaged over 4 x 4 cells; mean colour; or random features: "
        f"{RANDOM} rectified random projections of all pixels, weights drawn once (standard normal / sqrt(pixels))",
        _REFERENCE, interval=_OVER,
    ),
)  # fmt: skip
NEEDS = ("pairs",)
REQUIRES = ("latents", "test")
OPTIONS = {"untrained": True}
AFTER = {"untrained": ("untrained:pairs",)}


def run(measurements: Measurements, *, untrained: bool) -> dict[str, xr.DataArray]:
    covariance, variance = shared(measurements.store("pairs"))
    poolings = [*measurements.all_poolings, "token"]
    coords = {"layer": measurements.all_layers, "pooling": poolings, "scaling": list(SCALINGS)}
    order = measurements.order(len(covariance))
    share, share_ci, mean, mean_ci, per_image = spectra(covariance, variance, measurements.seed, order)
    levels_here = {**coords, "level": list(range(share.shape[-1]))}
    out = VARIABLES[0].arrays(share, share_ci, coords=levels_here)
    out |= VARIABLES[1].arrays(mean, mean_ci, coords=coords, per_image=per_image)
    if reason := missing_whitening(measurements, mean[..., -1]):
        measurements.lacking["representation_level, whitened"] = reason
    pixels = pixel_features(measurements)
    _, _, mean, mean_ci, _ = spectra(*terms_of(pixels), measurements.seed, order)
    out |= VARIABLES[2].arrays(mean, mean_ci, coords={"scaling": list(SCALINGS)})
    simple = [terms_of([baseline(name, images) for images in pixels]) for name in BASELINES]
    above, below = (np.stack([one[part] for one in simple], axis=1) for part in (0, 1))
    _, _, mean, mean_ci, _ = spectra(above, below, measurements.seed, order)
    here = {"baseline": list(BASELINES), "scaling": list(SCALINGS)}
    out |= VARIABLES[4].arrays(mean, mean_ci, coords=here)
    if untrained and (reason := measurements.model.no_twin):
        measurements.lacking["representation_level_untrained"] = reason
    elif untrained:
        twin = measurements.untrained()
        twin.gather(NEEDS)
        _, _, mean, mean_ci, _ = spectra(*shared(twin.store("pairs")), measurements.seed, order)
        out |= VARIABLES[3].arrays(mean, mean_ci, coords=coords)
    return out


def spectra(
    covariance: np.ndarray, variance: np.ndarray, seed: int, order: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Shares, their intervals, mean heights, their intervals, and per-pair contributions to the mean heights.

    Args:
        covariance, variance: (pairs, layers, poolings, scalings, H), levels 1..H. Where the variance is zero (features
            that do not vary, such as [CLS] at the embedding) no share is defined: NaN.
        seed: of the bootstrap.
        order: (pairs,), what pairs are sorted by before they are drawn.
    """
    pairs, *cells, height = covariance.shape
    above, below = covariance.reshape(pairs, -1).T, variance.reshape(pairs, -1).T
    sums = resample.bootstrap_sums(np.concatenate([above, below]), groups=None, order=order, seed=seed)
    top, bottom = np.split(sums, 2, axis=1)
    ratios = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
    drawn = level_shares.spectrum(ratios.reshape(len(ratios), *cells, height))
    # The mean height is the sum of S_1..S_H, so what a pair adds to it is the sum of its influences on each.
    per_image = resample.ratio_influence(above, below).reshape(*cells, height, pairs).sum(axis=-2)
    share = level_shares.spectrum(resample.ratio(above, below).reshape(*cells, height))
    share_ci = resample.percentiles(drawn, schema.CONFIDENCE)
    mean_ci = resample.percentiles(level_shares.representation_level(drawn), schema.CONFIDENCE)
    return share, share_ci, level_shares.representation_level(share), mean_ci, per_image.astype(np.float32)


def pixel_features(measurements: Measurements) -> list[np.ndarray]:
    """The pairs' images as the checkpoint sees them, then their partners: (pairs, channels, height, width) each."""
    pairs = measurements.partners()
    return [measurements.inputs(images, pairs.rows) for images in (pairs.image_set, *pairs.partners)]


def baseline(name: str, images: np.ndarray) -> np.ndarray:
    """One of `BASELINES` of images (pairs, channels, height, width): (pairs, features)."""
    if name == "random_features":
        flat = images.reshape(len(images), -1).astype(np.float64)
        weights = np.random.default_rng(0).standard_normal((flat.shape[1], RANDOM)) / np.sqrt(flat.shape[1])
        return np.asarray(np.maximum(flat @ weights, 0))
    cells = 1 if name == "mean_colour" else 4
    parts = [
        cell.mean(axis=(2, 3), dtype=np.float64)
        for row in np.array_split(images, cells, axis=2)
        for cell in np.array_split(row, cells, axis=3)
    ]
    return np.concatenate(parts, axis=1)


def terms_of(features: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Covariance and variance terms of images' and of their partners' features: (pairs, scalings, H), levels 1..H."""
    base, *others = (one.reshape(len(one), -1) for one in features)
    found = [
        [level_shares.level_terms(base, theirs, scaling=scaling) for scaling in level_shares.SCALINGS]
        + [whitened_terms(base, theirs)]
        for theirs in others
    ]
    covariance, variance = np.moveaxis(np.asarray(found), (0, 1, 2, 3), (3, 2, 0, 1))
    return covariance, variance


def whitened_terms(base: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The terms of whitened features; zeros, which have no share, where there are too few images to whiten."""
    try:
        whitening = fit_whitening(base)
    except ProbeError:
        return np.zeros(len(base)), np.zeros(len(base))
    return level_shares.level_terms(whitening(base), whitening(theirs))


def missing_whitening(measurements: Measurements, values: np.ndarray) -> str | None:
    """Why whitened levels (layer, pooling) are missing, if some are that have a raw level."""
    images, width = measurements.size("test"), max(measurements.widths)
    pairs = measurements.partners().rows
    if not np.isnan(values).any() or pairs >= IMAGES_PER_DIMENSION * width:
        return None
    return (
        f"whitening needs {IMAGES_PER_DIMENSION} images per dimension, {IMAGES_PER_DIMENSION * width} for features of "
        f"width {width}: there are {images} test images for [CLS] and mean pooling, and {pairs} pairs for tokens "
        "(counts: test, pairs)"
    )
