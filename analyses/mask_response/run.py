"""What does a mask at evaluation do? Writes results.nc.

python analyses/mask_response/run.py
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["mask_response"]
COUNTS = {"train": 50, "val": 50, "test": 128, "ladder": 128, "masked": 128}

if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("cifar10"), SUITE, "photos", COUNTS)
