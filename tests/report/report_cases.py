"""Results of checkpoints from anywhere: what a user's own comparison looks like, made from arithmetic alone."""

from __future__ import annotations

import json

import numpy as np
import synthetic_results as made
import xarray as xr
from synthetic_results import Maker, Model

NAN = float("nan")
PHOTOS = ("photos", "shapes")


def built(found: list[Model], layers: int = 4, *, latents: bool = True, pictures: bool = True) -> xr.Dataset:
    maker = Maker(found, layers=layers, heads=2)
    if latents:
        made.add_levels(maker)
    made.add_accuracies(maker)
    made.add_readings(maker)
    extra = (made.add_pictures(maker) if pictures else {}) | (made.add_theory(maker) if latents else {})
    return made.assemble(maker, extra)


def along(ds: xr.Dataset, **values: list) -> xr.Dataset:
    return ds.assign_coords({name: ("checkpoint", np.asarray(each)) for name, each in values.items()})


def two_families() -> xr.Dataset:
    """Base and large, of different ratios; nobody recorded their seeds."""
    ratios = {"base": (0.5, 0.75, 0.9), "large": (0.75, 0.9)}
    found = [Model(f"mae-{size}-r{ratio}", PHOTOS, ratio, 16) for size, each in ratios.items() for ratio in each]
    widths = [768.0 if "base" in model.name else 1024.0 for model in found]
    return along(built(found, latents=False), width=widths, seed=[NAN] * len(found))


def two_grids() -> xr.Dataset:
    """Two widths, each with a grid of ratios and patch sizes in two seeds, and one checkpoint of a third width."""
    ratios = {"small": (0.25, 0.5, 0.75, 0.9), "wide": (0.5, 0.75, 0.9)}
    found = [
        Model(f"{size}-r{ratio}-p{patch}-s{seed}", ("quadtree",), ratio, patch, seed)
        for size, each in ratios.items() for ratio in each for patch in (4, 8) for seed in (0, 1)
    ]  # fmt: skip
    found.append(Model("giant-r0.75-p4-s0", ("quadtree",), 0.75, 4))
    widths = {"small": 192.0, "wide": 384.0, "giant": 1024.0}
    return along(built(found, pictures=False), width=[widths[model.name.split("-")[0]] for model in found])


def many() -> xr.Dataset:
    """40 checkpoints of 24 layers."""
    return made.large()


def one() -> xr.Dataset:
    """One checkpoint, and nothing beside it."""
    return built([Model("mine", PHOTOS, 0.75, 16)], latents=False)


def nothing_known() -> xr.Dataset:
    """No ratio, no patch size, no seed."""
    found = [Model(f"downloaded-{letter}", PHOTOS, 0.2 + 0.2 * i, 16) for i, letter in enumerate("abcd")]
    ds = built(found, latents=False)
    return along(ds, **{name: [NAN] * 4 for name in ("mask_ratio", "patch_size", "vit_patch_size", "seed")})


def own_coordinates() -> xr.Dataset:
    """Coordinates of the user's own: a recipe in words and a loss in numbers."""
    found = [Model(f"run-{i}", ("quadtree",), 0.75, 8, i) for i in range(6)]
    return along(built(found), recipe=["plain", "long"] * 3, loss=[0.31, 0.29, 0.35, 0.3, 0.33, 0.28])


def wrapped() -> xr.Dataset:
    """A function as an encoder: no decoder, no attention, no mask, beside a masked autoencoder that has them."""
    ds = built([Model("mae", PHOTOS, 0.75, 16), Model("own function", PHOTOS)], latents=False)
    nothing = ["mask_ratio", "patch_size", "vit_patch_size", "seed"]
    ds = along(ds, **{name: [float(ds[name].values[0]), NAN] for name in nothing}, images_seen=[150_000.0, NAN])
    for name in ds.data_vars:
        if str(name).startswith(("response_", "example_attention")):
            ds[name] = ds[name].astype(float).where(ds.checkpoint == "mae")
        elif str(name).startswith("example_reconstruction"):
            ds[name] = ds[name].where(ds.checkpoint == "mae", 0)
    reasons = {"reconstruction": "it has no decoder", "attention_maps": "this encoder gives no attention"}
    ds.attrs["not_applicable"] = json.dumps({"own function": reasons})
    return ds


def families() -> xr.Dataset:
    """Encoders of several kinds, of one masking and without seeds: each stands for itself."""
    found = [Model(name, ("photos",), 0.75, 16) for name in ("mae-base", "mae-large", "dino-small", "dino-base")]
    ds = built(found, latents=False, pictures=False)[["linear_accuracy", "linear_accuracy_ci"]]
    return along(ds, width=[768.0, 1024.0, 384.0, 768.0], depth=[12.0, 24.0, 12.0, 12.0], seed=[NAN] * 4)


CASES = {
    "two families": (two_families, None),
    "two grids": (two_grids, None),
    "many": (many, None),
    "one": (one, None),
    "nothing known": (nothing_known, None),
    "own coordinates": (own_coordinates, "recipe"),
    "wrapped": (wrapped, None),
}
"""Name -> how it is made, and what groups it."""
