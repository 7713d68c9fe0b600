"""Where does attention go (Figures 6 and 7)? Writes results.nc.

python analyses/attention_vs_masking/run.py
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["attention_distance", "attention_entropy", "attention_nmi", "attention_maps"]
COUNTS = {"train": 50, "val": 50, "test": 150, "images": 128}

if __name__ == "__main__":
    writing.measure(__doc__, HERE, lambda: writing.shipped("cifar10"), SUITE, "photos", COUNTS)
