"""Test sets drawn from a known truth, and the intervals that probes would give of them.

Where there is no formula for the truth, it is the mean over many test sets of the same size (statistics at n images),
or that of one very large set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

from probekit.latents import LatentGraph, expected_levels
from probekit.measures import classify, dense, identifiability, label_free, resample, similarity, subsets
from probekit.measures.ladder import ladder
from probekit.measures.level_shares import level_terms
from probekit.measures.recovery_profile import recovery_limit, recovery_profile
from probekit.probes.embedding import mean_silhouette
from probekit.probes.intervals import explained, mean_with_interval
from probekit.probes.level_spectrum import spectra

Floats = np.ndarray
ALONE = SimpleNamespace(groups=lambda rows: None, order=lambda rows: None, seed=0, lacking={})
"""What intervals read of measurements: images that are independent, in the order they come."""

LARGE = 200_000
"""Images of a set that stands for endlessly many."""

DIMS = 24
SPREAD = np.arange(1, DIMS + 1) ** -0.5


def one_by_one(
    interval: Callable[[np.random.Generator, int], Floats],
    truth: float | Callable[[np.random.Generator, int, int], float],
) -> Callable[[np.random.Generator, int, int], tuple[Floats, float]]:
    """Simulate by drawing one test set after the other.

    Args:
        interval: of (generator, images).
        truth: a number, or a function of (generator, sets to take the mean over, images).
    """

    def simulate(rng: np.random.Generator, simulations: int, images: int) -> tuple[Floats, float]:
        found = np.stack([interval(rng, images) for _ in range(simulations)])
        return found, truth(rng, simulations, images) if callable(truth) else truth

    return simulate


def mean_of(statistic: Callable[[Floats], float], draw: Callable[..., Floats], size: int = 0) -> Callable[..., float]:
    """The truth of a statistic at n images: its mean over sets of n (or of `size`)."""
    return lambda rng, sets, images: float(np.mean([statistic(draw(rng, size or images)) for _ in range(sets)]))


def accuracy(chance: float) -> Callable[..., tuple[Floats, float]]:
    def simulate(rng: np.random.Generator, simulations: int, images: int) -> tuple[Floats, float]:
        right = (rng.random((simulations, images)) < chance).astype(np.float32)
        return mean_with_interval(ALONE, right)[1], chance

    return simulate


def mean(draw: Callable[..., Floats], truth: float) -> Callable[..., tuple[Floats, float]]:
    return lambda rng, simulations, images: (mean_with_interval(ALONE, draw(rng, (simulations, images)))[1], truth)


def grouped(rng: np.random.Generator, simulations: int, groups: int) -> tuple[Floats, float]:
    """Five crops of each photograph, half of whose variance is the photograph's."""
    values = rng.normal(size=(simulations, groups, 1)) + rng.normal(size=(simulations, groups, 5))
    labels = np.repeat(np.arange(groups), 5)
    crops = SimpleNamespace(groups=lambda rows: labels, order=lambda rows: None, seed=0, lacking={})
    return mean_with_interval(crops, values.reshape(simulations, -1))[1], 0.0


def balanced(rng: np.random.Generator, simulations: int, images: int) -> tuple[Floats, float]:
    """Three classes of unequal size and recall."""
    chances, labels = np.array([0.9, 0.6, 0.4]), np.searchsorted([0.6, 0.9], rng.random(images))
    right = rng.random((simulations, images)) < chances[labels]
    return mean_with_interval(ALONE, classify.balanced_contributions(right, labels))[1], float(chances.mean())


def decided(rng: np.random.Generator, simulations: int, images: int) -> tuple[Floats, float]:
    """Shape or texture, or neither (NaN) in two of five images."""
    shape = np.where(rng.random((simulations, images)) < 0.6, rng.random((simulations, images)) < 0.3, np.nan)
    return mean_with_interval(ALONE, shape)[1], 0.3


