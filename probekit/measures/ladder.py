"""The level ladder: what a representation keeps apart on ordinary images, where no latents are known.

Pairs of images share less and less. For each kind of pair, S = tr Cov(f(x), f(x')) / tr Var f is the share of the
features' variance that the shared part explains (a closed Sobol index, as in the level spectrum):

    pair                                   shares
    1  same layout and appearance          everything but pixel noise
    2  fresh appearance                    layout and image
    3  fresh layout and appearance         the image
    4  another image of the class          the class
    5  an image of another class           the superclass

The share of a rung is the difference of neighbouring indices: pixel = 1 - S1, appearance = S1 - S2, layout = S2 - S3,
image = S3 - S4, class = S4 - S5, superclass = S5. Without superclasses class = S4; without labels image = S3. The
**ladder level** is the sum of rung number x share, pixel = 0 ... superclass = 5.

Pairs 1 to 3 are views of one image. Pairs 4 and 5 are *all* pairs of different images, through sums per class, so they
need no forward of their own and are unbiased however small a class is. Since finitely many classes are no sample of
endlessly many, S5 of features that know the class alone is not 0 but -1 / (classes - 1).

Each image's part in every share comes with it (its influence, to first order): what intervals and paired differences
are made from.

Source: probekit; Sobol (1993) for the index; Hoeffding (1948) for the influence of means over pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probekit.errors import ProbeError, did_you_mean
from probekit.measures.whitening import fit_whitening

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RUNGS = ("pixel", "appearance", "layout", "image", "class", "superclass")
VIEWS = 4
"""Views of an image: the image itself, then its partners of pairs 1 to 3."""

SCALINGS = ("raw", "standardised", "whitened")


class Ladder(NamedTuple):
    """What `ladder` returns.

    Attributes:
        share: (6,), the share of each of `RUNGS`; NaN for rungs that labels or superclasses are missing for.
        level: the ladder level, from 0 to 5.
        share_images: (6, images), each image's part: the mean over images is `share`.
        level_images: (images,), likewise for `level`.
    """

    share: Floats
    level: float
    share_images: Floats
    level_images: Floats


class Centred(NamedTuple):
    """Features of views before they are scaled: what all scalings share.

    Attributes:
        views: (images, 4, dims), centred view by view.
        deviation: (dims,), over all views.
        varies: bool (dims,), whether the deviation is more than rounding.
    """

    views: Floats
    deviation: Floats
    varies: NDArray[np.bool_]


def centred(views: ArrayLike | Centred) -> Centred:
    """Features (images, 4, dims), checked and centred; what is already centred is returned as it is.

    Raises:
        ProbeError: another shape, fewer than two images, or values that are not finite.
    """
    if isinstance(views, Centred):
        return views
    array = np.asarray(views, dtype=np.float64)
    if array.ndim != 3 or array.shape[1] != VIEWS or len(array) < 2:
        raise ProbeError(f"Features of shape {array.shape}, expected (images, {VIEWS}, dims) with two images or more.")
    peak = max(float(array.max()), -float(array.min())) if array.size else 0.0
    if not np.isfinite(peak):
        raise ProbeError("Features hold NaN or infinity: the model's output is not a number there.")
    array = array - array.mean(axis=0)
    deviation = np.sqrt(np.einsum("nvd,nvd->d", array, array) / (len(array) * VIEWS))
    return Centred(array, deviation, deviation > 1e-6 * max(peak, np.finfo(float).tiny))


def scaled(views: ArrayLike | Centred, scaling: str) -> Floats:
    """Features (images, 4, dims) in one of `SCALINGS`, centred view by view.

    Raises:
        ProbeError: see `centred`; an unknown scaling, a constant representation, or (whitened) fewer than two images
            per dimension.
    """
    array, deviation, varies = centred(views)
    if scaling not in SCALINGS:
        raise ProbeError(f"No scaling {scaling!r}. {did_you_mean(scaling, SCALINGS)}")
    if scaling == "whitened":
        return fit_whitening(array.reshape(-1, array.shape[-1]), samples=len(array))(array)
    if not varies.any():
        raise ProbeError("The representation is constant: there is no variance to explain.")
    if not varies.all():
        array, deviation = array[..., varies], deviation[varies]
    return array if scaling == "raw" else array / deviation


def ladder(
    views: ArrayLike | Centred,
    classes: ArrayLike | None = None,
    superclasses: ArrayLike | None = None,
    *,
    scaling: str = "raw",
) -> Ladder:
    """The level ladder of one representation.

    Args:
        views: (images, 4, dims), features of the image and of its partners of pairs 1 to 3; or what `centred` gives of
            them, for several scalings.
        classes: int (images,), -1 where unknown; None = no labels.
        superclasses: int (images,), -1 where unknown; None = no superclasses. They need classes.
        scaling: "raw"; "standardised" (each dimension at unit variance); "whitened" (the same for every invertible
            linear map of the features).

    Returns:
        A `Ladder`. Shares sum to 1; chance can make single ones slightly negative.

    Raises:
        ProbeError: see `scaled`; labels of another length; superclasses without classes.

    Example:
        >>> identity = np.repeat(np.eye(50)[:, None], 4, axis=1)  # each image has a feature of its own
        >>> RUNGS[int(np.argmax(ladder(identity, np.arange(50) % 5).share))]
        'image'
    """
    array = scaled(views, scaling)
    images = len(array)
    squares = np.einsum("nvd,nvd->nv", array, array)
    indices, influences = [], []
    for view in range(1, VIEWS):
        product = np.einsum("nd,nd->n", array[:, 0], array[:, view])
        index, influence = _ratio(product, (squares[:, 0] + squares[:, view]) / 2)
        indices.append(index)
        influences.append(influence)
    for found in _between(array[:, 0], squares[:, 0], _checked(classes, superclasses, images)):
        indices.append(found[0])
        influences.append(found[1])
    return _assembled(np.array(indices), np.stack(influences))


def _ratio(above: Floats, below: Floats) -> tuple[float, Floats]:
    """Σ above / Σ below, and each image's influence on it (mean 0)."""
    index = above.sum() / below.sum()
    return float(index), (above - index * below) / below.mean()


