"""Fixtures: a cache of the test's own, and the tiny checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "collect"))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny products: threads would wait for each other longer than they work."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
