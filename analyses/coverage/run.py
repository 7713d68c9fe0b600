"""How often do the 95 % intervals of the suites hold the truth? Simulates every kind; writes results.nc.

python analyses/coverage/run.py [--simulations 2000] [--only WORDS]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import xarray as xr

from probekit import netcdf, schema
from probekit.measures.resample import wilson

HERE = Path(__file__).parent
sys.path.append(str(HERE))

from cases import CASES, Case  # noqa: E402  (it lies beside this file)

FEWEST = 10
"""Simulations of a case, however long one takes."""


def covered(case: Case, simulations: int, seed: int) -> tuple[float, int]:
    """The share of simulated intervals that hold the truth, and their number."""
    count = max(FEWEST, round(case.share * simulations))
    intervals, truth = case.simulate(np.random.default_rng(seed), count, case.images)
    low, high = np.moveaxis(intervals, -1, 0)
    return float(np.mean((low <= truth) & (truth <= high))), count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000, help="test sets of a case (fewer where one is slow)")
    parser.add_argument("--only", default="", help="cases whose words hold this")
    parser.add_argument("--output", type=Path, default=HERE / "results.nc")
    parser.add_argument("--tiny", action="store_true", help="few simulations: to try it out")
    args = parser.parse_args()
    chosen = [case for case in CASES if args.only in case.words]
    found = []
    for case in chosen:
        found.append(covered(case, FEWEST if args.tiny else args.simulations, CASES.index(case)))
        print(f"{case.words}: {found[-1][0]:.1%} of {found[-1][1]}", flush=True)
    share, count = np.array(found).T
    coords = {"words": [c.words for c in chosen], "covers": [c.covers for c in chosen], "why": [c.why for c in chosen]}
    ds = xr.Dataset(
        {
            "coverage": ("case", share, {"long_name": "Share of 95 % intervals that hold the truth", "units": "1"}),
            "coverage_ci": (("case", "bound"), wilson(share * count, count)),
            "simulations": ("case", count.astype(int)),
            "images": ("case", [case.images for case in chosen]),
        },
        coords={name: ("case", values) for name, values in coords.items()} | {"bound": ["lower", "upper"]},
        attrs={"provenance": schema.stamp(suite="coverage")},
    )
    print(netcdf.write(ds, args.output))


if __name__ == "__main__":
    main()
