"""A finished run's weights and card are held against its record whenever they are read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import probekit
from probekit.data import ArraySet
from probekit.errors import CheckpointError, TrainingError

Options = Callable[..., dict[str, Any]]


def flip(file: Path) -> None:
    """One bit near the end: of a weight, or of a space that JSON would not mind."""
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)


@pytest.fixture
def run(images: ArraySet, options: Options, tmp_path: Path) -> Path:
    probekit.train(images, **options(snapshots=(0.5,)))
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "snapshots/0.5/model.safetensors"])
def test_a_changed_file_of_a_finished_run_is_not_loaded(
    name: str, run: Path, images: ArraySet, options: Options
) -> None:
    damaged = run / name
    probekit.load(damaged.parent)
    flip(damaged)
    for source in (damaged.parent, damaged.parent / "model.safetensors"):
        with pytest.raises(CheckpointError, match=rf"{name} changed since the run finished.*Restore"):
            probekit.load(source)
    with pytest.raises(TrainingError, match=rf"{name} changed since"):
        probekit.train(images, **options(snapshots=(0.5,)))


def test_what_the_record_does_not_say_is_no_fault(run: Path, images: ArraySet, options: Options) -> None:
    """A snapshot that was deleted, a copy that was changed on purpose, a record that cannot be read."""
    shutil.rmtree(run / "snapshots")
    probekit.train(images, **options(snapshots=(0.5,)))
    copy = shutil.copytree(run, run.parent / "copy")
    flip(copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"without finished\.json"):
        probekit.load(copy)
    (copy / "finished.json").write_text("{")
    probekit.load(copy)
    (copy / "finished.json").unlink()
    probekit.load(copy)