def _checked(classes: ArrayLike | None, superclasses: ArrayLike | None, images: int) -> list[tuple[Ints, Ints]]:
    """(who is paired with whom, who is left out of it) for pairs 4 and 5, as far as labels allow."""
    if classes is None:
        if superclasses is not None:
            raise ProbeError("Superclasses without classes: give both, or neither.")
        return []
    labels = np.asarray(classes, dtype=np.int64)
    above = None if superclasses is None else np.asarray(superclasses, dtype=np.int64)
    for name, given in (("classes", labels), ("superclasses", above)):
        if given is not None and given.shape != (images,):
            raise ProbeError(f"{name} of shape {given.shape} for {images} images, expected ({images},).")
    alone = np.arange(images)
    return [(labels, alone)] if above is None else [(labels, alone), (above, labels)]


def _between(base: Floats, square: Floats, pairs: list[tuple[Ints, Ints]]) -> list[tuple[float, Floats]]:
    """S4 and S5 with influences: means over all pairs of the same group that are not of the same member.

    An image's partners are those of its group (class, superclass) that are another member (image, class).
    """
    images = len(base)
    variance = square.sum() / (images - 1)
    found = []
    for group, member in pairs:
        total, size = _sums(base, group)
        inner, inner_size = _sums(base, group * (member.max() + 1) + member)
        partners = np.where(group < 0, 0.0, size - inner_size)
        used = partners > 0
        if not used.any():
            found.append((np.nan, np.full(images, np.nan)))
            continue
        own = np.zeros(images)
        own[used] = np.einsum("nd,nd->n", base, total - inner)[used] / partners[used]
        mean = own[used].mean()
        # As a partner of others, an image adds its products with them, each over the number of that image's partners.
        share = np.where(used, 1 / np.maximum(partners, 1), 0.0)
        weighted, _ = _sums(np.concatenate([base, own[:, None]], axis=1) * share[:, None], group)
        inside, _ = _sums(
            np.concatenate([base, own[:, None]], axis=1) * share[:, None], group * (member.max() + 1) + member
        )
        others, expected = np.split(weighted - inside, [base.shape[1]], axis=1)
        received = np.where(used, np.einsum("nd,nd->n", base, others) - expected[:, 0], 0.0)
        influence = np.where(used, own - mean + received, 0.0) * (images / used.sum())
        # Of independent images the centred product is -variance / images, not 0.
        index = (mean + variance / images) / variance
        found.append((float(index), (influence - index * (square - square.mean())) / variance))
    return found


def _sums(rows: Floats, group: Ints) -> tuple[Floats, Floats]:
    """For each row, the sum over the rows of its group, and how many they are."""
    _, index, counts = np.unique(group, return_inverse=True, return_counts=True)
    if len(counts) == len(rows):
        return rows, np.ones(len(rows))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(rows[np.argsort(index, kind="stable")], starts, axis=0)
    return sums[index], counts[index].astype(np.float64)


def _assembled(indices: Floats, influences: Floats) -> Ladder:
    """From the indices S_1.. (k,) and influences (k, images) to shares of rungs."""
    known = 1 + int(np.isfinite(indices).cumprod().sum())  # rungs up to the first index that no pair exists for
    nested = np.concatenate([[1.0], indices[: known - 1], [0.0]])
    parts = np.zeros((known + 1, influences.shape[1]))
    parts[1:known] = influences[: known - 1]
    share, share_images = np.full(len(RUNGS), np.nan), np.full((len(RUNGS), influences.shape[1]), np.nan)
    share[:known] = -np.diff(nested)
    share_images[:known] = share[:known, None] - np.diff(parts, axis=0)
    level = float(nested[1:].sum())
    return Ladder(share, level, share_images, level + parts.sum(axis=0))
