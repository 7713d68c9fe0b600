"""Fixtures of the data room: a cache of its own for every test, and small folders of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PROBEKIT_CACHE", str(cache))
    monkeypatch.setenv("PROBEKIT_PROGRESS", "0")
    return cache


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """`make_folder({"cat": 5, "dog": 5}, below="train")`: images of random pixels, of different sizes."""

    def make(classes: dict[str, int], *, below: str = "", name: str = "images", ending: str = "png") -> Path:
        root = tmp_path / name
        rng = np.random.default_rng(len(below) + len(classes))
        for label, count in classes.items():
            (root / below / label).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                height, width = rng.integers(20, 50, 2)
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / below / label / f"{index:03d}.{ending}")
        return root

    return make
