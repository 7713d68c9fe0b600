"""How representation level grows with the images seen: snapshots of the quadtree grid, measured. Writes results.nc.

    python checkpoints/retrain.py runs                      # trains the grid; keeps snapshots at 1/8, 1/4 and 1/2
    python analyses/images_seen/run.py runs/quadtree

Numbers are those of `probekit.compare(..., "level_spectrum")` on the test split of `quadtree`: last layer, mean
pooling.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

import probekit
from probekit import schema

HERE = Path(__file__).parent
KEPT = ("representation_level", "level_share")
COUNTS = {"train": 600, "val": 150, "test": 300, "pairs": 300}


def checkpoints(runs: Path) -> list[Path]:
    """Every finished run below the folder, its snapshots first."""
    finished = sorted(file.parent for file in runs.glob("*/finished.json"))
    if not finished:
        raise SystemExit(f"{runs} holds no finished run; train some first: python checkpoints/retrain.py runs")
    return [path for run in finished for path in (*sorted(run.glob("snapshots/*")), run)]


def last_layer(ds: xr.Dataset) -> xr.Dataset:
    """What the figure needs: last layer, mean pooling, own variables without the baselines of every checkpoint."""
    wanted = [name for name in ds if str(name).removesuffix("_ci") in KEPT]
    return ds[wanted].sel(pooling="mean").isel(layer=-1, data=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the quadtree runs")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    untrained = [f"shipped:{name}" for name in probekit.models.shipped() if name.startswith("untrained")]
    sources = [*untrained, *map(str, checkpoints(args.runs))]
    ds = probekit.compare(sources, ["level_spectrum"], data="quadtree", counts=COUNTS, device=args.device)
    found = last_layer(ds).load()
    schema.write(found, HERE / "results.nc")
    for name in found.checkpoint.to_numpy():
        row = found.sel(checkpoint=name)
        level = float(row.representation_level.sel(scaling="standardised"))
        print(f"{name:30s} {float(np.nan_to_num(row.images_seen)):>9,.0f} images: level {level:.3f}")


if __name__ == "__main__":
    main()
