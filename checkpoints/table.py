"""The tables of README.md: what training brought to each shipped checkpoint, from results files.

    probekit compare shipped:NAME ... --data quadtree -o results.nc \\
        --suite linear_probe,knn,latent_recovery,level_spectrum
    python checkpoints/table.py results.nc ...

Last layer, mean pooling. Intervals are 95 %, over test images. "Better": the paired difference to the untrained encoder
of the same seed, image by image, lies above 0 with its interval.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr

import probekit
from probekit import schema

HERE = Path(__file__).parent
COLUMNS = {
    "linear_accuracy": ("linear accuracy", {}),
    "knn_accuracy": ("20-NN accuracy", {"k": 20}),
    "latent_r2": ("R² of the root", {"readout": "global", "regressor": "linear", "target": "latent", "level": 4}),
    "representation_level": ("representation level", {"scaling": "standardised"}),
}


def cell(ds: xr.Dataset, name: str, checkpoint: str, where: dict[str, object]) -> np.ndarray:
    """(value, low, high) at the last layer, mean pooling."""
    both = []
    for key in (name, f"{name}_ci"):
        array = ds[key].sel(checkpoint=checkpoint).isel(layer=-1, data=0)
        both.append(array.sel({k: v for k, v in {"pooling": "mean", **where}.items() if k in array.dims}))
    return np.concatenate([np.atleast_1d(part.to_numpy()) for part in both])


def better(differences: xr.Dataset, name: str) -> str:
    """Where the difference to the untrained encoder lies above 0 (yes), below (worse) or on it (no), with its value."""
    words = []
    for key, label in (("linear_accuracy", "linear"), ("knn_accuracy", "k-NN")):
        value, low, high = cell(differences, f"{key}_difference", name, COLUMNS[key][1])
        words.append(f"{label} {'yes' if low > 0 else 'worse' if high < 0 else 'no'} ({value:+.3f})")
    return ", ".join(words)


def table(ds: xr.Dataset) -> list[str]:
    columns = {name: column for name, column in COLUMNS.items() if name in ds}
    both = ["linear_accuracy", "knn_accuracy"]
    names = [str(name) for name in ds.checkpoint.to_numpy()]
    baselines = {seed: f"untrained-s{seed}" for seed in (0, 1) if f"untrained-s{seed}" in names}
    untrained = {seed: probekit.contrast(ds, baseline=name, variables=both) for seed, name in baselines.items()}
    rows = ["| name | final loss | " + " | ".join(title for title, _ in columns.values()) + " | better |"]
    rows.append("|" + "---|" * (len(columns) + 3))
    for name in sorted(names):
        card = (HERE / name / "README.md").read_text()
        loss = card.split("(mean of the last steps): ")[-1].split(".\n")[0] if "last steps" in card else ""
        found = {key: cell(ds, key, name, where) for key, (_, where) in columns.items()}
        texts = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in found.values()]
        seed = probekit.load(HERE / name, device="cpu").card.seed
        verdict = "" if name.startswith("untrained") else better(untrained[seed], name)
        rows.append(f"| `{name}` | {loss} | " + " | ".join(texts) + f" | {verdict} |")
    return rows


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print("\n".join(table(schema.read(file))), end="\n\n")
