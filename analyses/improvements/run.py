"""Do the paper's improvements (section 3.6) move amount or height? Writes results.nc.

    python checkpoints/retrain.py runs --only quadtree no-boundary structure
    python analyses/improvements/run.py runs/quadtree runs/no-boundary runs/structure

The folder's name is the recipe; without arguments the plain shipped grid is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["level_recovery"]
COUNTS = {"train": 2000, "val": 500, "test": 1000}
LAST = {"layers": [-1], "poolings": ["mean"]}

if __name__ == "__main__":
    writing.measure(
        __doc__, HERE, lambda: writing.shipped("quadtree", untrained=False), SUITE, "quadtree", COUNTS, **LAST
    )
