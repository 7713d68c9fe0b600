"""How well does each setting transfer: linear, attentive, few images, segmentation (Table 3)? Writes results.nc.

python analyses/transfer/run.py                # the shipped checkpoints
python analyses/transfer/run.py runs/shapes    # a folder of runs
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["linear_probe", "attentive_probe", "low_shot", "segmentation"]
COUNTS = {"train": 1000, "val": 250, "test": 500}
LAST = {"layers": [-1], "poolings": ["mean"], "options": {"attentive_probe": {"steps": 500}}}

if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("shapes"), SUITE, "shapes", COUNTS, **LAST)
