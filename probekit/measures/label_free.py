"""What features say without labels: effective rank, decay of the spectrum, LiDAR, CKA, Fourier amplitudes, silhouette.

Rank measures are functions of second moments alone, so these are summed once in float64, and leaving out a block of
images is
a subtraction: that is what makes jackknife intervals cheap. (A bootstrap is not to be used here: its duplicates
lower the rank.) See `jackknife_*`.

- RankMe: exp of the entropy of the singular values, normalised to sum one, of the features as they are (Garrido et al.,
  2023).
- alpha-ReQ: decay of the covariance's eigenvalues, rank^-alpha (Agrawal et al., 2022), fitted as in Stringer et al.
  (2019): log-log regression over ranks 11 to 500 (as far as there are any), weights 1 / rank.
- LiDAR: effective rank of the linear discriminant matrix where each image is a class and its views are the members
  (Thilak et al., 2023).
- Linear CKA: likeness of two representations of the same images, in [0, 1], whatever the rotation and scale of each
  (Kornblith et al., 2019).
- Fourier log-amplitude of feature maps along the diagonal, relative to frequency zero (Park and Kim, 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from probekit.errors import ProbeError
from probekit.measures.linear import Rows, chunks
from probekit.measures.resample import Blocks, jackknife, jackknife_ends

Floats = NDArray[np.float64]

ENTROPY_EPSILON = 1e-7
"""Added to normalised singular values, as RankMe and LiDAR have it."""
FIRST_RANK, LAST_RANK, FEWEST_RANKS = 11, 500, 5
"""Ranks that alpha-ReQ is fitted over; fewer than `FEWEST_RANKS` of them are no fit."""
NUMERICAL = 1e-12
"""Eigenvalues below this share of the largest are rounding."""
LIDAR_DELTA = 1e-4
"""Added to the diagonal of LiDAR's within-image covariance."""
AMPLITUDE_EPSILON = 1e-6
SPECTRA = 1 << 22
"""Numbers that are transformed at a time, 64 MiB of complex ones."""


def table(features: ArrayLike, least: int = 2) -> Floats:
    """Features as float64 (n, d), at least `least` rows, all finite."""
    array = np.asarray(features, dtype=np.float64)
    if array.ndim != 2 or len(array) < least:
        raise ProbeError(f"Features of shape {array.shape}, expected (images, dims) of {least} images or more.")
    if not np.isfinite(array).all():
        raise ProbeError("Features hold NaN or infinity: the model's output is not a number there.")
    return array


def effective_rank(sizes: Floats) -> float:
    """exp of the entropy of non-negative numbers normalised to sum one."""
    total = sizes.sum()
    if not total > 0:
        raise ProbeError("All features are zero: there is no spectrum.")
    shares = sizes / total + ENTROPY_EPSILON
    return float(np.exp(-np.sum(shares * np.log(shares))))


def gram_rankme(values: Floats, n: int) -> float:
    """RankMe from the ascending eigenvalues (d,) of the features' second moments over n images: of min(n, d) singular
    values."""
    return effective_rank(np.sqrt(np.maximum(values[::-1][: min(n, len(values))], 0)))


def covariance_alpha(values: Floats) -> float:
    """alpha-ReQ from the ascending eigenvalues (d,) of a covariance."""
    values = values[::-1]
    values = values[values > NUMERICAL * max(values[0], np.finfo(float).tiny)][:LAST_RANK]
    ranks = np.arange(FIRST_RANK, len(values) + 1, dtype=np.float64)
    if len(ranks) < FEWEST_RANKS:
        raise ProbeError(
            f"alpha-ReQ needs {FIRST_RANK + FEWEST_RANKS - 1} non-zero eigenvalues, these features have {len(values)}."
        )
    # polyfit squares its weights
    slope, _ = np.polyfit(np.log(ranks), np.log(values[FIRST_RANK - 1 :]), 1, w=np.sqrt(1 / ranks))
    return float(-slope)


def rankme(features: ArrayLike) -> float:
    """RankMe of features (n, d): between 1 and min(n, d)."""
    array = table(features)
    return gram_rankme(ascending(smaller_gram(array)), len(array))


def alpha_req(features: ArrayLike) -> float:
    """alpha-ReQ of features (n, d): 0 for a flat spectrum, about 1 for a good representation, more for a collapsed
    one."""
    array = table(features)
    array = array - array.mean(axis=0)
    return covariance_alpha(ascending(smaller_gram(array) / len(array)))


def ascending(matrices: Floats) -> Floats:
    """Eigenvalues of symmetric matrices (..., d, d), ascending: (..., d)."""
    return np.asarray(np.linalg.eigvalsh(matrices), dtype=np.float64)


def smaller_gram(array: Floats) -> Floats:
    """Second moments (d, d), or (n, n) where there are fewer images: their non-zero eigenvalues are the same."""
    return np.asarray(array.T @ array if len(array) >= array.shape[1] else array @ array.T)


