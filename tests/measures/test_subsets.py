"""Statistics at a stated number of images: balanced subsets, and sets of different size that compare."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.errors import ProbeError
from probekit.measures import label_free, resample
from probekit.measures.subsets import mean_over_subsets, subsets

RNG = np.random.default_rng(0)
MIX = RNG.standard_normal((40, 40)) * np.arange(1, 41) ** -0.3


@pytest.mark.parametrize(("images", "size", "count"), [(100, 30, 4), (100, 100, 1), (100, 99, 2), (5000, 50, 16)])
def test_subsets_use_every_image_nearly_equally_often(images: int, size: int, count: int) -> None:
    found = subsets(images, size, seed=3)
    assert found.shape == (count, size)
    assert (np.diff(found, axis=1) > 0).all()
    used = np.bincount(found.ravel(), minlength=images)
    assert used.max() - used.min() <= 1


def test_subsets_depend_on_the_images_not_on_their_order() -> None:
    place = RNG.permutation(60)
    values = RNG.standard_normal(60)
    first = values[subsets(60, 20, order=np.argsort(np.argsort(values)))]
    again = values[place][subsets(60, 20, order=np.argsort(np.argsort(values[place])))]
    np.testing.assert_array_equal(np.sort(first, axis=1), np.sort(again, axis=1))


def test_fewer_images_than_a_subset_are_named() -> None:
    with pytest.raises(ProbeError, match="subsets of 20 images need 20 or more, there are 19"):
        subsets(19, 20)


def test_the_mean_over_subsets_has_the_jackknife_of_a_mean() -> None:
    """Of a mean, the mean over balanced subsets is the mean, and its jackknife the mean's own."""
    rows, blocks = RNG.standard_normal((60, 1)), resample.blocks(60, seed=1)
    value, interval = mean_over_subsets(lambda part: float(part.mean()), rows, subsets(60, 20), blocks)
    assert value == pytest.approx(rows.mean())
    known, ends = resample.jackknife(lambda kept: float(rows[kept[blocks.of_image]].mean()), blocks.count)
    assert known == pytest.approx(value)
    np.testing.assert_allclose(np.diff(interval), np.diff(ends), rtol=0.1)


@pytest.mark.parametrize("name", ["rankme", "lidar"])
def test_sets_of_different_size_compare(name: str) -> None:
    """At all images the statistic grows by more than its interval; at 64 of them it does not."""
    statistic = {"rankme": label_free.rankme, "lidar": label_free.lidar}[name]

    def features(images: int) -> np.ndarray:
        own = RNG.standard_normal((images, 40)) @ MIX
        return own if name == "rankme" else own[:, None] + 0.5 * RNG.standard_normal((images, 3, 40))

    found, whole = [], []
    for images in (64, 900):
        rows = features(images)
        blocks = resample.blocks(images)
        whole.append(statistic(rows))
        found.append(mean_over_subsets(statistic, rows, subsets(images, 64), blocks))
    (few, wide), (many, narrow) = found
    assert few == pytest.approx(whole[0])
    assert whole[1] > wide[1]
    assert wide[0] < many < wide[1]
    assert np.diff(narrow) < np.diff(wide)


def test_few_images_of_many_dims_have_the_same_numbers_as_by_second_moments() -> None:
    wide = RNG.standard_normal((30, 50)) + 1
    moments = wide.T @ wide
    assert label_free.rankme(wide) == pytest.approx(label_free.gram_rankme(np.linalg.eigvalsh(moments), 30), rel=1e-8)
    centred = wide - wide.mean(axis=0)
    known = label_free.covariance_alpha(np.linalg.eigvalsh(centred.T @ centred / 30))
    assert label_free.alpha_req(wide) == pytest.approx(known, rel=1e-6)
