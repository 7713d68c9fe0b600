"""How far does the way of measuring decide the order of the settings? Writes results.nc.

python analyses/measure_sensitivity/run.py                  # the shipped quadtree grid
python analyses/measure_sensitivity/run.py CHECKPOINT ...
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import xarray as xr

import probekit
from probekit import netcdf, schema

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent)]

import writing  # noqa: E402  (it lies beside this folder)
from regressors import regressors  # noqa: E402  (it lies beside this file)

SETTINGS = [*(f"r{ratio}-p4" for ratio in (0.1, 0.25, 0.5, 0.75, 0.9)), "r0.75-p8", "r0.75-p16"]
COUNTS = {"train": 2000, "val": 400, "test": 1000, "pairs": 500, "ladder": 300}
RECOVERY = {
    "recovery, 512 landmarks": {},
    "recovery, 256 landmarks": {"landmarks": 256},
    "recovery, 1,024 landmarks": {"landmarks": 1024},
    "recovery, standardised inputs": {"inputs": "standardised"},
}


def readings(sources: list[str], counts: dict[str, int]) -> tuple[dict[str, np.ndarray], xr.Dataset]:
    """Reading -> one number for each checkpoint."""
    ask = {"data": "quadtree", "counts": counts}
    ds = probekit.compare(sources, ["level_spectrum", "latent_recovery", "level_ladder"], **ask).squeeze("data")
    ladder = ds.ladder_level.isel(layer=-1).sel(pooling="mean")
    out = {f"ladder, {scaling}, mean": ladder.sel(scaling=scaling).values for scaling in ds.scaling.values}
    for scaling in ds.scaling.values:
        for pooling in ds.pooling.values:
            level = ds.representation_level.sel(scaling=scaling, pooling=pooling)
            out |= {f"spectrum, {scaling}, {pooling}, layer {n}": level.sel(layer=n).values for n in ds.layer.values}
    noise = ds.latent_r2.sel(target="noise").isel(layer=-1).sum("level")
    for readout in ds.readout.values:
        for regressor in ds.regressor.values:
            out[f"sum of R², {readout}, {regressor}"] = noise.sel(readout=readout, regressor=regressor).values
    for name, options in RECOVERY.items():
        chosen = {} if options else {"layers": None}
        options = {"landmarks": min(int(options.get("landmarks", 512)), counts["train"])} | options
        each = probekit.compare(
            sources, "level_recovery", options={"level_recovery": options}, **({"layers": [-1]} | chosen), **ask
        ).squeeze("data")
        for layer in each.layer.values:
            for part in ("amount", "height"):
                out[f"{name}, {part}, layer {layer}"] = each[f"gain_{part}"].sel(layer=layer).values
    return out, ds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", help="instead of those that ship")
    parser.add_argument("--output", type=Path, default=HERE / "results.nc")
    parser.add_argument("--tiny", action="store_true", help="two checkpoints, few images: to try it out")
    args = parser.parse_args()
    shipped = writing.shipped("quadtree", untrained=False)
    sources = args.checkpoints or [one for one in shipped if any(f"-{cell}-" in one for cell in SETTINGS)]
    sources = sources[:: len(sources) - 1] if args.tiny else sources
    counts = {"train": 150, "val": 50, "test": 60, "pairs": 60, "ladder": 60} if args.tiny else COUNTS
    found, facts = readings(sources, counts)
    cells = [one for one in sources if any(f"-{cell}-s0" in one for cell in ("r0.1-p4", "r0.75-p4", "r0.75-p16"))]
    ds = xr.Dataset({"value": (("reading", "checkpoint"), np.stack(list(found.values())))}, {"reading": list(found)})
    ds["regressor_r2"] = regressors(cells, counts)
    facts = facts[["mask_ratio", "patch_size", "seed", "checkpoint"]].drop_vars("data", errors="ignore")
    ds = ds.assign_coords(facts.coords).assign_attrs(provenance=schema.stamp(suite="measure_sensitivity"))
    print(netcdf.write(ds, args.output))


if __name__ == "__main__":
    main()
