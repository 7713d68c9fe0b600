"""What does a mask at evaluation do to features, their level and hidden pixels? Writes results.nc.

python analyses/mask_response/run.py                        # the shipped quadtree grid
python analyses/mask_response/run.py RUNS ...               # runs, or folders of runs
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

COUNTS = {"train": 20, "val": 20, "test": 128, "masked": 96, "ladder": 96}
CELLS = [*(f"r{ratio}-p4" for ratio in (0.1, 0.25, 0.5, 0.75, 0.9)), "r0.75-p8", "r0.75-p16"]
"""Along the ratio at 4 px, and along the unit at ratio 0.75."""


def sources() -> list[Any]:
    """Those cells, and what their seeds began as."""
    every = writing.shipped("quadtree")
    return [one for one in every if not isinstance(one, str) or any(cell in one for cell in CELLS)]


if __name__ == "__main__":
    writing.measure(__doc__, HERE, sources, ["mask_response"], "quadtree", COUNTS, layers=[-1])
