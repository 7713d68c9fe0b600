"""Do features keep ten classes apart, and does a linear head read them (Figure 8, Table 1)? Writes results.nc.

python analyses/separability/run.py --data imagefolder:CIFAR10      # the shipped CIFAR-10 grid on held-out images
python analyses/separability/run.py RUNS ... --data imagefolder:CIFAR10
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["linear_probe", "knn", "embedding"]
COUNTS = {"train": 1000, "val": 250, "test": 1000}
LAST = {"layers": [-1], "poolings": ["mean"], "options": {"embedding": {"images": 600}}}

if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("cifar10"), SUITE, "photos", COUNTS, **LAST)
