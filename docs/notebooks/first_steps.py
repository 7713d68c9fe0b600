# %% [markdown]
# # First steps
#
# Load a checkpoint, measure it, look at the numbers. Everything here ships with probekit; nothing is downloaded.

# %%
import probekit

checkpoint = probekit.load("shipped:quadtree-r0.75-p4-s0")
checkpoint.card.mask_ratio, checkpoint.card.patch_size

# %% [markdown]
# What reading the file found, and what to know before trusting numbers:

# %%
checkpoint.verdict.format, checkpoint.verdict.warnings

# %% [markdown]
# Measure the level spectrum on a few generated images. `counts` bounds the work; real runs take the defaults.

# %%
counts = {"train": 60, "val": 30, "test": 60, "pairs": 60}
ds = probekit.evaluate(checkpoint, suite=["level_spectrum", "knn"], data="quadtree", counts=counts)
ds["representation_level"].sel(pooling="mean", scaling="raw").isel(layer=-1).item()

# %% [markdown]
# Every number has an interval, a protocol and a version:

# %%
ds["representation_level_ci"].sel(pooling="mean", scaling="raw").isel(layer=-1).values.round(2).tolist()

# %%
print(ds["knn_accuracy"].attrs["protocol"])

# %% [markdown]
# Two checkpoints on the same images, and whether they differ:

# %%
both = probekit.compare(
    [checkpoint, "shipped:untrained-s0"], suite="knn", data="quadtree", counts={"train": 60, "val": 30, "test": 60}
)
differences = probekit.contrast(both, baseline="untrained-s0")
differences["knn_accuracy_difference"].sel(k=20, pooling="mean").isel(layer=-1).values.round(2).tolist()

# %% [markdown]
# A picture in one line: `probekit.plot.over_layers(both, "knn_accuracy")`. A page with everything: `probekit.report.write(both, "report.html")`.
