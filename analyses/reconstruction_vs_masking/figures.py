"""Figures and numbers of `reconstruction_vs_masking`, from results.nc alone.

python analyses/reconstruction_vs_masking/figures.py
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
    return writing.by_setting(ds, {"ssim": {}, "fsim": {}, "psnr": {}, "masked_ssim": {}, "masked_psnr": {}})


def main() -> None:
    ds = writing.opened(HERE)
    writing.save(plot.by_setting(ds, "ssim"), HERE, "ssim_unmasked")
    writing.save(plot.by_setting(ds, "masked_ssim"), HERE, "ssim_masked")
    writing.save(plot.reconstructions(ds), HERE, "pictures")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
