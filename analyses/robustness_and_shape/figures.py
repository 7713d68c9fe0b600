"""Figures and numbers of `robustness_and_shape`, from results.nc alone.

python analyses/robustness_and_shape/figures.py
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
    return writing.by_setting(ds, {"shape_bias": {"pooling": "mean"}})


def main() -> None:
    ds = writing.opened(HERE)
    writing.save(plot.by_setting(ds, "shape_bias"), HERE, "shape_bias")
    writing.save(plot.by_setting(ds, "robust_accuracy"), HERE, "robustness")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
