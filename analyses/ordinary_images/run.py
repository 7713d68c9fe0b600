"""What level on ordinary images? The ladder on photographs. Writes results.nc.

python analyses/ordinary_images/run.py
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["level_ladder"]
COUNTS = {"train": 50, "val": 50, "test": 260, "ladder": 260}
LAST = {"layers": [-1], "poolings": ["mean"], "options": {"level_ladder": {"untrained": False}}}

if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("cifar10"), SUITE, "photos", COUNTS, **LAST)
