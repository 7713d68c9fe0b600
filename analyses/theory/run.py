"""Theory: expected levels computed (Theorem 1), recovery measured over many masks (Theorem 2). Writes results.nc.

    python analyses/theory/run.py              # about five minutes of one core; goes on where it was stopped
    python analyses/theory/run.py --tiny       # to try it out

Each graph's and kind's recovery is kept in `--parts` until all are there. In results.nc a "checkpoint" is an encoder of
Theorem 2 and an image set is a mask; expected levels stand beside, along `graph`, `strategy`, `ratio` and `unit`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from probekit import schema
from probekit.latents import LatentGraph, examples, expected_levels, recover

HERE = Path(__file__).parent
RATIOS = (0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95)
STRATEGIES = ("random", "block", "structure")
KEPT = ("binding_level", "mean_height", "intrinsic_dimension", "high_level")
PROTOCOL = "one autoencoder per mask, its bottleneck as wide as the encoder's name says (probekit.latents.recover)"
MEASURED = {
    "c_from_code": ("R² of c from the code", "higher"),
    "own_from_code": ("R² of the noise of c and its ancestors from the code", "higher"),
    "code_from_c": ("R² of the code from c", "higher"),
    "specific_from_code": ("R² of what only the visible side shows, from the code", "lower"),
    "share_of_c": ("Share of the code's variance that c explains", "higher"),
    "loss": ("Squared error of the hidden observables over their variance", "lower"),
}


def levels(graphs: int, masks: int) -> xr.Dataset:
    """Theorem 1 over ratio x unit x strategy: the quadtree of height 4, and random graphs."""
    worlds = {"quadtree": (LatentGraph.quadtree(4), (1, 2, 4), masks, 0)}
    for seed in range(graphs):
        graph = LatentGraph.random((1, 4, 16, 64), max_parents=2, skip=0.2, seed=seed)
        worlds[f"random {seed}"] = (graph, (1, 4, 16), max(masks // 5, 2), seed)
    found = []
    for graph, units, count, seed in worlds.values():
        runs = [expected_levels(graph, RATIOS, units, n_masks=count, seed=seed, strategy=one) for one in STRATEGIES]
        both = xr.concat(runs, "strategy", combine_attrs="drop")[[*KEPT, *(f"{name}_ci" for name in KEPT)]]
        found.append(both.assign_coords(patch_size=[1, 2, 4]))
    out = xr.concat(found, "graph", combine_attrs="drop").rename(mask_ratio="ratio", patch_size="unit")
    out = out.rename({name: f"expected_{name}".replace("_ci", "_interval") for name in map(str, out.data_vars)})
    return out.assign_coords(graph=list(worlds), strategy=list(STRATEGIES)).astype("float32")


def recovery(parts: Path, graphs: int, **settings: int) -> xr.Dataset:
    """Theorem 2 over four kinds of mask on each of several graphs, one file each in `parts`."""
    files = []
    for world in examples(graphs):
        for kind, hidden in world.masks.items():
            files.append(parts / f"{world.name}_{kind}.nc")
            if not files[-1].exists():
                parts.mkdir(parents=True, exist_ok=True)
                recover(world.process, hidden, **settings).to_netcdf(files[-1], engine="h5netcdf")
    found = [xr.load_dataset(part, engine="h5netcdf") for part in files]
    ds = xr.concat(found, "mask", combine_attrs="drop_conflicts", coords="minimal", compat="override", join="exact")
    graph, kind = zip(*(part.stem.split("_") for part in files), strict=True)
    return ds.assign_coords(graph=("mask", list(graph)), kind=("mask", list(kind)))


def as_results(ds: xr.Dataset, expected: xr.Dataset) -> xr.Dataset:
    """Both as one results dataset: dims checkpoint = encoder, data = mask."""
    labels = [f"{graph}-{kind}" for graph, kind in zip(ds.graph.values, ds.kind.values, strict=True)]
    ds = ds.rename(encoder="checkpoint", mask="data").assign_coords(data=labels)
    ds = ds.rename(graph="of_graph")[[*MEASURED, *(f"{name}_ci" for name in MEASURED if name != "loss"), "c_dim"]]
    for name, (title, better) in MEASURED.items():
        facts = {"long_name": title, "units": "1", "better": better, "protocol": PROTOCOL, "version": 1}
        ds[name].attrs = facts | {"reference": "Kong et al. 2023, Theorem 2"}
        if f"{name}_ci" in ds:
            ds[f"{name}_ci"].attrs = {"long_name": f"95 % interval of: {title}", "resamples": "bootstrap over samples"}
    ds["loss"].attrs["no_interval"] = "one number a mask; its spread is over masks"
    unknown = {name: ("checkpoint", np.full(ds.sizes["checkpoint"], np.nan)) for name in schema.CHECKPOINT_COORDS}
    ds = ds.assign_coords(unknown).assign(dict(expected.data_vars))
    return ds.assign_attrs(schema_version=schema.SCHEMA_VERSION, not_applicable="{}", provenance=schema.stamp())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "results.nc")
    parser.add_argument("--parts", type=Path, help="where recoveries are kept")
    parser.add_argument("--tiny", action="store_true", help="one graph, a few steps and masks")
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = args.parts or args.output.parent / "parts"
    few = {"steps": 3, "samples": 200, "test_samples": 60} if args.tiny else {}
    ds = as_results(recovery(parts, 1 if args.tiny else 8, **few), levels(*((1, 5) if args.tiny else (10, 1000))))
    print(schema.write(ds, args.output))


if __name__ == "__main__":
    main()
