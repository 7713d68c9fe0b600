"""Does the ladder put a supervised encoder above the masked autoencoder that it began as? Writes results.nc.

python analyses/supervision/run.py --data torchvision:CIFAR10:DIR    # or imagefolder:DIR, of CIFAR-10's classes
python analyses/supervision/run.py --tiny                            # generated images: to try it out
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import probekit
from probekit import schema

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SEEDS = (0, 1)
START = "cifar10-r0.75-p4"
"""The cell that supervision begins with."""
EPOCHS = 1.0
COUNTS = {"train": 1000, "val": 200, "test": 1000, "ladder": 1000}
TINY = {"train": 60, "val": 20, "test": 60, "ladder": 40}


def supervised(data: str, runs: Path, epochs: float, **settings: int) -> list[str]:
    """The encoders after supervision, one a seed, and one that had it twice, the second time without layer decay; runs
    that are there already are taken as they are."""
    plans = [(f"shipped:{START}-s{seed}", seed, f"cifar10-supervised-s{seed}", {}) for seed in SEEDS]
    plans.append((str(runs / "cifar10-supervised-s0"), 0, "cifar10-supervised-twice-s0", {"layer_decay": 1.0}))
    for start, seed, name, more in plans:
        given = {"epochs": epochs, "seed": seed, "device": "cpu", **settings, **more}
        probekit.finetune(start, data, output=runs / name, **given)
    return [str(runs / name) for _, _, name, _ in plans]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="images with CIFAR-10's classes; none of `test` may have been trained on")
    parser.add_argument("--runs", type=Path, help="where the supervised encoders are, or go")
    parser.add_argument("--output", type=Path, default=HERE / "results.nc")
    parser.add_argument("--tiny", action="store_true", help="two checkpoints, few images: to try it out")
    parser.add_argument("--executor", help="e.g. local:2")
    args = parser.parse_args()
    if not args.tiny and args.data is None:
        parser.error("--data is needed: the shipped encoders were trained on CIFAR-10, which does not ship")
    with tempfile.TemporaryDirectory() as folder:
        runs, more = args.runs or Path(folder), {"executor": args.executor} if args.executor else {}
        if args.tiny:
            made = supervised("shapes?count=64", runs, 1.0, batch_size=32)[:1]
            mae, data, counts = [f"shipped:{START}-s0"], "shapes", TINY
        else:
            made = supervised(args.data, runs, EPOCHS)
            mae, data, counts = writing.shipped("cifar10", untrained=False), args.data, COUNTS
        ds = probekit.compare(
            [*mae, *made], ["level_ladder", "knn"], data=data, counts=counts, layers=[-1], poolings=["mean"],
            mixed=True, **more,
        )  # fmt: skip
    print(schema.write(writing.without_images(ds), args.output))


if __name__ == "__main__":
    main()
