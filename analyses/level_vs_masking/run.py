"""Which level does masking teach? Recovery profile, amount, height and the spectrum's level. Writes results.nc.

python analyses/level_vs_masking/run.py                    # the shipped grid
python analyses/level_vs_masking/run.py runs/quadtree      # a folder of runs, as checkpoints/retrain.py writes it
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["level_recovery", "level_spectrum"]
COUNTS = {"train": 2000, "val": 500, "test": 1000, "pairs": 300}
LAST = {"layers": [-1], "poolings": ["mean"], "options": {"level_spectrum": {"untrained": False}}}

if __name__ == "__main__":
    writing.measure(
        __doc__, HERE, lambda: writing.shipped("quadtree", untrained=False), SUITE, "quadtree", COUNTS, **LAST
    )
