"""Figures and numbers of `attention_vs_masking`, from results.nc alone.

python analyses/attention_vs_masking/figures.py
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
    return writing.by_setting(ds, {"attention_distance": {}, "attention_entropy": {}, "attention_nmi": {}})


def main() -> None:
    ds = writing.opened(HERE)
    writing.save(plot.over_layers(ds, "attention_distance"), HERE, "distance")
    writing.save(plot.attention(ds), HERE, "maps")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
