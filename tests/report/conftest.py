"""Datasets and the browser, made once for all tests of the report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import synthetic_results
import xarray as xr
from browser import Browser, NoBrowser

from probekit import report
from probekit.report.page import vega_bundle


@pytest.fixture(scope="session")
def grid() -> xr.Dataset:
    """A small shipped-like evaluation: two grids, two seeds, three image sets."""
    return synthetic_results.grid(ratios=(0.25, 0.5, 0.9), patches=(4, 8), photos=(0.5, 0.9))


@pytest.fixture(scope="session")
def script() -> str:
    return vega_bundle()


@pytest.fixture(scope="session")
def page_file(grid: xr.Dataset, script: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(grid, tmp_path_factory.mktemp("page") / "report.html", script=script)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser; without one, its tests are skipped, or fail if the environment says that it is required."""
    opened = None
    try:
        opened = Browser()
        opened.send("Browser.getVersion", timeout=60)
    except (NoBrowser, OSError) as missing:
        if opened is not None:
            opened.close()
        if os.environ.get("PROBEKIT_BROWSER") == "required":
            raise
        pytest.skip(str(missing))
    yield opened
    opened.close()