def jackknife_spectrum(features: Rows, blocks: Blocks) -> dict[str, tuple[float, Floats]]:
    """RankMe and alpha-ReQ, each with its delete-a-block jackknife interval (2,), from one pass over the features.

    Args:
        features: (n, d), sliceable by rows.
        blocks: which images belong together (`resample.blocks`).
    """
    dims = features.shape[1]
    count = np.bincount(blocks.of_image, minlength=blocks.count).astype(np.float64)
    gram, total = np.zeros((blocks.count, dims, dims)), np.zeros((blocks.count, dims))
    for start, rows in chunks(features, np.float64):
        own = blocks.of_image[start : start + len(rows)]
        for block in np.unique(own):
            part = table_or_row(rows[own == block])
            gram[block] += part.T @ part
            total[block] += part.sum(axis=0)

    kept = np.concatenate([np.zeros((1, blocks.count)), np.eye(blocks.count)]) == 0  # all, then all but one
    counts, totals = kept @ count, kept @ total
    grams = np.stack([gram.sum(axis=0), *(gram.sum(axis=0) - gram)])
    means = totals / counts[:, None]
    spectra = ascending(grams)
    ranks = [gram_rankme(values, int(n)) for values, n in zip(spectra, counts, strict=True)]
    found = {"rankme": with_interval(ranks)}
    try:
        decays = ascending(grams / counts[:, None, None] - means[:, :, None] * means[:, None])
        found["alpha_req"] = with_interval([covariance_alpha(values) for values in decays])
    except ProbeError:
        found["alpha_req"] = (float("nan"), np.full(2, np.nan))
    return found


def with_interval(values: Sequence[float]) -> tuple[float, Floats]:
    """A statistic of all images and its jackknife interval, from it and from those with each block left out."""
    return values[0], jackknife_ends(np.asarray(values[0]), np.asarray(values[1:]))


def table_or_row(rows: Floats) -> Floats:
    """Finite float64 rows, one is enough."""
    if not np.isfinite(rows).all():
        raise ProbeError("Features hold NaN or infinity: the model's output is not a number there.")
    return rows


def lidar_of(means: Floats, within: Floats) -> float:
    """LiDAR from image means (images, d) and the pooled within-image covariance (d, d)."""
    centred = means - means.mean(axis=0)
    # With within = L L', the eigenvalues of within^-1/2 between within^-1/2 are the squared singular values of L^-1
    # centred' / root(images - 1); where there are fewer images than dims the others are 0.
    root = linalg.cholesky(within + LIDAR_DELTA * np.eye(len(within)), lower=True)
    values = linalg.svdvals(linalg.solve_triangular(root, centred.T, lower=True)) ** 2 / max(len(means) - 1, 1)
    return effective_rank(np.concatenate([values, np.zeros(len(within) - len(values))]))


def lidar(views: ArrayLike) -> float:
    """LiDAR of views (images, views, d): between 1 and min(images - 1, d).

    Raises:
        ProbeError: fewer than two images or views; NaN.
    """
    array = np.asarray(views, dtype=np.float64)
    if array.ndim != 3 or min(array.shape[:2]) < 2:
        raise ProbeError(
            f"Views of shape {array.shape}, expected (images, views, dims) of two images and two views or more."
        )
    table(array.reshape(len(array), -1))
    means = array.mean(axis=1)
    rest = (array - means[:, None]).reshape(-1, array.shape[2])
    return lidar_of(means, rest.T @ rest / (array.shape[0] * (array.shape[1] - 1)))


def cross_norms(a: Floats, b: Floats, blocks: Blocks) -> Floats:
    """Frobenius norms of the centred aᵀb: of all images, then with each block left out, (1 + blocks,)."""
    shape = (blocks.count, a.shape[1], b.shape[1])
    moments, sums_a, sums_b = np.empty(shape), np.empty(shape[:2]), np.empty((shape[0], shape[2]))
    for block in range(blocks.count):
        own = blocks.of_image == block
        part_a, part_b = a[own], b[own]
        moments[block], sums_a[block], sums_b[block] = part_a.T @ part_b, part_a.sum(axis=0), part_b.sum(axis=0)
    counts = np.bincount(blocks.of_image, minlength=blocks.count)
    total, total_a, total_b, n = moments.sum(axis=0), sums_a.sum(axis=0), sums_b.sum(axis=0), len(a)
    norms = [np.linalg.norm(total - np.outer(total_a, total_b) / n)]
    for block in range(blocks.count) if blocks.count > 1 else ():
        means = np.outer(total_a - sums_a[block], total_b - sums_b[block]) / (n - counts[block])
        norms.append(np.linalg.norm(total - moments[block] - means))
    return np.asarray(norms)


