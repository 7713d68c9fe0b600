"""How close do reconstructions come, with and without a mask (Figure 5)? Writes results.nc.

python analyses/reconstruction_vs_masking/run.py
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["reconstruction"]
COUNTS = {"train": 50, "val": 50, "test": 150, "images": 128}

if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("cifar10"), SUITE, "photos", COUNTS)
