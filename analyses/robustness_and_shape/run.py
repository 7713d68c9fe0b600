"""Does masking change robustness to shifts, and shape bias (Tables 1 and 2)? Writes results.nc.

python analyses/robustness_and_shape/run.py              # the shipped CIFAR-10 grid
python analyses/robustness_and_shape/run.py RUNS ...     # checkpoints, or folders of runs
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["linear_probe", "robustness", "shape_bias"]
COUNTS = {"train": 600, "val": 150, "test": 300, "shifted": 300}
LAST = {"layers": [-1], "poolings": ["mean"]}


if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("cifar10"), SUITE, "shapes", COUNTS, **LAST)
