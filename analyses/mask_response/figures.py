"""Figures and numbers of `mask_response`, from results.nc alone.

python analyses/mask_response/figures.py
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
            "response_similarity": {"eval_mask_ratio": 0.75, "eval_patch_size": 4.0},
            "response_level": {"eval_mask_ratio": 0.75, "eval_patch_size": 4.0},
            "response_ssim": {"eval_mask_ratio": 0.75, "eval_patch_size": 4.0},
        },
    )


def main() -> None:
    ds = writing.opened(HERE)
    writing.save(plot.response(ds, "response_similarity"), HERE, "similarity")
    writing.save(plot.response(ds, "response_level"), HERE, "level")
    writing.save(plot.response(ds, "response_ssim"), HERE, "ssim")
    writing.write_numbers(HERE, numbers(ds))


if __name__ == "__main__":
    main()
