"""Grids: order, what is skipped and continued, and the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from probekit.cli import app
from probekit.data import ArraySet
from probekit.errors import MaskError, TrainingError
from probekit.training import Cell, cells, train_grid
from probekit.training.directory import BusyError, RunDirectory
from probekit.training.loop import Run

Options = Callable[..., dict[str, Any]]


def grid_options(options: Options, tmp_path: Path) -> dict[str, Any]:
    found = options(images=16, output=tmp_path / "runs")
    return {key: value for key, value in found.items() if key not in ("mask_ratio", "patch_size")}


def test_order() -> None:
    names = [cell.name for cell in cells([0.5, 0.75], [4, 8], [0, 1])]
    assert names[:5] == ["r0.5-p4-s0", "r0.5-p8-s0", "r0.75-p4-s0", "r0.75-p8-s0", "r0.5-p4-s1"]
    by_ratio = cells([0.5, 0.75], [4], [0, 1], order=("mask_ratio", "patch_size", "seed"))
    assert [cell.name for cell in by_ratio] == ["r0.5-p4-s0", "r0.5-p4-s1", "r0.75-p4-s0", "r0.75-p4-s1"]
    with pytest.raises(TrainingError, match="Did you mean 'patch_size'"):
        cells([0.5], [4], order=("seed", "mask_ratio", "patchsize"))
    with pytest.raises(TrainingError, match="once"):
        cells([0.5], [4], order=("seed", "mask_ratio"))


def test_finished_cells_are_skipped_and_busy_ones_named(images: ArraySet, options: Options, tmp_path: Path) -> None:
    fixed = grid_options(options, tmp_path)
    first = train_grid(images, [Cell(0.5, 4)], **fixed)
    written = (first["r0.5-p4-s0"] / "model.safetensors").stat().st_mtime_ns
    busy = pytest.raises(BusyError, match=r"training r0\.75-p4-s0 in .*everything else is finished")
    with RunDirectory(tmp_path / "runs/r0.75-p4-s0").locked(), busy:
        train_grid(images, cells([0.5, 0.75], [4, 8]), **fixed)
    assert sorted(path.parent.name for path in (tmp_path / "runs").glob("*/finished.json")) == [
        "r0.5-p4-s0", "r0.5-p8-s0", "r0.75-p8-s0"
    ]  # fmt: skip
    found = train_grid(images, cells([0.5, 0.75], [4, 8]), **fixed)
    assert list(found) == ["r0.5-p4-s0", "r0.5-p8-s0", "r0.75-p4-s0", "r0.75-p8-s0"]
    assert (found["r0.5-p4-s0"] / "model.safetensors").stat().st_mtime_ns == written


def test_a_busy_cell_is_looked_at_again(
    images: ArraySet, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed, taken = grid_options(options, tmp_path), RunDirectory(tmp_path / "runs/r0.5-p4-s0").locked()
    taken.__enter__()
    write = Run.write

    def write_and_free(run: Run, name: str | None = None) -> None:
        write(run, name)
        if name is None and run.settings.mask_ratio == 0.75:
            taken.__exit__(None, None, None)

    monkeypatch.setattr(Run, "write", write_and_free)
    assert list(train_grid(images, cells([0.5, 0.75], [4]), **fixed)) == ["r0.5-p4-s0", "r0.75-p4-s0"]
    assert (tmp_path / "runs/r0.5-p4-s0/finished.json").is_file()


def test_cells_trained_together_end_with_the_bits_of_cells_trained_alone(
    images: ArraySet, options: Options, tmp_path: Path
) -> None:
    fixed = grid_options(options, tmp_path)
    grid = cells([0.5, 0.75], [4], [0, 1])
    alone = train_grid(images, grid, **fixed)
    together = train_grid(images, grid, **(fixed | {"output": tmp_path / "together"}), together=3)
    for name, path in alone.items():
        assert (path / "model.safetensors").read_bytes() == (together[name] / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="together=0"):
        train_grid(images, grid, **fixed, together=0)


def test_an_impossible_cell_fails_before_the_first_is_trained(
    images: ArraySet, options: Options, tmp_path: Path
) -> None:
    with pytest.raises(MaskError, match="cannot be split"):
        train_grid(images, cells([0.5], [4, 16]), **grid_options(options, tmp_path))
    assert not (tmp_path / "runs").exists()


def test_what_lies_in_the_way_fails_before_the_first_is_trained(
    images: ArraySet, options: Options, tmp_path: Path
) -> None:
    fixed = grid_options(options, tmp_path)
    train_grid(images, [Cell(0.75, 4)], **(fixed | {"base_lr": 0.1}))
    with pytest.raises(TrainingError, match="a run with other settings"):
        train_grid(images, cells([0.5, 0.75], [4]), **fixed)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["r0.75-p4-s0"]
    with pytest.raises(TrainingError, match="no cell"):
        train_grid(images, [], **fixed)


def test_cells_of_near_ratios_have_names_of_their_own() -> None:
    assert len({cell.name for cell in cells([1 / 3, 0.333333], [4])}) == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)):
        path = tmp_path / "images/train" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


SIZES = "--set width=16 --set depth=1 --set num_heads=2 --set decoder_width=16 --set decoder_depth=1"
SIZES += " --set decoder_num_heads=2 --image-size 16"


def command(folder: Path, runs: Path, *more: str) -> list[str]:
    start = f"train --data imagefolder:{folder} -o {runs} --images 16 --batch-size 4 --device cpu {SIZES}"
    return [*start.split(), *more]


def test_the_command_trains_one_run_or_a_grid(folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    many = ["--mask-ratio", "0.5", "0.75", "--patch-size", "4", "8"]
    result = CliRunner().invoke(app, command(folder, runs, *many), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert [Path(line).name for line in result.output.split()] == [
        "r0.5-p4-s0", "r0.5-p8-s0", "r0.75-p4-s0", "r0.75-p8-s0"
    ]  # fmt: skip
    one = ["--mask-ratio", "0.5", "--patch-size", "4", "--no-boundary", "--seed", "3"]
    result = CliRunner().invoke(app, command(folder, tmp_path / "one", *one), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "one/settings.json").read_text())["settings"]
    assert (settings["boundary"], settings["seed"], settings["augment"], settings["width"]) == (False, 3, True, 16)
