"""Unreadable images, from whatever source: named, counted, left out if asked, and never a class without images."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from probekit.data import Preprocess, load
from probekit.data.decode import open_rgb
from probekit.errors import DataError

LABELS = np.arange(30) % 3
BROKEN = (4, 7)
RNG = np.random.default_rng(0)


def png(index: int) -> bytes:
    """A small picture; some are no pictures, or cut off."""
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    data = buffer.getvalue()
    return b"no picture" if index == BROKEN[0] else data[: len(data) // 2] if index == BROKEN[1] else data


def folder(root: Path) -> Path:
    for index, label in enumerate(LABELS):
        path = root / "test" / "abc"[label] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(index))
    return root


def shards(root: Path) -> Path:
    with tarfile.open(root / "test-0.tar", "w") as tar:
        for index, label in enumerate(LABELS):
            for ending, data in {"png": png(index), "cls": str(label).encode()}.items():
                member = tarfile.TarInfo(f"{index:04d}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return root


def hub(root: Path) -> Path:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    rows = {"image": [{"bytes": png(index), "path": None} for index in range(30)], "label": LABELS.tolist()}
    datasets.DatasetDict({"test": datasets.Dataset.from_dict(rows, features=features)}).save_to_disk(root / "saved")
    return root / "saved"


SOURCES: dict[str, Callable[[Path], Any]] = {
    "imagefolder": lambda root: f"imagefolder:{folder(root)}",
    "webdataset": lambda root: f"webdataset:{shards(root)}",
    "hf": lambda root: f"hf:{hub(root)}",
    "torch": lambda root: {"test": ImageFolder(folder(root) / "test")},
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("workers", [0, 2])
def test_stop_names_the_image(source: str, workers: int, tmp_path: Path) -> None:
    image_set = load(SOURCES[source](tmp_path))
    assert len(image_set) == 30
    first = next(index for index in range(30) if image_set.image_name(index) in _broken_names(image_set))
    with pytest.raises(DataError) as error:
        list(image_set.batches(4, Preprocess(8, 8), workers=workers))
    assert f"Cannot read the image {image_set.image_name(first)}: " in str(error.value)
    assert "on_unreadable='skip'" in str(error.value)
    assert " at 0x" not in str(error.value)


def _broken_names(image_set: Any) -> list[str]:
    names = []
    for index in range(len(image_set)):
        try:
            image_set[index]
        except DataError:
            names.append(image_set.image_name(index))
    assert len(names) == len(BROKEN)
    return names


@pytest.mark.parametrize("source", SOURCES)
def test_skip_leaves_them_out_and_counts_them(source: str, tmp_path: Path) -> None:
    given = SOURCES[source](tmp_path)
    whole = load(given)
    with pytest.warns(UserWarning, match=r"left out 2 of 30 images that cannot be read: .*, .*") as told:
        image_set = load(given, on_unreadable="skip")
    assert len(image_set) == 28
    assert list(image_set.unreadable) == _broken_names(whole)
    assert all(name in str(told[0].message) for name in image_set.unreadable)
    readable = {whole.image_name(index): index for index in range(30)}
    for index in range(28):  # no label moved to another image
        assert image_set.labels[index] == whole.labels[readable[image_set.image_name(index)]]
    assert sum(len(batch["label"]) for batch in image_set.batches(5, Preprocess(8, 8))) == 28
    with pytest.warns(UserWarning, match="left out 2 of 30"):
        assert len(load(given, on_unreadable="skip", count=28)) == 28
    with pytest.raises(DataError, match=r"on_unreadable='skpi': it is 'stop' or 'skip'. Did you mean 'skip'"):
        load(given, on_unreadable="skpi")


def test_a_class_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    root = folder(tmp_path)
    for path in (root / "test" / "b").iterdir():
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="left out 10 of 30 images"),
        pytest.raises(DataError, match="without 10 unreadable images: 1 of 3 classes have no image: b"),
    ):
        load(f"imagefolder:{root}?on_unreadable=skip")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_whatever_is_wrong_with_a_file_is_one_error(kind: str) -> None:
    rng = np.random.default_rng(1)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(buffer, kind)
    refused = 0
    for trial in range(60):
        data = bytearray(buffer.getvalue())
        if trial % 2:
            del data[int(rng.integers(len(data))) :]
        else:
            for place in rng.integers(0, min(len(data), 200), 4):
                data[place] = int(rng.integers(256))
        try:
            assert open_rgb(io.BytesIO(bytes(data)), "x").mode == "RGB"
        except DataError:
            refused += 1
    assert refused > 25
