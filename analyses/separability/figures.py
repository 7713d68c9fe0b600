"""Figures and numbers of `separability`, from results.nc alone.

python analyses/separability/figures.py
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
    return writing.by_setting(
        ds,
        {
            "linear_accuracy": {"pooling": "mean"},
            "knn_accuracy": {"pooling": "mean", "k": 20},
            "silhouette": {"pooling": "mean"},
        },
    )


def main() -> None:
    ds = writing.opened(HERE)
    writing.save(plot.by_setting(ds, "linear_accuracy"), HERE, "linear")
    writing.save(plot.embedding(ds), HERE, "embedding")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
