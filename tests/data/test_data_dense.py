"""Images with a class or a depth for every pixel: layouts, values, and how maps follow their images to the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probekit.data import Preprocess, load
from probekit.data.dense import CAMVID, VOC
from probekit.data.duplicates import without_copies
from probekit.data.interleaving import Subset
from probekit.data.maps import PixelMaps
from probekit.data.stereo import BASELINE, FOCAL, PRINCIPAL_OFFSET, StereoWindows
from probekit.errors import DataError

RNG = np.random.default_rng(0)


def maps_of(images: object, kind: str = "segmentation") -> PixelMaps:
    found = getattr(images, kind)
    assert isinstance(found, PixelMaps)
    return found


def write(
    root: Path, pictures: str, masks: str, names: list[str], most: int = 4, step: int = 1
) -> dict[str, np.ndarray]:
    """Random pictures of 20 x 30 pixels and their masks; returns the masks by name."""
    (root / pictures).mkdir(parents=True, exist_ok=True)
    (root / masks).mkdir(parents=True, exist_ok=True)
    found = {}
    for name in names:
        Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(root / pictures / f"{name}.jpg")
        found[name] = RNG.integers(0, most, (20, 30)).astype(np.uint8) * step
        Image.fromarray(found[name]).save(root / masks / f"{name}.png")
    return found


def test_shapes_know_the_class_of_each_pixel() -> None:
    images = load("shapes", count=20)
    maps = maps_of(images)
    assert maps.classes[:3] == ("background", "disc", "square")
    stacked = np.asarray(maps)
    assert stacked.shape == (20, 32, 32)
    assert images.object_masks is not None
    assert ((stacked > 0) == images.object_masks).all()
    assert images.labels is not None
    for found, label in zip(stacked, images.labels, strict=True):
        assert set(np.unique(found)) == {0, 1 + label}
    some = Subset(images, np.array([7, 3]), {})
    assert (maps_of(some)[1] == maps[3]).all()
    assert load("photos", count=2).segmentation is None


def test_maps_follow_their_images_to_the_model() -> None:
    """A picture whose grey levels are its classes and the map itself stay equal, but for smoothing at edges."""
    classes = np.repeat(np.repeat(RNG.integers(0, 2, (4, 6)), 16, axis=0), 16, axis=1)
    preprocess = Preprocess(32, 32, (0.5,), (0.5,), crop_fraction=0.9)
    picture = preprocess((classes * 255).astype(np.uint8))[..., 0] > 127
    followed = PixelMaps(lambda index: classes, [0], classes=("a", "b")).prepared([0], preprocess)[0]
    assert followed.shape == (32, 32)
    assert (picture == followed).mean() > 0.97
    assert Preprocess(64, 96).nearest(classes) is classes


def test_camvid(tmp_path: Path) -> None:
    for split, names in {"train": list("abcdefghij"), "val": list("klm")}.items():
        masks = write(tmp_path, f"images/{split}", f"masks/{split}", names, 12)
    images = load(f"camvid:{tmp_path}", "test")
    maps = maps_of(images)
    assert (maps.classes, maps.ignore) == (CAMVID, 11)
    assert [Path(path).stem for path in images.paths] == ["k", "l", "m"]  # type: ignore[attr-defined]
    assert (maps[1] == masks["l"]).all()
    assert images.labels is None
    assert [len(load(f"camvid:{tmp_path}", split)) for split in ("train", "val")] == [9, 1]
    before = images.fingerprint
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "masks" / "val" / "k.png")
    assert load(f"camvid:{tmp_path}", "test").fingerprint != before


def test_voc_and_ade20k_by_their_own_names(tmp_path: Path) -> None:
    voc, ade = tmp_path / "voc", tmp_path / "ADEChallengeData2016"
    masks = write(voc, "JPEGImages", "SegmentationClass", ["1", "2", "3"], 2, 255)
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    (voc / "ImageSets" / "Segmentation" / "train.txt").write_text("1\n")
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("2\n3\n")
    found = maps_of(load(f"segmentation:{voc}", "test"))
    assert (found.classes, found.ignore, len(found)) == (VOC, 255, 2)
    assert (found[0] == masks["2"]).all()
    for split in ("training", "validation"):
        masks = write(ade, f"images/{split}", f"annotations/{split}", list("abcdefghij"), 151)
    found = maps_of(load(f"segmentation:{ade}", "test"))
    assert (len(found.classes), found.ignore) == (150, 255)
    assert set(np.unique(found[0][masks["a"] == 0])) <= {255}
    assert (found[0][masks["a"] > 0] == masks["a"][masks["a"] > 0] - 1).all()


def test_folders_without_splits_and_classes_by_name(tmp_path: Path) -> None:
    write(tmp_path, "images", "labels", [f"{index:02d}" for index in range(10)])
    images = load(f"segmentation:{tmp_path}", "train")
    assert (len(images), maps_of(images).classes) == (6, ("0", "1", "2", "3"))
    (tmp_path / "classes.txt").write_text("road\ntree\nsky\n")
    with pytest.raises(DataError, match="holds the class 3; there are 3"):
        maps_of(load(f"segmentation:{tmp_path}", "train"))[0]
    ignoring = maps_of(load(f"segmentation:{tmp_path}?ignore=3", "train"))
    assert (ignoring.classes, ignoring.ignore) == (("road", "tree", "sky"), 3)
    assert ignoring[0].max() == 3


def test_dense_folders_that_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "images", "masks", list("abcdef"))
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(
        DataError, match=r"1 of 6 images in .*images have no map of the same name in .*masks, such as b"
    ):
        load(f"segmentation:{tmp_path}")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "masks" / "b.png")
    with pytest.raises(DataError, match=r"b.png holds colours \(RGB\)"):
        load(f"segmentation:{tmp_path}")
    for name in "abcdef":
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    with pytest.raises(DataError, match="is 9 x 9 pixels, its image 20 x 30; the same size is expected"):
        maps_of(load(f"segmentation:{tmp_path}"))[0]
    with pytest.raises(DataError, match=r"has no folders images and depth.* Found: images, masks"):
        load(f"depth:{tmp_path}")


def test_depths_are_in_metres_and_unknown_ones_nan(tmp_path: Path) -> None:
    write(tmp_path, "images", "unused", [f"{index}" for index in range(5)])
    (tmp_path / "depth").mkdir()
    for index in range(5):
        millimetres = np.full((20, 30), 1500 + index, np.uint16)
        millimetres[0] = 0
        Image.fromarray(millimetres).save(tmp_path / "depth" / f"{index}.png")
    images = load(f"depth:{tmp_path}", "train")
    depths = maps_of(images, "depth")
    assert images.segmentation is None
    assert depths.unit == "m"
    assert np.isnan(depths[0][0]).all()
    number = int(Path(images.paths[0]).stem)  # type: ignore[attr-defined]
    assert depths[0][1:] == pytest.approx((1500 + number) / 1000)


def test_the_stereo_pair_matches_where_its_disparity_says() -> None:
    images = load("stereo_motorcycle", "test")
    assert isinstance(images, StereoWindows)
    near, far, plain = [], [], []
    for index in range(0, len(images), 9):
        left, right = images.correspondences(index)
        assert (left[:, 0] == right[:, 0]).all()
        assert ((left[:, 1] - right[:, 1]) > 0).all()
        rows, columns = left.astype(int).T
        colours = images[index][rows, columns].astype(float)
        matched = images.right(index)[rows, right[:, 1].round().astype(int)].astype(float)
        near.append(np.abs(colours - matched).mean())
        far.append(np.abs(colours - images.right(index)[rows, columns]).mean())
        plain.append(len(left))
    assert np.mean(near) < 0.5 * np.mean(far)
    assert min(plain) > 3000
    depth, disparity = maps_of(images, "depth")[0], images.disparity[0]
    known = np.isfinite(disparity)
    assert depth[known] == pytest.approx(BASELINE * FOCAL / (disparity[known] + PRINCIPAL_OFFSET), rel=1e-5)
    assert np.isnan(depth[~known]).all()
    train = load("stereo_motorcycle", "train", count=5)
    assert without_copies(train, [images]) is train
    with pytest.raises(DataError, match="size=200; windows of 32 to 148"):
        load("stereo_motorcycle?size=200")


@pytest.mark.parametrize("bits", [16, 32])
def test_numbers_that_are_no_classes_and_lists_that_are_no_text_are_refused(tmp_path: Path, bits: int) -> None:
    write(tmp_path, "images", "masks", ["a", "b", "c", "d", "e"])
    for name in "abcde":
        (tmp_path / f"masks/{name}.png").unlink()
        kind = np.uint16 if bits == 16 else np.int32
        Image.fromarray(np.full((20, 30), 2 ** (bits - 1) - 1, dtype=kind)).save(tmp_path / f"masks/{name}.tif")
    with pytest.raises(DataError, match=r"holds the class \d+; at most 4,096 classes are read"):
        load(f"segmentation:{tmp_path}")
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"classes\.txt is no text in UTF-8"):
        load(f"segmentation:{tmp_path}")
    (tmp_path / "classes.txt").write_text("a\n" * 5000)
    with pytest.raises(DataError, match="names 5,000 classes; at most 4,096"):
        load(f"segmentation:{tmp_path}")