def recall(rng: np.random.Generator, simulations: int, images: int) -> tuple[Floats, float]:
    return resample.wilson(rng.binomial(images, 0.8, simulations), np.full(simulations, images)), 0.8


def low_shot(rng: np.random.Generator, simulations: int, draws: int) -> tuple[Floats, float]:
    """Accuracies of a few draws of the train images, as the probe combines them."""
    each = rng.beta(30, 20, size=(simulations, draws))
    reach = stats.t.ppf(0.975, draws - 1) * each.std(axis=1, ddof=1) / draws**0.5
    return np.stack([each.mean(axis=1) - reach, each.mean(axis=1) + reach], axis=1), 0.6


def r2(noise: float) -> Callable[..., tuple[Floats, float]]:
    """The predictor 0.9 x of x + noise: 1 - (0.01 + noise²) / (1 + noise²)."""

    def simulate(rng: np.random.Generator, simulations: int, images: int) -> tuple[Floats, float]:
        x, error = rng.standard_normal((2, simulations, images))
        total = (x + noise * error) ** 2
        return explained(ALONE, (0.1 * x + noise * error) ** 2, total)[1], 1 - (0.01 + noise**2) / (1 + noise**2)

    return simulate


def depth(rng: np.random.Generator, simulations: int, images: int) -> tuple[Floats, float]:
    """Root mean squared error over pixels, of images with unequally many."""
    pixels = rng.integers(50, 1000, size=(simulations, images)).astype(float)
    level = rng.chisquare(3, size=(simulations, images)) / 3
    return np.sqrt(resample.ratio_interval(level * pixels, pixels)), 1.0


def iou(rng: np.random.Generator, images: int) -> Floats:
    """Six classes, each in half of the images, with overlaps around .3 to .8 of their unions."""
    union = (rng.random((6, images)) < 0.5) * rng.integers(20, 400, size=(6, images))
    right = rng.binomial(union, rng.beta(6 * OVERLAP[:, None], 6 * (1 - OVERLAP[:, None]), size=(6, images)))
    return dense.mean_iou_interval(right, union)[0]


OVERLAP = np.linspace(0.3, 0.8, 6)


def features(rng: np.random.Generator, images: int) -> Floats:
    return rng.standard_normal((images, DIMS)) * SPREAD + 0.3


def views(rng: np.random.Generator, images: int) -> Floats:
    return features(rng, images)[:, None] + 0.5 * rng.standard_normal((images, 4, DIMS))


def two(rng: np.random.Generator, images: int) -> Floats:
    """Two representations of the same images, half of one in the other: (2, images, dims)."""
    first = features(rng, images)
    return np.stack([first, 0.7 * first[:, ::-1] + 0.5 * rng.standard_normal((images, DIMS))])


def blocked(rng: np.random.Generator, images: int) -> resample.Blocks:
    return resample.blocks(images, seed=int(rng.integers(1 << 30)))


def spectrum_interval(name: str) -> Callable[[np.random.Generator, int], Floats]:
    return lambda rng, n: label_free.jackknife_spectrum(features(rng, n), blocked(rng, n))[name][1]


def subset_interval(
    statistic: Callable[[Floats], float], draw: Callable[..., Floats], size: int
) -> Callable[[np.random.Generator, int], Floats]:
    def interval(rng: np.random.Generator, images: int) -> Floats:
        chosen = subsets.subsets(images, size, seed=int(rng.integers(1 << 30)))
        return subsets.mean_over_subsets(statistic, draw(rng, images), chosen, blocked(rng, images))[1]

    return interval


def cka_interval(rng: np.random.Generator, images: int) -> Floats:
    return label_free.jackknife_cka_pairs(two(rng, images), blocked(rng, images))[1][0, 1]


def cka(pair: Floats) -> float:
    return float(label_free.jackknife_cka_pairs(pair, resample.blocks(pair.shape[1], count=2))[0][0, 1])


def debiased_interval(rng: np.random.Generator, images: int) -> Floats:
    return similarity.debiased_cka_interval(*two(rng, images), blocked(rng, images))[1]


