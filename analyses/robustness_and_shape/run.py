"""Do features survive a shift, and do they follow shape or texture (Tables 1 and 2)? Writes results.nc.

python analyses/robustness_and_shape/run.py
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["robustness", "shape_bias"]
COUNTS = {"train": 2000, "val": 500, "test": 500, "shifted": 500}

if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("cifar10"), SUITE, "shapes", COUNTS)
