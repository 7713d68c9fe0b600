"""Contact sheets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from probekit.cli import app
from probekit.data import load
from probekit.data.contact_sheet import GAP, LABEL_HEIGHT, contact_sheet, write
from probekit.errors import DataError, StorageError


def test_one_row_per_class() -> None:
    image_set = load("shapes", count=32)
    sheet = np.asarray(contact_sheet(image_set, per_class=3, tile=64))
    pitch = 64 + GAP
    assert sheet.shape == (8 * (pitch + LABEL_HEIGHT) + GAP + LABEL_HEIGHT, 3 * pitch + GAP, 3)
    tile = sheet[2 * LABEL_HEIGHT :, GAP:][:64, :64]
    assert (tile == image_set[0].repeat(2, 0).repeat(2, 1)).all()


def test_large_pictures_are_fitted_and_masks_tinted(make_folder: Callable[..., Path]) -> None:
    assert contact_sheet(load("photos:whole"), tile=50).width < 10 * 54 + 5
    shapes = load("shapes", count=8)
    plain, tinted = (np.asarray(contact_sheet(shapes, tile=32, masks=masks)) for masks in (False, True))
    assert (plain != tinted).any()
    folder = load(f"imagefolder:{make_folder({'a': 5, 'b': 5})}", "train")
    assert contact_sheet(folder, masks=True).height > 100


def test_the_command_writes_the_picture(tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    result = CliRunner().invoke(app, ["data", "show", "shapes?count=16", "-o", str(target), "--masks"])
    assert result.exit_code == 0, result.output
    assert "16 drawn objects" in result.output
    with Image.open(target) as sheet:
        assert sheet.width > 100
    assert list(tmp_path.iterdir()) == [target]


def test_only_picture_names() -> None:
    with pytest.raises(DataError, match=r"sheet.txt is no picture file name; it has to end in .png or .jpg"):
        write(load("shapes", count=8), "sheet.txt")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=r"file/sheet.png cannot be written: .* Name a file in another folder"):
        write(load("shapes", count=8), tmp_path / "file" / "sheet.png")
