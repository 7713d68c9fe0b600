"""How much memory fits on many images take, with features read from the store in chunks.

    python benchmarks/bench_features.py [--images 200000] [--width 768] [--memory 0.25] [--dtype float32 float16]
                                        [--against]

Writes one layer of made-up features (two poolings, 10 classes, 1,000 val and 1,000 test images) as a pass would, then
fits k-NN, the linear probe (L-BFGS and a few steps of a stochastic preset), and ridge and kernel ridge regression of 4
targets, each in a process of its own, which prints how far its peak memory rose above what it had before. The rise with
a quarter of the images shows what grows with them; that for ImageNet's 1.28 million is extrapolated from both. With
`--against`, the same fits with the features in memory, and the ratio of the times.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from probekit.collect.store import Store
from probekit.collect.stored import Column

CLASSES, OTHER, TARGETS = 10, 1_000, 4
IMAGENET = 1_281_167
SPLITS = ("train", "val", "test")

FITS = {
    "knn": "knn(train, labels(train), test, classes=CLASSES, memory=memory)",
    "linear, L-BFGS": "linear_probe(train, labels(train), val, labels(val), test, classes=CLASSES, strengths=[1e-3], "
    "memory=memory)",
    "linear, MAE's LARS": "fit_mae_lars(train, labels(train), classes=CLASSES, epochs=1)",
    "ridge": "ridge(train, targets(train), val, targets(val)).predict(test)",
    "kernel ridge, whitened": "kernel_ridge(train, targets(train), val, targets(val), inputs=['whitened'], "
    "scales=[1.5]).predict(test)",
}

CHILD = """
import resource, sys, time
from pathlib import Path
import numpy as np
from benchmarks.bench_features import TARGETS, CLASSES, opened
from probekit.measures.classify import linear_probe
from probekit.measures.knn import knn
from probekit.measures.regress import kernel_ridge, ridge
from probekit.measures.sgd import fit_mae_lars
folder, images, streamed, memory = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1", int(sys.argv[4])
train, val, test = opened(folder, images)
def labels(rows): return np.arange(len(rows)) % CLASSES
def targets(rows): return np.random.default_rng(0).standard_normal((len(rows), TARGETS))
def peak(): return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) / 1024
before, start = peak(), time.perf_counter()
if not streamed:
    train, memory = train[:], 1 << 60
FIT
print(peak() - before, time.perf_counter() - start)
"""


def write(folder: Path, images: int, width: int, dtype: str) -> None:
    """Stores of the three splits: class means and noise."""
    means = np.random.default_rng(1).standard_normal((CLASSES, width)).astype(np.float32)
    for split, rows in zip(SPLITS, (images, OTHER, OTHER), strict=True):
        store, rng = Store(folder / split, rows, {}), np.random.default_rng(rows)
        for start in range(0, rows, 256):
            numbers = np.arange(start, min(start + 256, rows))
            noise = 4 * rng.standard_normal((len(numbers), 1, 2, width), dtype=np.float32)
            store.append({"pooled": (means[numbers % CLASSES, None, None] + noise).astype(dtype)})


def opened(folder: Path, images: int) -> list[Column]:
    """The second pooling of the three splits."""
    sizes = zip(SPLITS, (images, OTHER, OTHER), strict=True)
    return [Column(Store(folder / split, rows, {})["pooled"], 0, 1) for split, rows in sizes]


def fitted(folder: Path, images: int, fit: str, memory: int | None) -> tuple[float, float]:
    """Rise of the peak memory in MB, and seconds, of a fit in a process of its own."""
    command = [sys.executable, "-c", CHILD.replace("FIT", fit), str(folder), str(images)]
    command += ["0" if memory is None else "1", str(memory or 0)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    rise, seconds = done.stdout.split()
    return float(rise), float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--memory", type=float, default=0.25, help="GiB that a fit may hold")
    parser.add_argument("--only", nargs="+", default=list(FITS), choices=list(FITS), metavar="FIT")
    parser.add_argument("--against", action="store_true", help="also with features in memory")
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=("float32", "float16"))
    args = parser.parse_args()
    budget = int(args.memory * 2**30)
    for dtype in args.dtype:
        with tempfile.TemporaryDirectory() as scratch:
            start = time.perf_counter()
            sizes = (args.images // 4, args.images)
            for size in sizes:
                write(Path(scratch, str(size)), size, args.width, dtype)
            there = sum(file.stat().st_size for file in Path(scratch, str(args.images)).rglob("*.rows")) / 1e6
            print(f"{args.images:,} x {args.width} in {dtype}: {there:,.0f} MB, {time.perf_counter() - start:.0f} s")
            print(f"{'peak memory above the start, MB':<34}{sizes[0]:>10,}{sizes[1]:>10,}{IMAGENET:>12,}")
            for name, fit in ((name, FITS[name]) for name in args.only):
                (few, _), (many, taken) = (fitted(Path(scratch, str(size)), size, fit, budget) for size in sizes)
                slope = max(0.0, (many - few) / (sizes[1] - sizes[0]))
                line = f"  {name:<32}{few:10,.0f}{many:10,.0f}{many + slope * (IMAGENET - sizes[1]):12,.0f}"
                if args.against:
                    held, seconds = fitted(Path(scratch, str(args.images)), args.images, fit, None)
                    line += f"   in memory {held:,.0f}; {taken / seconds:.2f} of its time"
                print(line, flush=True)


if __name__ == "__main__":
    main()
