"""Make a results dataset of the schema from arithmetic alone, so that the report is tested without a model.

`grid()` is what the shipped evaluation looks like: a quadtree grid of ratios x patch sizes x two seeds, a smaller
grid of photographs, an untrained baseline in each, with intervals, per-image values, pictures and reasons. `large()` is
40 checkpoints of 24 layers. As a script it writes either to a file: `python synthetic_results.py grid|large OUT.nc`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import numpy as np
import xarray as xr

from probekit import schema

LEVELS = 5
IMAGES = 120
SIDE = 32


@dataclass(frozen=True)
class Model:
    name: str
    data: tuple[str, ...]
    ratio: float = float("nan")
    patch: float = float("nan")
    seed: int = 0

    @property
    def untrained(self) -> bool:
        return np.isnan(self.ratio)

    @property
    def quality(self) -> float:
        """0 (pixels) to 1 (roots): highest at ratio 0.75 and small patches, as a stand-in for a finding."""
        if self.untrained:
            return 0.12
        return 0.85 - 0.9 * (self.ratio - 0.7) ** 2 - 0.12 * np.log2(self.patch / 4) + 0.03 * (self.seed - 0.5)


def models(
    ratios=(0.1, 0.25, 0.5, 0.75, 0.9), patches=(4, 8, 16), seeds=(0, 1), photos=(0.1, 0.5, 0.75, 0.9)
) -> list[Model]:
    quadtree = [
        Model(f"quadtree-r{r}-p{p}-s{s}", ("quadtree",), r, p, s) for p in patches for r in ratios for s in seeds
    ]
    cifar = [Model(f"cifar10-r{r}-p4-s0", ("photos", "shapes"), r, 4, 0) for r in photos]
    cifar += [Model(f"cifar10-r0.75-p{p}-s0", ("photos", "shapes"), 0.75, p, 0) for p in (2, 8)]
    return [
        *quadtree,
        Model("quadtree-untrained", ("quadtree",)),
        *(cifar if photos else []),
        *([Model("cifar10-untrained", ("photos", "shapes"))] if photos else []),
    ]


class Maker:
    """Fills variables cell by cell: a cell is (checkpoint, data set) and has an array of the variable's own dims."""

    def __init__(self, checkpoints: list[Model], layers: int, heads: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.checkpoints = checkpoints
        self.data = sorted({name for model in checkpoints for name in model.data})
        self.depth = np.linspace(0, 1, layers)
        self.heads = heads
        self.arrays: dict[str, xr.DataArray] = {}
        self.coords = {
            "layer": np.arange(layers), "head": np.arange(heads), "pooling": ["cls", "mean"], "k": [1, 20],
            "scaling": ["raw", "standardised"], "level": np.arange(LEVELS), "readout": ["global", "local"],
            "regressor": ["linear", "nonlinear"], "target": ["latent", "noise"], "shift": ["sketch", "noise"],
            "rung": ["pixel", "appearance", "layout", "image", "class", "superclass"],
            "eval_mask_ratio": [0.0, 0.25, 0.5, 0.9], "eval_patch_size": [4.0, 8.0], "metric": ["cka", "mutual_knn"],
            "other": [model.name for model in checkpoints],
        }  # fmt: skip

    def size(self, dims: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(len(self.coords[dim]) for dim in dims)

    def add(self, variable: schema.Variable, centre, spread: float, *, data=None, per_image: bool = False) -> None:
        """`centre(model, {dim: index grid})` gives values; the interval is centre +- 2 spread."""
        dims, shape = variable.dims, self.size(variable.dims)
        index = dict(zip(dims, np.indices(shape), strict=True))
        cells = (len(self.checkpoints), len(self.data))
        values = np.full((*cells, *shape), np.nan)
        images = np.full((*cells, *shape, IMAGES), np.nan) if per_image else None
        for i, model in enumerate(self.checkpoints):
            for j, name in enumerate(self.data):
                if name not in model.data or (data and name not in data):
                    continue
                here = np.asarray(centre(model, index), dtype=float) + self.rng.normal(0, spread / 2, shape)
                values[i, j] = here
                if images is not None:
                    noise = self.rng.normal(0, spread * np.sqrt(IMAGES), (*shape, IMAGES))
                    images[i, j] = here[..., None] + noise - noise.mean(-1, keepdims=True)
        coords = {dim: self.coords[dim] for dim in dims}
        interval = None if variable.interval is None else np.stack([values - 2 * spread, values + 2 * spread], -1)
        whole = schema.Variable(**{**vars(variable), "dims": ("checkpoint", "data", *dims)})
        self.arrays |= whole.arrays(values, interval, coords=coords, per_image=images)


def variable(name: str, dims: tuple[str, ...], long_name: str, units="1", better="higher", **more) -> schema.Variable:
    if "no_interval" not in more:
        more.setdefault("interval", "bootstrap over images, 1000 resamples, seed 0")
    protocol = f"{long_name} on the test split, frozen encoder; made up for trying out the report."
    return schema.Variable(name, dims, long_name, units, better, protocol, "synthetic", **more)


def add_levels(maker: Maker) -> None:
    top = LEVELS - 1

    def level(model: Model, at) -> np.ndarray:
        rise = 0.55 + 0.45 * np.sin(np.pi * (0.1 + 0.65 * maker.depth[at["layer"]]))
        return top * np.clip(model.quality * rise + 0.03 * at["pooling"] - 0.04 * at["scaling"], 0, 1)

    def share(model: Model, at) -> np.ndarray:
        p = np.clip(level(model, at) / top, 0.02, 0.98)
        binomial = np.array([1, 4, 6, 4, 1])[at["level"]]
        return binomial * p ** at["level"] * (1 - p) ** (top - at["level"])

    def r2(model: Model, at) -> np.ndarray:
        reach = model.quality * (0.7 + 0.3 * maker.depth[at["layer"]]) + 0.05 * at["regressor"]
        return np.clip(reach * (0.35 + 0.15 * at["level"]) - 0.15 * at["target"] + 0.05 * at["readout"], -0.1, 1)

    where = {"data": ("quadtree",)}
    scaled = ("layer", "pooling", "scaling")
    pairs = "bootstrap over image pairs, 1000 resamples, seed 0"
    maker.add(
        variable("representation_level", scaled, "Representation level", "levels", interval=pairs),
        level,
        0.03,
        per_image=len(maker.depth) < 10,
        **where,
    )
    maker.add(
        variable("level_share", (*scaled, "level"), "Share of variance by level", better="none", interval=pairs),
        share,
        0.01,
        **where,
    )
    dims = ("readout", "regressor", "target", "layer", "level")
    maker.add(variable("latent_r2", dims, "R² of latents"), r2, 0.02, **where)


def add_accuracies(maker: Maker) -> None:
    where = {"data": ("photos", "shapes")}

    def accuracy(model: Model, at) -> np.ndarray:
        return 0.2 + 0.6 * model.quality * (0.5 + 0.5 * maker.depth[at["layer"]]) + 0.02 * at["pooling"]

    maker.add(
        variable("linear_accuracy", ("layer", "pooling"), "Linear accuracy"), accuracy, 0.02, per_image=True, **where
    )
    maker.add(variable("knn_accuracy", ("layer", "pooling", "k"), "k-NN accuracy"), accuracy, 0.02, **where)
    maker.add(
        variable("robust_accuracy", ("shift",), "Accuracy under shift"),
        lambda m, at: 0.1 + 0.4 * m.quality - 0.1 * at["shift"],
        0.02,
        data=("shapes",),
    )
    maker.add(
        variable("shape_bias", (), "Shape bias", better="none"),
        lambda m, at: 0.1 + 0.3 * m.quality,
        0.02,
        data=("shapes",),
        per_image=True,
    )


def add_the_rest(maker: Maker) -> None:
    depth = maker.depth
    heads = ("layer", "head")
    maker.add(
        variable("attention_distance", heads, "Attention distance", "pixels", "none"),
        lambda m, at: 4 + 8 * depth[at["layer"]] * (0.5 + m.quality) - at["head"] * 0.3,
        0.1,
    )
    maker.add(
        variable("attention_entropy", heads, "Attention entropy", "nats", "none"),
        lambda m, at: 3.5 - m.quality * depth[at["layer"]],
        0.05,
    )
    for prefix, label in (("", ""), ("masked_", ", hidden pixels")):
        for name, long_name, units, better, scale, spread in (
            ("ssim", "SSIM", "1", "higher", 0.9, 0.01), 
            ("psnr", "PSNR", "dB", "higher", 30, 0.2),
            ("mse", "Squared error", "1", "lower", 0.05, 0.001),
        ):  # fmt: skip
            maker.add(
                variable(prefix + name, (), long_name + label, units, better),
                lambda m, at, s=scale: s * (0.4 + 0.5 * m.quality),
                spread,
                per_image=True,
            )
    maker.add(
        variable(
            "rankme",
            ("layer", "pooling"),
            "RankMe",
            "dimensions",
            "none",
            no_interval="resampling with replacement biases it",
        ),
        lambda m, at: 20 + 60 * m.quality * depth[at["layer"]],
        1.0,
    )


def picture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Nested blocks, coarse to fine, uint8 (side, side, 3)."""
    image = np.zeros((side, side, 3))
    for cells, weight in ((2, 70), (4, 40), (8, 25), (16, 12), (32, 8)):
        image += weight * np.kron(rng.normal(size=(cells, cells, 3)), np.ones((side // cells, side // cells, 1)))
    return np.clip(128 + image, 0, 255).astype(np.uint8)


def add_pictures(maker: Maker, examples: int = 4, points: int = IMAGES) -> dict[str, xr.DataArray]:
    rng, n, d = np.random.default_rng(1), len(maker.checkpoints), len(maker.data)
    pixels = ("row", "column")
    original = np.stack([[picture(rng, SIDE) for _ in range(examples)] for _ in range(d)])
    hidden = np.kron(rng.random((d, examples, 8, 8)) < 0.75, np.ones((SIDE // 8, SIDE // 8))).astype(bool)
    blurred = np.kron(original.reshape(d, examples, 16, 2, 16, 2, 3).mean((3, 5)), np.ones((2, 2, 1)))
    full, pasted, attention = [], [], []
    for model in maker.checkpoints:
        seen = np.array([name in model.data for name in maker.data])[:, None, None, None]
        q = model.quality
        smooth = (q * original + (1 - q) * blurred + rng.normal(0, 6, original.shape)).clip(0, 255).astype(np.uint8)
        full.append((smooth * seen[..., None]).astype(np.uint8))
        pasted.append((np.where(hidden[..., None], smooth, original) * seen[..., None]).astype(np.uint8))
        focus = original.mean(-1) ** (1 + 3 * q)
        attention.append(np.where(seen, focus / focus.sum((-1, -2), keepdims=True), np.nan))
    where = ("checkpoint", "data", "example", *pixels)
    labels = rng.integers(0, 6, (d, points))
    spots = rng.normal(size=(6, 2)) * 8
    xy = np.full((n, d, 1, points, 2), np.nan)
    for i, model in enumerate(maker.checkpoints):
        for j, name in enumerate(maker.data):
            if name in model.data:
                xy[i, j, 0] = model.quality * 2 * spots[labels[j]] + rng.normal(size=(points, 2)) * 3
    return {
        "example_image": xr.DataArray(original, dims=("data", "example", *pixels, "channel")),
        "example_hidden": xr.DataArray(hidden, dims=("data", "example", *pixels)),
        "example_reconstruction": xr.DataArray(np.stack(pasted), dims=(*where, "channel")),
        "example_reconstruction_full": xr.DataArray(np.stack(full), dims=(*where, "channel")),
        "example_attention_cls": xr.DataArray(np.stack(attention), dims=where),
        "example_attention_object": xr.DataArray(np.stack(attention)[..., ::-1], dims=where),
        "embedding_xy": xr.DataArray(xy, dims=("checkpoint", "data", "layer_kept", "image", "axis")),
        "label": xr.DataArray(labels, dims=("data", "image")),
    }


def add_theory(maker: Maker) -> dict[str, xr.DataArray]:
    top = LEVELS - 1
    share = np.full((len(maker.checkpoints), LEVELS), np.nan)
    binding = np.full(len(maker.checkpoints), np.nan)
    for i, model in enumerate(maker.checkpoints):
        if "quadtree" in model.data and not model.untrained:
            share[i] = np.exp(-((np.arange(LEVELS) - np.log2(model.patch / 2)) ** 2))
            share[i, 0] = 0
            share[i] /= share[i].sum()
            binding[i] = min(top, np.log2(model.patch / 2) + 1.4 * model.ratio**2)
    height = np.nansum(share * np.arange(LEVELS), -1)
    height[np.isnan(binding)] = np.nan
    return {
        "expected_level_share": xr.DataArray(
            share, dims=("checkpoint", "level"), attrs={"long_name": "Expected share of c by level"}
        ),
        "expected_binding_level": xr.DataArray(
            binding, dims="checkpoint", attrs={"long_name": "Expected binding level"}
        ),
        "expected_mean_height": xr.DataArray(
            height, dims="checkpoint", attrs={"long_name": "Expected mean height of c"}
        ),
    }


def assemble(maker: Maker, extra: dict[str, xr.DataArray]) -> xr.Dataset:
    found = maker.checkpoints
    along = {key: ("checkpoint", np.asarray(values, dtype=float)) for key, values in {
        "mask_ratio": [m.ratio for m in found], "patch_size": [m.patch for m in found],
        "vit_patch_size": [4 if "quadtree" in m.data else 2 for m in found], "seed": [m.seed for m in found],
        "images_seen": [0 if m.untrained else 150_000 for m in found],
    }.items()}  # fmt: skip
    relative = ("checkpoint", "layer"), np.tile(maker.depth, (len(found), 1))
    ds = xr.Dataset({**maker.arrays, **extra})
    ds = ds.assign_coords(
        {"checkpoint": [m.name for m in found], "data": maker.data, "relative_depth": relative, **along}
    )
    reasons = {
        m.name: {"latent_recovery": "photos and shapes have no known latents"} for m in found if "photos" in m.data
    }
    facts = {
        m.name: {"sha256": f"{abs(hash(m.name)):064x}"[-64:], "source": f"shipped:{m.name}",
                 "verdict": {"format": "probekit", "decoder": True, "missing": [], "unexpected": [], "warnings": []},
                 "card": {"architecture": {"width": 96, "depth": 6, "num_heads": 4},
                          "data": m.data[0], "licence": "Apache-2.0", "epochs": 30}}
        for m in found
    }  # fmt: skip
    provenance = {
        "created": "2026-01-01T00:00:00+00:00", "command": ["python", "-m", "probekit.report"], "suite": "paper",
        "versions": {"python": "3.11.7", "probekit": "0.1.0", "torch": "2.14.1"}, "checkpoints": facts,
        "data": {name: {"spec": name, "fingerprint": "0123abcd", "split": "test",
                        "count": IMAGES} for name in maker.data},
    }  # fmt: skip
    ds.attrs = {
        "schema_version": schema.SCHEMA_VERSION,
        "not_applicable": json.dumps(reasons),
        "provenance": json.dumps(provenance),
    }
    return schema.validate(ds)


def grid(**choice) -> xr.Dataset:
    maker = Maker(models(**choice), layers=7, heads=4)
    add_levels(maker)
    add_accuracies(maker)
    add_the_rest(maker)
    return assemble(maker, add_pictures(maker) | add_theory(maker))


def add_readings(maker: Maker) -> None:
    """The recovery profile, the level ladder, the mask response, and the similarity of checkpoints."""

    def gain(model: Model, at) -> np.ndarray:
        return model.quality * (0.2 + 0.1 * at["level"]) + 0 * at["layer"]

    def rung(model: Model, at) -> np.ndarray:
        return np.array([0.1, 0.3, 0.1, 0.3, 0.15, 0.05])[at["rung"]] + 0.02 * model.quality * (at["rung"] - 2.5)

    def response(model: Model, at) -> np.ndarray:
        return 1 - 0.8 * np.array([0.0, 0.25, 0.5, 0.9])[at["eval_mask_ratio"]] * (1.2 - model.quality)

    only = {"data": ("quadtree",)}
    maker.add(variable("recovery_gain", ("layer", "level"), "Recovery gain"), gain, 0.01, **only)
    maker.add(
        variable("gain_amount", ("layer",), "Amount of recovery"),
        lambda m, at: m.quality + 0 * at["layer"],
        0.01,
        **only,
    )
    maker.add(
        variable("gain_height", ("layer",), "Height of recovery", "levels", "none"),
        lambda m, at: 2 + m.quality + 0 * at["layer"], 0.01, **only,
    )  # fmt: skip
    everywhere = ("layer", "pooling", "scaling")
    maker.add(variable("ladder_share", (*everywhere, "rung"), "Share of variance by rung", better="none"), rung, 0.002)
    maker.add(
        variable("ladder_level", everywhere, "Ladder level", "rungs", "none"),
        lambda m, at: 2 + m.quality + 0 * at["layer"], 0.02,
    )  # fmt: skip
    grid = ("eval_mask_ratio", "eval_patch_size", "layer")
    maker.add(
        variable("response_similarity", grid, "Cosine of masked and unmasked features", better="none"), response, 0.01
    )
    alike = variable("similarity", ("other", "metric", "layer"), "Similarity", better="none")
    maker.add(alike, lambda m, at: 0.5 + 0.4 * m.quality * np.cos(at["other"]), 0.01)


def readings(**choice) -> xr.Dataset:
    """As `grid`, with every reading of level, and a coordinate of the user's own."""
    maker = Maker(models(**choice), layers=3, heads=2)
    add_levels(maker)
    add_accuracies(maker)
    add_readings(maker)
    ds = assemble(maker, add_pictures(maker) | add_theory(maker))
    return ds.assign_coords(recipe=("checkpoint", [["plain", "long"][i % 2] for i in range(ds.sizes["checkpoint"])]))


def large() -> xr.Dataset:
    """40 checkpoints of 24 layers, 12 heads."""
    ratios = tuple(np.round(np.linspace(0.1, 0.9, 10), 2).tolist())
    found = [m for m in models(ratios, patches=(4, 16), photos=()) if not m.untrained][:40]
    maker = Maker(found, layers=24, heads=12)
    add_levels(maker)
    add_the_rest(maker)
    return assemble(maker, add_pictures(maker) | add_theory(maker))


if __name__ == "__main__":
    kind, target = sys.argv[1:]
    schema.write({"grid": grid, "large": large}[kind](), target)
