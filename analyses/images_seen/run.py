"""Is a low level only a sign of too little training? Snapshots of the quadtree grid, measured. Writes results.nc.

    python checkpoints/retrain.py runs                      # trains the grid; keeps snapshots at 1/8, 1/4 and 1/2
    python analyses/images_seen/run.py runs/quadtree

Without a folder of runs, the finished checkpoints that ship are measured: they have no snapshots.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["level_recovery"]
COUNTS = {"train": 2000, "val": 500, "test": 1000}
LAST = {"layers": [-1], "poolings": ["mean"], "snapshots": True}

if __name__ == "__main__":
    writing.measure(
        __doc__, HERE, lambda: writing.shipped("quadtree", untrained=False), SUITE, "quadtree", COUNTS, **LAST
    )
