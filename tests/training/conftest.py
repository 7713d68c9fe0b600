"""Small runs: see `small_run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_run import SIZES, some_images

from probekit.data import ArraySet


@pytest.fixture
def images() -> ArraySet:
    return some_images()


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Arguments of a small run in `tmp_path / name`."""

    def make(name: str = "run", **changes: Any) -> dict[str, Any]:
        fixed = {"mask_ratio": 0.5, "patch_size": 4, "images": 80, "device": "cpu", "threads": 1, "log_every": 2}
        return fixed | SIZES | {"output": tmp_path / name} | changes

    return make
