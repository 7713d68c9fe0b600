"""Which level of the generating process features follow: shares of variance by height, mean height."""

from __future__ import annotations

from collections.abc import Callable

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
    pixels, simple = terms_of_pixels(measurements)
    _, _, mean, mean_ci, _ = spectra(*pixels, measurements.seed, order)
    out |= VARIABLES[2].arrays(mean, mean_ci, coords={"scaling": list(SCALINGS)})
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


Terms = tuple[np.ndarray, np.ndarray]
"""Covariance and variance terms, (pairs, ..., scalings, H) each."""

PIXELS = 1 << 23
"""Numbers of a part of the pairs: their images and those of one height's partners, 64 MiB in float64."""


def terms_of_pixels(measurements: Measurements) -> tuple[Terms, list[Terms]]:
    """The terms of all pixels, and of each of `BASELINES`. Large images are looked at in parts, twice: pixels are
    centred and scaled by what all pairs together say."""
    pairs = measurements.partners()
    sets = (pairs.image_set, *pairs.partners)
    dims = len(measurements.preprocess.mean) * int(np.prod(measurements.image_size))
    step = max(1, PIXELS // (2 * dims)) if pairs.rows < IMAGES_PER_DIMENSION * dims else pairs.rows
    parts = [np.arange(start, min(start + step, pairs.rows)) for start in range(0, pairs.rows, step)]
    weights = projections(dims)
    moments = [level_shares.Moments() for _ in sets]
    simple: list[list[list[np.ndarray]]] = [[[] for _ in sets] for _ in BASELINES]
    whole: list[np.ndarray] = []
    for rows in parts:
        for number, images in enumerate(sets):
            pixels = measurements.inputs(images, rows)
            for found, name in zip(simple, BASELINES, strict=True):
                found[number].append(baseline(name, pixels, weights))
            flat = level_shares.flat(pixels, least=1)
            moments[number].update(flat)
            if len(parts) == 1:
                whole.append(flat)
    del weights  # of large images they take hundreds of MB
    if len(parts) == 1:
        of_pixels = terms_of(whole)
    else:
        of_pixels = _in_parts(parts, lambda rows: [measurements.inputs(images, rows) for images in sets], moments)
    return of_pixels, [terms_of([np.concatenate(one) for one in found]) for found in simple]


def _in_parts(
    parts: list[np.ndarray],
    images: Callable[[np.ndarray], list[np.ndarray]],
    moments: list[level_shares.Moments],
) -> Terms:
    """As `terms_of`, part by part; not whitened, which takes two pairs for each pixel."""
    found: list[np.ndarray] = []
    for rows in parts:
        base, *others = images(rows)
        ours = level_shares.flat(base, least=1)
        terms = np.zeros((2, len(rows), len(SCALINGS), len(others)))
        for h, partner in enumerate(others):
            theirs = level_shares.flat(partner, least=1)
            for place, scaling in enumerate(level_shares.SCALINGS):
                about = moments[0], moments[h + 1]
                terms[:, :, place, h] = level_shares.terms_about(ours, theirs, about, scaling=scaling)
        found.append(terms)
    covariance, variance = np.concatenate(found, axis=1)
    return covariance, variance


def projections(dims: int) -> np.ndarray:
    """The weights of the random features, (dims, `RANDOM`)."""
    weights = np.random.default_rng(0).standard_normal((dims, RANDOM))
    weights /= np.sqrt(dims)  # in place: of large images they take hundreds of MB
    return weights


def baseline(name: str, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """One of `BASELINES` of images (pairs, channels, height, width): (pairs, features).

    Args:
        name: which.
        images: normalised.
        weights: `projections` of all pixels of an image.
    """
    if name == "random_features":
        return np.asarray(np.maximum(images.reshape(len(images), -1).astype(np.float64) @ weights, 0))
    cells = 1 if name == "mean_colour" else 4
    parts = [
        cell.mean(axis=(2, 3), dtype=np.float64)
        for row in np.array_split(images, cells, axis=2)
        for cell in np.array_split(row, cells, axis=3)
    ]
    return np.concatenate(parts, axis=1)


def terms_of(features: list[np.ndarray]) -> Terms:
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
