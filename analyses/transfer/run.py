"""How well does each setting transfer: linear, attentive, few images, segmentation (Table 3)? Writes results.nc.

python analyses/transfer/run.py              # the shipped CIFAR-10 grid, on shapes
python analyses/transfer/run.py RUNS ...     # checkpoints, or folders of runs
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["linear_probe", "attentive_probe", "low_shot", "segmentation"]
COUNTS = {"train": 600, "val": 150, "test": 300}
LAST = {
    "layers": [-1],
    "poolings": ["mean"],
    "options": {"attentive_probe": {"steps": 200}, "segmentation": {"steps": 200}},
}

if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("cifar10"), SUITE, "shapes", COUNTS, **LAST)
