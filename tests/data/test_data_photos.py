"""Photographs: no shared pixel between splits, stated overlap, the colour baseline, no download."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.data import SPLITS, load, photos
from probekit.data.baselines import colour_accuracy, colour_histograms
from probekit.data.photos import BLANK, MARGIN, Photos, pictures
from probekit.errors import DataError


def covered(image_set: Photos) -> dict[str, np.ndarray]:
    """Which pixels of each picture appear in a split."""
    maps = {name: np.zeros(pictures()[name].shape[:2], dtype=bool) for name in image_set.classes}
    for label, (top, left) in zip(image_set.labels, image_set.corners, strict=True):
        maps[image_set.classes[label]][top : top + image_set.crop, left : left + image_set.crop] = True
    return maps


@pytest.mark.parametrize(("size", "crop", "least"), [(32, 64, 20), (224, 96, 16)])
def test_no_pixel_is_in_two_splits(size: int, crop: int, least: int) -> None:
    sets = [load(f"photos?size={size}", split, count=400) for split in SPLITS]
    maps = []
    for image_set in sets:
        assert isinstance(image_set, Photos)
        assert image_set.crop == crop
        assert len(image_set.classes) >= least
        assert set(image_set.labels) == set(range(len(image_set.classes)))
        maps.append(covered(image_set))
    from scipy.ndimage import distance_transform_cdt

    for name in sets[0].classes:
        for first, second in ((0, 1), (0, 2), (1, 2)):
            far = distance_transform_cdt(~maps[first][name], metric="chessboard")
            assert far[maps[second][name]].min() > MARGIN


def test_groups_are_blocks() -> None:
    image_set = load("photos", count=300)
    assert isinstance(image_set, Photos)
    assert image_set.groups.dtype == np.int64
    inside = image_set.corners - image_set.blocks.corners[image_set.groups]
    assert inside.min() >= 0
    assert inside.max() <= photos.ROOM
    assert (image_set.blocks.labels[image_set.groups] == image_set.labels).all()
    assert len(np.unique(image_set.groups)) > 60


def test_overlap_is_computed_and_stated() -> None:
    image_set = load("photos", count=100)
    assert isinstance(image_set, Photos)
    shown = sum(int(area.sum()) for area in covered(image_set).values())
    assert image_set.overlap == pytest.approx(100 * image_set.crop**2 / shown)
    assert f"shown in {image_set.overlap:.1f} crops on average" in image_set.description
    assert "100 crops of 64 x 64 pixels resized to 32 x 32" in image_set.description


def test_a_crop_of_its_own_size_is_cut_out_and_not_resized() -> None:
    image_set = load("photos?size=64", count=20)
    assert isinstance(image_set, Photos)
    top, left = image_set.corners[7]
    assert (image_set[7] == pictures()[image_set.classes[7]][top : top + 64, left : left + 64]).all()
    assert "at row" in image_set.image_name(7)


def test_blank_blocks_are_left_out() -> None:
    image_set = load("photos", count=400)
    assert isinstance(image_set, Photos)
    for label, (top, left) in zip(image_set.blocks.labels, image_set.blocks.corners, strict=True):
        block = pictures()[image_set.classes[label]][top : top + 96, left : left + 96]
        assert block.std(axis=(0, 1)).max() >= BLANK


def test_whole_photographs() -> None:
    sets = [load("photos:whole", split) for split in SPLITS]
    titles = [title for image_set in sets for title in image_set.titles]  # type: ignore[attr-defined]
    assert sorted(titles) == sorted(pictures())
    assert len(sets[2]) >= 10
    assert {tuple(image_set.classes) for image_set in sets} == {("colour", "grey")}
    assert all(min(sets[2][index].shape[:2]) > 150 for index in range(len(sets[2])))


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("the network was used"))
    photos.pictures.cache_clear()
    assert len(pictures()) == 20


def test_a_picture_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(photos.PICTURES, "brick", "skimage/no-brick.png")
    photos.pictures.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"left out 1 of 20 pictures that are not installed: .*no-brick"):
            assert "brick" not in pictures()
    finally:
        photos.pictures.cache_clear()
    monkeypatch.setitem(photos.PLACES, "nopackage", "data")
    with pytest.raises(DataError, match="photos needs the package nopackage, which is not installed"):
        photos.picture_path("nopackage/x.png")


def test_the_colour_baseline() -> None:
    train, test = load("photos", "train", count=400), load("photos", count=200)
    assert train.colour_baseline
    histograms = colour_histograms(test)
    assert histograms.shape == (200, 64)
    assert np.allclose(histograms.sum(1), 1)
    first = test[0].reshape(-1, 3) // 64
    assert histograms[0, 0] == pytest.approx((first == 0).all(1).mean())
    accuracy = colour_accuracy(train, test)
    assert 0.5 < accuracy < 1
    assert colour_accuracy(test, test, k=1) > 0.95  # a few crops are black all over
    with pytest.raises(DataError, match=r"photos and shapes have different classes \(20 and 8\)"):
        colour_accuracy(train, load("shapes", count=10))
    with pytest.raises(DataError, match="200 images are fewer than the k=500 neighbours"):
        colour_accuracy(test, test, k=500)
