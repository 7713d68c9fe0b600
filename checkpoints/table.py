"""The tables of README.md: what training brought to each shipped checkpoint, from results files.

    probekit compare shipped:NAME ... --data quadtree --suite linear_probe,knn,latent_recovery,level_spectrum -o results.nc
    python checkpoints/table.py results.nc ...

Last layer, mean pooling. Intervals are 95 %, over test images. "Better": both intervals lie above those of the untrained
encoder of the same seed.
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


def table(ds: xr.Dataset) -> list[str]:
    columns = {name: column for name, column in COLUMNS.items() if name in ds}
    names = [str(name) for name in ds.checkpoint.to_numpy()]
    rows = ["| name | final loss | " + " | ".join(title for title, _ in columns.values()) + " | better |"]
    rows.append("|" + "---|" * (len(columns) + 3))
    for name in sorted(names):
        card = (HERE / name / "README.md").read_text()
        loss = card.split("(mean of the last steps): ")[-1].split(".\n")[0] if "last steps" in card else ""
        found = {key: cell(ds, key, name, where) for key, (_, where) in columns.items()}
        texts = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in found.values()]
        verdict = ""
        if not name.startswith("untrained"):
            seed = probekit.load(HERE / name, device="cpu").card.seed
            base = {key: cell(ds, key, f"untrained-s{seed}", columns[key][1]) for key in ("linear_accuracy", "knn_accuracy")}
            verdict = ", ".join(
                f"{label} {'yes' if found[key][1] > base[key][2] else 'worse' if found[key][2] < base[key][1] else 'no'}"
                for key, label in (("linear_accuracy", "linear"), ("knn_accuracy", "k-NN"))
            )
        rows.append(f"| `{name}` | {loss} | " + " | ".join(texts) + f" | {verdict} |")
    return rows


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print("\n".join(table(schema.read(file))), end="\n\n")
