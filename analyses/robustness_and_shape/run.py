"""Does masking change robustness to shifts, and shape bias (Tables 1 and 2)? Writes results.nc.

python analyses/robustness_and_shape/run.py                # the shipped checkpoints
python analyses/robustness_and_shape/run.py runs/shapes    # a folder of runs
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["linear_probe", "robustness", "shape_bias"]
COUNTS = {"train": 2000, "val": 500, "test": 1000, "shifted": 1000}
LAST = {"layers": [-1], "poolings": ["mean"]}


def sources() -> list[str]:
    """The shipped shapes grid."""
    return writing.shipped("shapes")


if __name__ == "__main__":
    writing.measure(__doc__, HERE, sources, SUITE, "shapes", COUNTS, **LAST)
