"""The rows of the board: measure, write a small results file, and put the tables into README.md and the site.

python analyses/board/run.py                # all files; or some, by their names
probekit board --check                      # do README.md and the site still say what the files say?
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

import probekit
from probekit import schema

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent)]

import writing  # noqa: E402  (it lies beside this folder)
from targets import root, shape_and_texture  # noqa: E402  (it lies beside this file)

GALLERY = [f"shipped:cifar10-r{ratio}-p4-s0" for ratio in (0.1, 0.5, 0.9)] + ["shipped:untrained-s0"]
SHAPES = {"train": 600, "val": 150, "test": 300, "images": 128, "objects": 60, "gradients": 24, "ladder": 200}
TINY = {"train": 60, "val": 30, "test": 40}
FEW = SHAPES | {"pictures": 4, "views": 3, "shifted": 100, "masked": 60}

SLOW = ("attentive_probe",)
"""Probes that take minutes for each checkpoint: their pictures come from the analysis that needs them."""


def quadtree(executor: str | None) -> xr.Dataset:
    """The shipped quadtree grid on its own process: recovery profile, level spectrum, accuracy."""
    suite = ["level_recovery", "level_spectrum", "linear_probe", "knn"]
    counts = {"train": 1000, "val": 200, "test": 500}
    return probekit.compare(writing.shipped("quadtree"), suite, data="quadtree", counts=counts, executor=executor)


def gallery(executor: str | None) -> xr.Dataset:
    """Every other probe on a few checkpoints: what the pages of the probes are drawn from."""
    elsewhere = {"level_recovery", "level_spectrum", "linear_probe", "knn", "level_ladder", "expected_levels"}
    own = {
        "multilabel_probe": ("shapes, shape and texture", shape_and_texture(FEW)),
        "regression_probe": ("quadtree, root", root(FEW)),
    }
    rest = [name for name in probekit.probes.names() if name not in {*elsewhere, *own, *SLOW}]
    parts = [probekit.compare(GALLERY, rest, counts=FEW, executor=executor)]
    for name, (title, given) in own.items():
        found = probekit.compare(GALLERY[:1], name, data=given, counts=FEW)
        parts.append(found.assign_coords(data=[title]))
    return probekit.compare(parts)


def differences(executor: str | None) -> xr.Dataset:
    """Masking ratios 0.1 and 0.9 minus 0.5, image by image."""
    ds = probekit.compare(GALLERY[:-1], "knn", data="shapes", counts=FEW, layers=[-1], executor=executor)
    return probekit.contrast(ds, baseline="cifar10-r0.5-p4-s0", variables=["knn_accuracy"])


def similarity(executor: str | None) -> xr.Dataset:
    """How alike these checkpoints represent the generated shapes; in this process."""
    return probekit.similarity(GALLERY, "shapes", images=200)


BOARDS: dict[str, Callable[..., xr.Dataset]] = {f.__name__: f for f in (quadtree, gallery, differences, similarity)}
SPARED = ("class_recall", "balanced_accuracy", "linear_accuracy_top5", "majority_accuracy", "label_prevalence")


def small(ds: xr.Dataset) -> xr.Dataset:
    """Without what each image contributed and what no table shows, with seven digits: a few hundred kilobytes."""
    shown = [name for name in map(str, ds.data_vars) if not name.startswith(SPARED)]
    kept = [name for name in shown if "image" not in ds[name].dims or name in ("embedding_xy", "label")]
    out = ds[kept]
    for name in kept:
        if out[name].dtype == np.float64:
            out[name] = out[name].astype(np.float32, keep_attrs=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*BOARDS, []], help="which files; all if none")
    parser.add_argument("--executor", help="e.g. local:2")
    parser.add_argument("--tiny", action="store_true", help="few images of two checkpoints, to --output: does it run?")
    parser.add_argument("--output", default="tiny.nc", help="the file of --tiny")
    args = parser.parse_args()
    if args.tiny:
        ds = probekit.compare(GALLERY[:2], "knn", data="shapes", counts=TINY, layers=[-1], executor=args.executor)
        return print(schema.write(small(ds), args.output))
    for name in args.names or BOARDS:
        sys.argv = ["python", f"analyses/board/{Path(__file__).name}", name]  # what the file says that made it
        print(schema.write(small(BOARDS[name](args.executor)), HERE / f"{name}.nc"))


if __name__ == "__main__":
    main()
