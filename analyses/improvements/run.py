"""Do the paper's improvements (section 3.6) move amount or height? Writes results.nc.

    for recipe in "no-boundary --no-boundary" "structure --strategy structure" "block --strategy block"; do
        set -- $recipe; probekit train --data quadtree --mask-ratio 0.5 --mask-ratio 0.75 --mask-ratio 0.9 \\
            --patch-size 4 --seed 0 --seed 1 --seed 2 --seed 3 --seed 4 -o runs/$1 ${@:2}
    done
    python analyses/improvements/run.py runs/quadtree runs/no-boundary runs/structure runs/block

The folder's name is the recipe; without arguments the plain shipped grid is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["level_recovery"]
COUNTS = {"train": 3000, "val": 500, "test": 1500}
LAST = {"layers": [-1], "poolings": ["mean"]}

if __name__ == "__main__":
    writing.measure(
        __doc__, HERE, lambda: writing.shipped("quadtree", untrained=False), SUITE, "quadtree", COUNTS, **LAST
    )
