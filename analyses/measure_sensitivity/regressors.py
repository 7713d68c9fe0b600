"""Is the regressor strong enough? Own noise from mean-pooled features, by kernel ridge and by a small network."""

from __future__ import annotations

import numpy as np
import xarray as xr
from sklearn.neural_network import MLPRegressor

import probekit
from probekit import data
from probekit.measures import regress

LANDMARKS = (256, 512, 1024, None)
"""Of kernel ridge; None is every training image: exact."""


def regressors(sources: list[str], counts: dict[str, int]) -> xr.DataArray:
    """R² of own noise from mean-pooled features of the last layer, by regressor: (regressor, cell, level)."""
    splits = ("train", "val", "test")
    images = {split: data.load("quadtree", split, count=counts[split]) for split in splits}
    levels = (3, 4)
    noise = {s: [one.noise[level].reshape(len(one), -1) for level in levels] for s, one in images.items()}
    edge = noise["test"][0].shape[1]
    wanted = {split: np.concatenate(parts, axis=1) for split, parts in noise.items()}
    found: dict[str, list[list[float]]] = {}
    for source in sources:
        x = {}
        for split in splits:
            table = probekit.features(source, "quadtree", split, [-1], ["mean"], count=counts[split])
            x[split] = table.features.values[:, 0, 0]
        known = (x["train"], wanted["train"], x["val"], wanted["val"])
        for count in LANDMARKS:
            fit = regress.kernel_ridge(*known, landmarks=count or len(x["train"]), scales=(1.5,), inputs=("whitened",))
            name = f"kernel ridge, {f'{count:,} landmarks' if count else 'exact'}"
            found.setdefault(name, []).append(r2(wanted["test"], fit.predict(x["test"]), edge))
        middle, spread = x["train"].mean(axis=0), x["train"].std(axis=0)
        net = MLPRegressor(hidden_layer_sizes=(256,), alpha=1e-3, early_stopping=True, max_iter=200, random_state=0)
        net.fit((x["train"] - middle) / spread, wanted["train"])
        guess = net.predict((x["test"] - middle) / spread)
        found.setdefault("MLP of 256 units", []).append(r2(wanted["test"], guess, edge))
    cells = [str(one).split("quadtree-")[-1] for one in sources]
    coords = {"regressor": list(found), "cell": cells, "level": list(levels)}
    return xr.DataArray(list(found.values()), dims=("regressor", "cell", "level"), coords=coords)


def r2(wanted: np.ndarray, guess: np.ndarray, edge: int) -> list[float]:
    """R² of the columns before and from `edge` on."""
    residual, total = (wanted - guess) ** 2, (wanted - wanted.mean(axis=0)) ** 2
    return [float(1 - residual[:, at].sum() / total[:, at].sum()) for at in (slice(edge), slice(edge, None))]
