"""Figures and numbers of `ordinary_images`, from results.nc alone.

python analyses/ordinary_images/figures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import xarray as xr

from probekit import plot

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)


def numbers(ds: xr.Dataset) -> str:
    """The table that stands in the README."""
    return writing.by_setting(ds, {"ladder_level": {"pooling": "mean", "scaling": "whitened"}})


def main() -> None:
    ds = writing.opened(HERE)
    writing.save(plot.ladder(ds), HERE, "ladder")
    writing.save(plot.by_setting(ds, "ladder_level", scaling="whitened"), HERE, "level")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
