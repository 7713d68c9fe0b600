"""Image folders: every kind of picture, the rules of splitting, contents in the fingerprint, bad input."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probekit import cache
from probekit.data import SPLITS, Preprocess, files, load
from probekit.data.decode import open_rgb
from probekit.errors import DataError

GREYS = np.linspace(0, 255, 20 * 20).reshape(20, 20).astype(np.uint8)


def pictures() -> dict[str, tuple[Image.Image, np.ndarray]]:
    """File name -> a picture of some mode, and the RGB pixels it should give."""
    rgb = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    grey3 = np.repeat(GREYS[..., None], 3, axis=2)
    palette = Image.fromarray(rgb).quantize(16)
    alpha = np.dstack([rgb, np.where(np.arange(20)[:, None] < 10, 255, 0).repeat(20, 1).astype(np.uint8)])
    over_white = np.where(alpha[..., 3:] == 255, rgb, 255)
    sixteen = np.linspace(0, 65535, 400).reshape(20, 20).round().astype(np.uint16)
    from_sixteen = np.repeat(np.round(sixteen / 257.0).astype(np.uint8)[..., None], 3, axis=2)
    ink = np.zeros((20, 20, 4), np.uint8)
    ink[..., 3] = 255 - GREYS
    return {
        "rgb.png": (Image.fromarray(rgb), rgb),
        "grey.png": (Image.fromarray(GREYS), grey3),
        "two.png": (Image.fromarray(GREYS > 128), np.where(grey3 > 128, 255, 0).astype(np.uint8)),
        "palette.png": (palette, np.asarray(palette.convert("RGB"))),
        "alpha.png": (Image.fromarray(alpha), over_white),
        "grey-alpha.png": (Image.fromarray(np.dstack([GREYS, np.full_like(GREYS, 255)]), "LA"), grey3),
        "sixteen.png": (Image.fromarray(sixteen), from_sixteen),
        "sixteen.tif": (Image.fromarray(sixteen), from_sixteen),
        "cmyk.tif": (Image.fromarray(ink, "CMYK"), grey3),
    }


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", ["rgb.png", "grey.png", "two.png", "palette.png", "alpha.png", "grey-alpha.png",
                                  "sixteen.png", "sixteen.tif", "cmyk.tif"])  # fmt: skip
def test_every_kind_of_picture_becomes_rgb(name: str, tmp_path: Path) -> None:
    picture, expected = pictures()[name]
    picture.save(tmp_path / name)
    decoded = open_rgb(tmp_path / name)
    assert decoded.mode == "RGB"
    assert (np.asarray(decoded) == expected).all()


def test_a_palette_with_transparency_lies_over_white(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 1), 1)
    picture.save(tmp_path / "p.png", transparency=0)
    pixels = np.asarray(open_rgb(tmp_path / "p.png"))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [200, 100, 50]


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(open_rgb(tmp_path / "a.gif"))[0, 0].tolist() == [255, 0, 0]


def test_fractions_and_wide_integers_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 9, 16, dtype=np.float32).reshape(4, 4)).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match=r"f.tif holds fractional numbers, whose range is not known"):
        open_rgb(tmp_path / "f.tif")
    Image.fromarray(np.array([[0, 70000], [1, 2]], dtype=np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(DataError, match=r"i.tif holds 32-bit integers from 0 to 70000; save it with 8 or 16 bits"):
        open_rgb(tmp_path / "i.tif")


def paths(spec: str, split: str, **options: object) -> list[str]:
    return load(spec, split, **options).paths  # type: ignore[attr-defined]


def test_without_split_folders(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 20, "dog": 10})
    sets = {split: load(f"imagefolder:{root}", split) for split in SPLITS}
    assert [len(sets[split]) for split in SPLITS] == [18, 6, 6]
    assert np.bincount(sets["val"].labels).tolist() == [4, 2]
    every = [path for split in SPLITS for path in sets[split].paths]  # type: ignore[attr-defined]
    assert len(set(every)) == 30
    assert sets["test"].classes == ("cat", "dog")
    assert "60/20/20 per class by a hash" in sets["test"].facts["split_rule"]
    moved = root.with_name("moved")
    shutil.copytree(root, moved)
    assert paths(f"imagefolder:{moved}", "val") == paths(f"imagefolder:{root}", "val")


def test_split_folders_as_given_and_as_made(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 20, "dog": 20}, below="train")
    spec = f"imagefolder:{root}"
    assert [len(load(spec, split)) for split in SPLITS] == [24, 8, 8]
    make_folder({"cat": 3, "dog": 3}, below="Validation")
    assert [len(load(spec, split)) for split in SPLITS] == [36, 4, 6]
    assert all(path.startswith("Validation/") for path in paths(spec, "test"))
    assert all(path.startswith("train/") for path in paths(spec, "val"))
    make_folder({"cat": 5, "dog": 5}, below="test")
    assert [len(load(spec, split)) for split in SPLITS] == [40, 6, 10]
    assert load(spec, "val").facts["split_rule"] == "val as given"
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match="there is no train split; there is val and test"):
        load(spec, "train")


def test_a_class_may_be_called_train(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"train": 10, "bus": 10})
    assert load(f"imagefolder:{root}").classes == ("bus", "train")


def test_count_is_drawn_in_the_classes_own_proportions_and_nested(make_folder: Callable[..., Path]) -> None:
    spec = f"imagefolder:{make_folder({'a': 30, 'b': 30, 'c': 10}, below='train')}"
    small, large = load(spec, "train", count=14), load(spec, "train", count=21)
    assert np.bincount(small.labels).tolist() == [6, 6, 2]
    assert np.bincount(load(spec, "train", count=9, sampling="balanced").labels).tolist() == [3, 3, 3]
    assert small.facts["sampling"] == "proportional"
    assert "14 of 42 images, drawn in the classes' own proportions (seed 0)" in small.notes
    assert set(small.paths) < set(large.paths)  # type: ignore[attr-defined]
    assert paths(spec, "train", count=14, seed=1) != small.paths  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="count=99 images were asked for, but there are only 42"):
        load(spec, "train", count=99)


def test_different_sizes_need_a_preprocess(make_folder: Callable[..., Path]) -> None:
    image_set = load(f"imagefolder:{make_folder({'a': 10, 'b': 10})}", "train")
    with pytest.raises(DataError, match="images of different sizes make no batch; pass a Preprocess"):
        list(image_set.batches(12))
    alone, shared = (list(image_set.batches(5, Preprocess(16, 16), workers=n)) for n in (0, 2))
    assert all((a["image"] == b["image"]).all() for a, b in zip(alone, shared, strict=True))
    with pytest.raises(DataError, match=r"png: an image of .* is smaller than the crop of 64 x 64"):
        list(image_set.batches(5, Preprocess(64, 64, interpolation="none")))


def test_the_fingerprint_is_that_of_the_contents(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"a": 6, "b": 6})
    spec = f"imagefolder:{root}"
    first = load(spec, "train").fingerprint
    assert first.startswith("decoded-")
    shutil.copytree(root, root.with_name("copy"))
    assert load(f"imagefolder:{root.with_name('copy')}", "train").fingerprint == first
    path = root / paths(spec, "train")[0]
    data = bytearray(path.read_bytes())
    times = path.stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 10**9))
    assert load(spec, "train").fingerprint == first
    data[-20] ^= 1  # the same size, other contents
    path.write_bytes(bytes(data))
    assert load(spec, "train").fingerprint != first


def test_contents_are_read_once(make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder({"a": 6, "b": 6})
    load(f"imagefolder:{root}", "train").fingerprint  # noqa: B018
    monkeypatch.setattr(files, "_read_digests", lambda root, paths: pytest.fail(f"read again: {paths}"))
    load(f"imagefolder:{root}", "train").fingerprint  # noqa: B018


def test_a_kill_while_digests_are_written_leaves_the_old_ones(
    make_folder: Callable[..., Path], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"a": 6, "b": 6})
    whole = load(f"imagefolder:{root}", "train").fingerprint
    stored = {path: path.read_bytes() for path in own_cache.rglob("*.json")}
    assert len(stored) == 1
    os.utime(root / paths(f"imagefolder:{root}", "train")[0], ns=(time.time_ns(), time.time_ns()))

    def killed(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            load(f"imagefolder:{root}", "train").fingerprint  # noqa: B018
    assert {path: path.read_bytes() for path in own_cache.rglob("*.json")} == stored
    assert load(f"imagefolder:{root}", "train").fingerprint == whole


def test_the_cache_survives_being_killed_in_the_middle_of_a_write(
    make_folder: Callable[..., Path], own_cache: Path
) -> None:
    root = make_folder({"a": 6, "b": 6})
    whole = load(f"imagefolder:{root}", "train").fingerprint
    stored = {path: path.read_bytes() for path in own_cache.rglob("*.json")}
    os.utime(root / paths(f"imagefolder:{root}", "train")[0], ns=(time.time_ns(), time.time_ns()))
    code = (
        "import os, signal, sys; from pathlib import Path; from probekit.data import load\n"
        "def killed(path, content):\n"
        "    path.open('wb').write(content[:9]); os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.write_bytes = killed; load('imagefolder:' + sys.argv[1], 'train').fingerprint"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(root)], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert {path: path.read_bytes() for path in stored} == stored
    assert load(f"imagefolder:{root}", "train").fingerprint == whole


def test_nothing_is_written_outside_the_cache(
    make_folder: Callable[..., Path], own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"a": 6, "b": 6})
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    image_set = load(f"imagefolder:{root}?on_unreadable=skip", "train")
    list(image_set.batches(4, Preprocess(8, 8), workers=1))
    assert image_set.fingerprint
    assert sorted(tmp_path.rglob("*")) == before
    assert cache.folder().resolve() == own_cache.resolve()


@pytest.fixture
def broken(make_folder: Callable[..., Path]) -> Path:
    """A folder in which some of the training images cannot be read."""
    root = make_folder({"a": 10, "b": 10}, below="train", ending="jpg")
    chosen = load(f"imagefolder:{root}", "train").paths  # type: ignore[attr-defined]
    whole = (root / chosen[3]).read_bytes()
    (root / chosen[3]).write_bytes(whole[: len(whole) // 2])
    (root / chosen[8]).write_bytes(b"no picture")
    (root / chosen[9]).write_bytes(b"")
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_stops(broken: Path, workers: int) -> None:
    image_set = load(f"imagefolder:{broken}", "train")
    with pytest.raises(DataError) as error:
        list(image_set.batches(4, Preprocess(8, 8), workers=workers))
    assert f"Cannot read the image {broken / image_set.paths[3]}" in str(error.value)  # type: ignore[attr-defined]
    assert "on_unreadable='skip'" in str(error.value)
    assert "Traceback" not in str(error.value)


def test_unreadable_images_are_left_out_and_counted(broken: Path) -> None:
    before = load(f"imagefolder:{broken}", "train")
    with pytest.warns(UserWarning, match=r"left out 3 of 12 images that cannot be read: .*jpg"):
        image_set = load(f"imagefolder:{broken}?on_unreadable=skip", "train")
    assert len(image_set) == len(before) - 3
    assert len(image_set.unreadable) == 3
    assert sum(len(batch["label"]) for batch in image_set.batches(4, Preprocess(8, 8))) == 9
    assert image_set.fingerprint != before.fingerprint
    with pytest.raises(DataError, match="on_unreadable='ignore': it is 'stop' or 'skip'"):
        load(f"imagefolder:{broken}", on_unreadable="ignore")


def test_folders_that_hold_no_image_set(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    cases = {
        "missing": "there is no folder .*missing. The nearest one that exists is",
        "empty": r"there is no image in .*empty \(no folders, 0 other files\). Names ending in",
        "bare": r"there is no image in .*bare \(1 folders, 0 other files\). Names ending in",
    }
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare" / "cat").mkdir(parents=True)
    (tmp_path / "loose").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "loose" / "a.png")
    for name, message in cases.items():
        with pytest.raises(DataError, match=message):
            load(f"imagefolder:{tmp_path / name}")
    with pytest.raises(DataError, match=r"a.png is a file; a folder with one folder per class is expected"):
        load(f"imagefolder:{tmp_path / 'loose' / 'a.png'}")


def test_splits_whose_classes_differ(make_folder: Callable[..., Path]) -> None:
    make_folder({"cat": 5, "dog": 5}, below="train")
    root = make_folder({"cat": 5, "cow": 5}, below="val")
    with pytest.raises(DataError, match=r"train and val have different classes: cow, dog \(2 in all\)"):
        load(f"imagefolder:{root}")


def test_two_folders_for_one_split_and_folders_beside_them(make_folder: Callable[..., Path]) -> None:
    make_folder({"cat": 5}, below="val")
    root = make_folder({"cat": 5}, below="valid")
    with pytest.raises(DataError, match=r"both val and valid in .* are the val split"):
        load(f"imagefolder:{root}")
    make_folder({"cat": 5}, below="train", name="other")
    other = make_folder({"more": 5}, name="other")
    with pytest.raises(DataError, match=r"beside them folders with images \(more\), which would be ignored"):
        load(f"imagefolder:{other}")


def test_bare_images_where_folders_of_classes_are_expected(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 5, "dog": 5}, below="train")
    (root / "val").mkdir()
    Image.new("RGB", (9, 9)).save(root / "val" / "1.png")
    with pytest.raises(DataError, match=r"images in .*val lie in no folder of their class, so they have no label"):
        load(f"imagefolder:{root}")


@pytest.mark.parametrize("splits", [("train",), ("train", "test"), ("train", "val", "test")])
def test_splits_are_not_taken_for_classes(splits: tuple[str, ...], make_folder: Callable[..., Path]) -> None:
    root = make_folder(dict.fromkeys(splits, 6))
    bare = load(f"imagefolder:{root}", "train")
    assert (bare.labels, bare.classes) == (None, ())
    for split in splits:  # folders of classes, and images beside them
        make_folder({"cat": 5, "dog": 5}, below=split)
    with pytest.warns(UserWarning, match=r"6 images directly in .*, in no class folder, are left out"):
        labelled = load(f"imagefolder:{root}", "train")
    assert labelled.classes == ("cat", "dog")


def test_what_is_no_image_is_passed_over_and_told(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 10, "dog": 10})
    assert "left out" not in load(f"imagefolder:{root}").description
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / "cat" / ".hidden.png").write_text("hidden")
    (root / ".cache").mkdir()
    (root / "dog" / ".thumbnails").mkdir()
    Image.new("RGB", (9, 9)).save(root / "dog" / ".thumbnails" / "1.png")
    Image.new("RGB", (9, 9)).save(root / "overview.png")
    with pytest.warns(UserWarning, match=r"1 images directly in .*, in no class folder, are left out"):
        image_set = load(f"imagefolder:{root}", "train")
    assert "1 other files (no images by their names, or in no class folder) are left out" in image_set.description
    assert image_set.classes == ("cat", "dog")
    assert len(image_set) == 12


def test_names_and_depths(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 3, "dog": 3}, below="test")
    for place in ("a.JPG", "deep/er/b.Jpeg", "with space.png", "c.d.e.TIFF", "\u00fc.png"):
        path = root / "test" / "cat" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(path)
    os.rename(root / "test" / "dog" / "000.png", os.fsencode(root / "test" / "dog") + b"/\xff.png")
    image_set = load(f"imagefolder:{root}")
    assert np.bincount(image_set.labels).tolist() == [8, 3]
    assert image_set.fingerprint
    assert sum(len(batch["label"]) for batch in image_set.batches(4, Preprocess(8, 8))) == 11


def test_links_are_followed_but_never_twice(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folder({"cat": 6, "dog": 6}, below="test")
    elsewhere = make_folder({"more": 2}, name="elsewhere")
    (root / "test" / "cat" / "linked").symlink_to(elsewhere / "more")
    (root / "test" / "cat" / "linked" / "back").symlink_to(root / "test" / "cat")
    (root / "test" / "dog" / "up").symlink_to(root / "test" / "dog")
    assert np.bincount(load(f"imagefolder:{root}").labels).tolist() == [8, 6]


def test_a_file_that_goes_away(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 5, "dog": 5})
    image_set = load(f"imagefolder:{root}")
    (root / image_set.paths[0]).unlink()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"was there when the set was opened, but is not any more"):
        image_set.fingerprint  # noqa: B018
    with pytest.raises(DataError, match="Cannot read the image"):
        image_set[0]


def test_a_cache_that_cannot_be_written(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 5, "dog": 5})
    known = load(f"imagefolder:{root}").fingerprint
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match=r"file/digests/.* cannot be written: .*Point PROBEKIT_CACHE at a writable"):
        assert load(f"imagefolder:{root}").fingerprint == known


def test_digests_that_were_damaged_are_made_again(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 5, "dog": 5})
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "cache"))
    known = load(f"imagefolder:{root}").fingerprint
    (kept,) = (tmp_path / "cache" / "digests").iterdir()
    whole = kept.read_text()
    kept.write_text(whole[:20])
    assert load(f"imagefolder:{root}").fingerprint == known
    assert kept.read_text() == whole


def test_a_class_too_small_to_divide(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 9, "dog": 2})
    with pytest.raises(
        DataError, match=r"The class 'dog' has 2 image\(s\): too few to be divided into train, val, test"
    ):
        load(f"imagefolder:{root}")
