# %% [markdown]
# # Your own checkpoints
#
# From a file of your own to numbers and pictures. The file is made here, so that nothing is downloaded: a small ViT of timm, as any training
# script would save it.

# %%
import tempfile
import warnings
from pathlib import Path

import timm
import torch

import probekit

folder = Path(tempfile.mkdtemp())
torch.manual_seed(0)
vit = timm.create_model(
    "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=0
)
torch.save({"model": vit.state_dict(), "epoch": 10}, folder / "mine.pth")

# %% [markdown]
# `load` finds out whose names these are. What a file cannot tell is guessed or assumed, and said. Say it yourself, and the warning is gone:

# %%
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    probekit.load(folder / "mine.pth")
[str(one.message).split(". ")[0] for one in said]

# %%
half = (0.5, 0.5, 0.5)
mine = probekit.load(folder / "mine.pth", num_heads=3, mean=half, std=half, name="mine")
mine

# %% [markdown]
# Where does it look, and which pixels do its features depend on? In a notebook the last line of a cell shows the pictures; here are the numbers.

# %%
photo = probekit.data.load("shapes", "test")[0]
gaze = mine.attention(photo)
gaze.layer, gaze.query, (100 * gaze.mean).round().astype(int).tolist()  # percent of its attention, patch by patch

# %%
why = mine.attribution(photo, steps=16)
why.what, round(why.score, 2), round(why.blank, 2), why.patches.shape

# %% [markdown]
# A model that is no checkpoint of a known kind is a function from images to the tokens of its layers:


# %%
def pixels(images):
    """(batch, 3, 32, 32) -> one layer of patches, (batch, 16, 192)."""
    patches = torch.nn.functional.unfold(images, 8, stride=8).transpose(1, 2)
    return [patches, patches]


plain = probekit.Encoder.wrap(pixels, patch_size=8, image_size=32, mean=half, std=half, name="pixels")

# %% [markdown]
# Both on the same images. Own coordinates go along, and group every table and chart:

# %%
counts = {"train": 80, "val": 40, "test": 80}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ds = probekit.compare(
        [mine, plain],
        ["linear_probe", "knn"],
        data="shapes",
        counts=counts,
        layers=[-1],
        coords={"kind": ["ViT", "none"]},
    )
table = probekit.summary(ds, variables=["linear_accuracy"])
table[["checkpoint", "pooling", "value", "lower", "upper"]].round(2).to_dict("records")

# %% [markdown]
# What the wrapped function cannot give is said, with its reason, in `ds.attrs["not_applicable"]`. The page with everything:
# `probekit.report.write(ds, "report.html", by="kind")`.
