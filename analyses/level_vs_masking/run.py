"""What level did each setting learn? The three readings on the quadtree. Writes results.nc.

python analyses/level_vs_masking/run.py
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["level_recovery", "level_spectrum", "level_ladder", "expected_levels"]
COUNTS = {"train": 3000, "val": 500, "test": 1500, "pairs": 500, "ladder": 500}

if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("quadtree"), SUITE, "quadtree", COUNTS)
