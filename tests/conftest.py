"""Tests do not hear of each other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec

import pytest


@pytest.fixture(autouse=True)
def _forget_modules_that_a_test_wrote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Else the next test that writes a package of the same name imports the one of this test."""
    before = set(sys.modules)
    yield
    written = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        spec = getattr(sys.modules[name], "__spec__", None)
        places = [spec.origin, *(spec.submodule_search_locations or [])] if isinstance(spec, ModuleSpec) else []
        if any(place is not None and str(place).startswith(written) for place in places):
            del sys.modules[name]
