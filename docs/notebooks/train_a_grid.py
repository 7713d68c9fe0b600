# %% [markdown]
# # Train a grid
#
# How does level follow from the mask? Train cells that differ in the mask alone, and compare them. These runs take seconds and teach nothing; the
# commands are those of a real grid.

# %%
import tempfile
import warnings
from pathlib import Path

import probekit

folder = Path(tempfile.mkdtemp())
cells = {}
for ratio in (0.5, 0.75):
    for seed in (0, 1):
        cells[ratio, seed] = probekit.train(
            "quadtree",
            mask_ratio=ratio,
            patch_size=8,
            seed=seed,
            output=folder / f"r{ratio}-s{seed}",
            preset="tiny",
            images=256,
            batch_size=32,
            device="cpu",
        )
sorted(path.name for path in folder.iterdir())

# %% [markdown]
# On the command line the same grid is `probekit train --data quadtree --preset tiny --mask-ratio 0.5 0.75 --patch-size 8 --seed 0 1 -o runs`.
# Every run is a directory that `probekit.load` and transformers read, with a model card, a log and snapshots. Kill it at any moment and give the same
# command: it ends with the same bits.

# %%
sorted(path.name for path in (folder / "r0.5-s0").iterdir())

# %% [markdown]
# A setting is what runs have in common but for the seed. Compare all of them on the same images:

# %%
counts = {"train": 60, "val": 30, "test": 60, "pairs": 60}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ds = probekit.compare(list(cells.values()), ["level_spectrum", "knn"], data="quadtree", counts=counts, layers=[-1])
ds["mask_ratio"].values.tolist(), ds["seed"].values.tolist()

# %% [markdown]
# A sentence about the ratio needs more than one run of each: the spread between seeds says what could be luck.

# %%
spread = probekit.evaluation.seed_spread(ds, "representation_level")
level = spread["representation_level"].sel(pooling="mean", scaling="raw").isel(layer=-1, data=0)
level.values.round(1).tolist()

# %% [markdown]
# The pictures are `probekit.plot.by_setting(ds, "representation_level")` and, with more probes, `probekit.report.write(ds, "report.html")`.