def debiased_truth(rng: np.random.Generator, sets: int, images: int) -> float:
    return float(np.mean([similarity.debiased_cka(*two(rng, 600)) for _ in range(sets // 5)]))


def jackknifed(statistic: Callable[..., float], draw: Callable[..., tuple[Floats, ...]]) -> Callable[..., Floats]:
    """The interval of a statistic of (values per image, ...) by leaving out blocks."""

    def interval(rng: np.random.Generator, images: int) -> Floats:
        parts, blocks = draw(rng, images), blocked(rng, images)

        def measure(kept: Floats) -> float:
            return statistic(*(one[kept[blocks.of_image]] for one in parts))

        return resample.jackknife(measure, blocks.count)[1]

    return interval


def confident(rng: np.random.Generator, images: int) -> tuple[Floats, ...]:
    """A head that is too sure: right .8 of what it says."""
    sure = rng.beta(5, 2, size=images)
    return sure, rng.random(images) < 0.8 * sure


def scored(rng: np.random.Generator, images: int) -> tuple[Floats, ...]:
    """Four labels, each of three images in ten, and scores that know something."""
    told = rng.random((images, 4)) < 0.3
    return told, told * np.array([0.5, 1.0, 1.5, 2.0]) + rng.standard_normal((images, 4))


def coded(rng: np.random.Generator, images: int) -> tuple[Floats, ...]:
    """Six latents, and codes that hold each with noise of its own and a part of the next."""
    latents = rng.standard_normal((images, 6))
    noise = np.linspace(0.3, 1.5, 6) * rng.standard_normal((images, 6))
    return latents + 0.3 * np.roll(latents, 1, axis=1) + noise, latents


MATCH = identifiability.match(*coded(np.random.default_rng(0), 5000))


def matched(statistic: Callable[..., float]) -> Callable[..., tuple[Floats, float]]:
    measure = partial(_of_match, statistic)
    return one_by_one(jackknifed(measure, coded), lambda rng, sets, images: measure(*coded(rng, LARGE)))


def _of_match(statistic: Callable[..., float], codes: Floats, latents: Floats) -> float:
    return statistic(codes, latents, MATCH)


def classed(rng: np.random.Generator, images: int) -> tuple[Floats, Floats]:
    labels = np.arange(images) % 5
    return np.random.default_rng(1).standard_normal((5, 8))[labels] + rng.standard_normal((images, 8)), labels


def silhouette_interval(rng: np.random.Generator, images: int) -> Floats:
    rows, labels = classed(rng, images)
    distances = cdist(rows, rows)
    return resample.subsample_interval(
        lambda kept: mean_silhouette(distances, labels, kept), images, seed=int(rng.integers(99))
    )[1]


def silhouette_truth(rng: np.random.Generator, sets: int, images: int) -> float:
    found = []
    for _ in range(5 * sets):
        rows, labels = classed(rng, images)
        found.append(label_free.silhouette(cdist(rows, rows), labels).mean())
    return float(np.mean(found))


WEIGHTS = np.array([1.0, 0.6, 0.8])


def spectrum(level: int | None) -> Callable[..., tuple[Floats, float]]:
    """Features that add noise of levels 0 to 2: the share of a level, or (None) the mean height."""
    truth = WEIGHTS**2 / (WEIGHTS**2).sum()

    def interval(rng: np.random.Generator, pairs: int) -> Floats:
        noise = rng.standard_normal((3, pairs, 3))
        terms = []
        for above in (1, 2):
            fresh = np.concatenate([rng.standard_normal((above, pairs, 3)), noise[above:]])
            terms.append(level_terms(np.tensordot(WEIGHTS, noise, 1), np.tensordot(WEIGHTS, fresh, 1)))
        covariance, variance = np.moveaxis(np.array(terms), (0, 1, 2), (2, 0, 1))[:, :, None, None, None]
        _, share, _, height, _ = spectra(covariance, variance, int(rng.integers(99)))
        return (height if level is None else share[..., level, :]).reshape(2)

    return one_by_one(interval, float(truth @ np.arange(3)) if level is None else float(truth[level]))


CENTRES = np.random.default_rng(2).standard_normal((10, 6))


def ladder_views(rng: np.random.Generator, images: int) -> tuple[Floats, Floats, Floats]:
    """Views in which every rung has variance, their classes, and two superclasses."""
    classes = np.arange(images) % 10
    out = np.repeat((0.7 * CENTRES[classes] + rng.standard_normal((images, 6)))[:, None], 4, axis=1)
    out[:, :3] += 0.8 * rng.standard_normal((images, 1, 6))
    out[:, 3] += 0.8 * rng.standard_normal((images, 6))
    out[:, :2] += 0.6 * rng.standard_normal((images, 1, 6))
    out[:, 2:] += 0.6 * rng.standard_normal((images, 2, 6))
    return out + 0.5 * rng.standard_normal(out.shape), classes, (classes >= 4).astype(int)


def ladder_level(scaling: str) -> Callable[..., tuple[Floats, float]]:
    def interval(rng: np.random.Generator, images: int) -> Floats:
        return resample.mean_interval(ladder(*ladder_views(rng, images), scaling=scaling).level_images, draws=1000)

    return one_by_one(interval, lambda rng, sets, images: ladder(*ladder_views(rng, 20_000), scaling=scaling).level)


LEVELS = np.array([1, 1, 2, 3])
GAIN = 0.2


def world(rng: np.random.Generator, images: int) -> tuple[Floats, Floats, Floats]:
    """Residuals, deviations and residuals of two twins: recovery .5, .3 and .6, of which `GAIN` is by training."""
    read, hardness = np.array([[0.5, 0.5, 0.3, 0.6]])[..., None], rng.chisquare(8, size=images) / 8
    total = rng.chisquare(4, size=(4, images)) / 4
    twins = (1 - read + GAIN) * hardness * rng.chisquare(6, size=(2, 1, 4, images)) / 6
    return (1 - read) * hardness * rng.chisquare(6, size=(1, 4, images)) / 6, total, twins


def profile(name: str, truth: float) -> Callable[..., tuple[Floats, float]]:
    def interval(rng: np.random.Generator, images: int) -> Floats:
        residual, total, twins = world(rng, images)
        found = getattr(recovery_profile(residual, total, LEVELS, untrained=twins, seed=int(rng.integers(99))), name)
        return found.interval.reshape(-1, 2)[0]

    return one_by_one(interval, truth)


def limit_interval(rng: np.random.Generator, images: int) -> Floats:
    """A regressor of half the strength leaves a tenth more."""
    residual, total, _ = world(rng, images)
    weaker = 1.1 * residual * rng.chisquare(400, size=residual.shape) / 400
    return recovery_limit(residual, weaker, total, LEVELS, seed=int(rng.integers(99)))[1][0, 0]


def reaching_interval(rng: np.random.Generator, images: int) -> Floats:
    """As the probe has it: the upper end reaches to the limit's."""
    residual, total, _ = world(rng, images)
    ends = recovery_profile(residual, total, LEVELS, seed=1).recovery.interval[0, 0]
    limit = recovery_limit(residual, 1.1 * residual, total, LEVELS, seed=1)[1][0, 0]
    return np.array([ends[0], max(ends[1], limit[1])])


GRAPH = LatentGraph.quadtree(3)


def masks(rng: np.random.Generator, count: int) -> Floats:
    found = expected_levels(GRAPH, [0.75], [1], n_masks=count, seed=int(rng.integers(1 << 30)))
    return found["binding_level_ci"].values.reshape(2)


def masks_truth(rng: np.random.Generator, sets: int, count: int) -> float:
    return float(expected_levels(GRAPH, [0.75], [1], n_masks=20_000, seed=1)["binding_level"].item())
