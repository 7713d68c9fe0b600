"""Tests do not hear of each other."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _forget_modules_that_a_test_wrote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Else the next test that writes a package of the same name imports the one of this test."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        places = [getattr(sys.modules[name], "__file__", None) or "", *getattr(sys.modules[name], "__path__", [])]
        if any(place.startswith(str(tmp_path_factory.getbasetemp())) for place in places):
            del sys.modules[name]