def cka_with_and_without(features: Sequence[ArrayLike], blocks: Blocks) -> Floats:
    """Linear CKA of every pair, of all images and with each block left out: (layers, layers, 1 + blocks).

    Each representation's own moments are computed once, not once for each pair. No more than two representations are
    held at a time, so `features` may read them as they are asked for.
    """
    images, own = len(blocks.of_image), []
    for array in map(centred, features):
        if len(array) != images:
            raise ProbeError(f"CKA of {images} and {len(array)} images: all must be of the same ones.")
        own.append(cross_norms(array, array, blocks))
    if min(norms.min() for norms in own) <= 0:
        raise ProbeError("CKA of a constant representation is undefined.")
    out = np.ones((len(own), len(own), len(own[0])))
    for i in range(len(own) - 1):
        first = centred(features[i])
        for j in range(i + 1, len(own)):
            out[i, j] = out[j, i] = cross_norms(first, centred(features[j]), blocks) ** 2 / (own[i] * own[j])
    return out


def centred(features: ArrayLike) -> Floats:
    """Features as float64 (n, d), each dimension at mean 0."""
    array = table(features)
    return np.asarray(array - array.mean(axis=0))


def jackknife_cka_pairs(features: Sequence[ArrayLike], blocks: Blocks) -> tuple[Floats, Floats]:
    """Linear CKA of every pair of representations, (layers, layers), and its jackknife interval, (layers, layers,
    2)."""
    values = cka_with_and_without(features, blocks)
    return values[..., 0], jackknife_ends(values[..., 0], values[..., 1:])


def jackknife_lidar(views: ArrayLike, blocks: Blocks) -> tuple[float, Floats]:
    """LiDAR of views (images, views, d) and its delete-a-block jackknife interval (2,)."""
    array = np.asarray(views, dtype=np.float64)
    lidar(array[:2])  # shapes and NaN
    means = array.mean(axis=1)
    rest = array - means[:, None]
    dims, degrees = array.shape[2], array.shape[1] - 1
    parts = [rest[blocks.of_image == block].reshape(-1, dims) for block in range(blocks.count)]
    within = np.stack([part.T @ part for part in parts])

    total = within.sum(axis=0)

    def measure(kept: NDArray[np.bool_]) -> float:
        images = kept[blocks.of_image]
        return lidar_of(means[images], (total - within[~kept].sum(axis=0)) / (images.sum() * degrees))

    return jackknife(measure, blocks.count)


def fourier_log_amplitude(tokens: ArrayLike) -> Floats:
    """Log-amplitude of feature maps by frequency, relative to frequency zero: (n, frequencies).

    Args:
        tokens: patch tokens (n, rows, columns, dims) in their grid.

    Returns:
        For each image the mean over dims of log |F(k, k)| - log |F(0, 0)|, k = 0 .. ceil(side / 2) - 1 along the
        diagonal of the smaller
        side, in nats: k / side cycles per patch. The last column says how much of the finest structure is left.
    """
    array = np.asarray(tokens)
    if array.ndim != 4 or min(array.shape[1:3]) < 2:
        raise ProbeError(
            f"Tokens of shape {array.shape}, expected (images, rows, columns, dims) of 2 x 2 patches or more."
        )
    steps = np.arange(-(-min(array.shape[1:3]) // 2))
    amplitude = np.empty((len(array), len(steps)))
    several = max(1, SPECTRA // max(1, array[0].size)) if len(array) else 1
    for start in range(0, len(array), several):
        part = slice(start, start + several)
        spectrum = np.fft.fft2(array[part].astype(np.float64), axes=(1, 2))[:, steps, steps]
        amplitude[part] = np.log(np.abs(spectrum) + AMPLITUDE_EPSILON).mean(axis=-1)
    return amplitude - amplitude[:, :1]


def silhouette(distances: ArrayLike, labels: ArrayLike) -> Floats:
    """Silhouette of each image by class, (n,), in [-1, 1]; 0 for an image that is alone in its class.

    Args:
        distances: between all pairs of images, (n, n). They are computed once and serve every subsample.
        labels: (n,), the class of each image.

    Returns:
        (b - a) / max(a, b), with a the mean distance to the other images of the class and b that to the nearest other
        class.

    Raises:
        ProbeError: one class only, or every image its own class.

    Source: Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis" (1987).
    """
    table = np.asarray(distances, dtype=np.float64)
    classes, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if not 2 <= len(classes) < len(table):
        raise ProbeError(
            f"Silhouette of {len(table)} images in {len(classes)} classes: it needs two classes and two images in one."
        )
    images = np.arange(len(table))
    sums = table @ (own[:, None] == np.arange(len(classes)))
    within = sums[images, own] / np.maximum(counts[own] - 1, 1)
    others = sums / counts
    others[images, own] = np.inf
    nearest = others.min(axis=1)
    larger = np.maximum(within, nearest)
    found = np.divide(nearest - within, larger, out=np.zeros_like(within), where=larger > 0)
    return np.asarray(np.where(counts[own] > 1, found, 0.0))
