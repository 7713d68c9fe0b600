"""Fixtures: a tiny checkpoint, its image set, measurements in a folder of the test."""

from __future__ import annotations

import pytest
import torch
from tiny_measured import COUNTS, SPEC, tiny

from probekit.collect import Measurements, PassSettings, PreparedModel, Splits


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny products: threads would wait for each other longer than they work."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def checkpoint():
    return tiny()


@pytest.fixture(scope="session")
def sets():
    return Splits(SPEC, COUNTS)


@pytest.fixture
def measure(checkpoint, sets, tmp_path):
    """Measurements in a folder of this test, with other settings on request."""

    def make(folder="store", given=None, data=None, **settings) -> Measurements:
        return Measurements(
            PreparedModel(given or checkpoint, PassSettings(**settings)), data or sets, tmp_path / folder
        )

    return make
