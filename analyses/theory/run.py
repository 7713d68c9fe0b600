"""Theory, computed and measured: writes levels.nc (expected levels) and recovery.nc (Theorem 2 over many masks).

    python analyses/theory/run.py              # both; recovery takes most of the time
    python analyses/theory/run.py levels       # (a) alone, about a minute
    python analyses/theory/run.py recovery     # (b) alone
    python analyses/theory/run.py gather       # recovery.nc from the parts that are there

Recovery goes on where it stopped: each graph's and kind's result is kept in `parts/` until all are there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import xarray as xr

from probekit.files import written_whole
from probekit.latents import LatentGraph, examples, expected_levels, recover

HERE = Path(__file__).parent
RATIOS = (0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95)
GRAPHS = 8
RANDOM = 10


def levels() -> xr.Dataset:
    """Expected levels over ratio x patch size x strategy: the quadtree, and the mean over random graphs."""
    quadtree = [
        expected_levels(LatentGraph.quadtree(4), RATIOS, (1, 2, 4), n_masks=1000, strategy=strategy)
        for strategy in ("random", "block", "structure")
    ]
    found = []
    for seed in range(RANDOM):
        graph = LatentGraph.random((1, 4, 16, 64), max_parents=2, skip=0.2, seed=seed)
        runs = [
            expected_levels(graph, RATIOS, (1, 4, 16), n_masks=200, seed=seed, strategy=strategy)
            for strategy in ("random", "block", "structure")
        ]
        found.append(xr.concat(runs, "strategy", combine_attrs="drop_conflicts"))
    random = xr.concat(found, "graph", combine_attrs="drop_conflicts").drop_attrs()
    values = random[[name for name in random.data_vars if not str(name).endswith("_ci")]]
    # Graphs are the sampling unit here: the interval is of the mean over graphs, not over one graph's masks.
    error = 1.96 * values.std("graph", ddof=1) / RANDOM**0.5
    mean = values.mean("graph")
    twins = {f"{name}_ci": xr.concat([mean[name] - error[name], mean[name] + error[name]], "bound") for name in mean}
    random = mean.assign({key: twin.transpose(..., "bound") for key, twin in twins.items()})
    tree = xr.concat(quadtree, "strategy", combine_attrs="drop_conflicts")
    both = xr.concat([tree, random.assign_coords(patch_size=[1, 2, 4], bound=tree.bound)], "family", join="outer")
    return both.assign_coords(family=["quadtree", "random"], strategy=["random", "block", "structure"])


def recovery(parts: Path) -> None:
    """Theorem 2 over four kinds of mask on each of several graphs: one file each in `parts`."""
    for world in examples(GRAPHS):
        for kind, hidden in world.masks.items():
            part = parts / f"{world.name}_{kind}.nc"
            if not part.exists():
                with written_whole(part) as path:
                    recover(world.process, hidden).to_netcdf(path, engine="h5netcdf")
                print(part.stem, flush=True)


def gather(parts: Path) -> xr.Dataset:
    """The parts that are there, along `mask`, with the coordinates `graph` and `kind`."""
    files = sorted(parts.glob("*.nc"))
    found = [xr.load_dataset(part, engine="h5netcdf") for part in files]
    graphs, kinds = zip(*(part.stem.split("_") for part in files), strict=True)
    ds = xr.concat(found, "mask", combine_attrs="drop_conflicts", coords="minimal", compat="override", join="exact")
    return ds.assign_coords(graph=("mask", list(graphs)), kind=("mask", list(kinds)))


def report(ds: xr.Dataset) -> None:
    """Means over masks and what they say of Theorem 2."""
    names = ["c_from_code", "own_from_code", "code_from_c", "share_of_c", "specific_from_code", "loss"]
    found = ds[names].sel(regressor="nonlinear").where(ds.c_dim > 0)
    print(f"{ds.sizes['mask']} masks, {int((ds.c_dim == 0).sum())} with an empty c; means over masks, nonlinear")
    print(found.mean("mask").to_dataframe()[names].round(3).to_string())
    matched = found.sel(encoder="matched").assign(c_dim=ds.c_dim, c_height=ds.c_height)
    print(matched.groupby("kind").mean().to_dataframe()[["c_dim", "c_height", *names]].round(3).to_string())
    linear = ds.c_from_code.sel(regressor="linear", encoder="matched").mean().item()
    low, high = matched.c_from_code.min().item(), matched.c_from_code.max().item()
    print(f"c from code, matched: linear mean {linear:.3f}; nonlinear from {low:.3f} to {high:.3f}")


def main() -> None:
    asked = sys.argv[1:] or ["levels", "recovery"]
    torch.set_num_threads(1)
    if "levels" in asked:
        levels().astype("float32").to_netcdf(HERE / "levels.nc", engine="h5netcdf")
    if "recovery" in asked:
        recovery(HERE / "parts")
    if "recovery" in asked or "gather" in asked:
        ds = gather(HERE / "parts")
        ds.to_netcdf(HERE / "recovery.nc", engine="h5netcdf")
        report(ds)


if __name__ == "__main__":
    main()
