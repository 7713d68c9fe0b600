"""How well do features tell classes (Figure 8, first column of Table 1)? Writes results.nc.

python analyses/separability/run.py
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["linear_probe", "knn", "embedding"]
COUNTS = {"train": 2000, "val": 500, "test": 1000, "images": 300}

if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("cifar10"), SUITE, "shapes", COUNTS)
