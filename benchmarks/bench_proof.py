"""What it costs never to believe the cache without proof: the main job with digests and without, in one run.

Digests are written with every chunk of measurements and every probe's results, and compared before anything is read.
Here they are switched off by replacing the functions that compute and compare them, on caches of their own. Three jobs,
each alternately with proof and without, medians of CPU time: cold (nothing is stored), probes (measurements are stored,
results are not: every file is read and proven), warm (all is stored).

    OMP_NUM_THREADS=1 python benchmarks/bench_proof.py [--checkpoints 1] [--suite low_level] [--runs 3] [--images 200]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import probekit
from probekit import models
from probekit.collect import store
from probekit.evaluation import results
from probekit.seals import SEAL

JOBS = ("cold", "probes", "warm")
BARS = {"cold": 1.03, "probes": 1.05, "warm": 1.05}
"""Most that proof may cost."""

TRAILER = SEAL + b"0" * 64 + b"\n"


@contextmanager
def unproven() -> Iterator[None]:
    """No digest is computed, none is compared."""
    with ExitStack() as stack:
        plain = SimpleNamespace(xxh3_128_hexdigest=lambda content: "0" * 32)
        stack.enter_context(mock.patch.object(store, "xxhash", plain))
        stack.enter_context(mock.patch.object(store, "read_whole", return_value=None))
        stack.enter_context(mock.patch.object(results, "sealed", lambda content: bytes(content) + TRAILER))
        stack.enter_context(mock.patch.object(results, "unsealed", lambda content: content[: -len(TRAILER)]))
        yield


def measured(names: list[str], suite: str, cache: Path, job: str, images: int) -> float:
    """CPU seconds of one job; `images` to fit on, and the other numbers in proportion."""
    os.environ["PROBEKIT_CACHE"] = str(cache)
    if job == "cold":
        shutil.rmtree(cache, ignore_errors=True)
    elif job == "probes":
        shutil.rmtree(cache / "results")
    counts = {"train": images, "val": images // 3, "test": images // 2}
    counts |= dict.fromkeys(("pairs", "ladder", "images", "objects", "shifted"), max(64, images // 4))
    counts |= {"views": 4, "masked": 32, "gradients": 8}
    start = time.process_time()
    probekit.compare([f"shipped:{name}" for name in names], suite=suite, device="cpu", counts=counts)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=1)
    parser.add_argument("--suite", default="low_level")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--images", type=int, default=200)
    asked = parser.parse_args()
    os.environ["PROBEKIT_PROGRESS"] = "0"
    names = models.shipped()[: asked.checkpoints]
    seconds: dict[tuple[str, bool], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        measured(names, asked.suite, Path(folder) / "unmeasured", "cold", asked.images)  # imports, image sets
        for run in range(asked.runs):
            for proof in (True, False) if run % 2 else (False, True):
                for job in JOBS:
                    with ExitStack() as stack:
                        if not proof:
                            stack.enter_context(unproven())
                        found = measured(names, asked.suite, Path(folder) / f"{proof}", job, asked.images)
                    seconds.setdefault((job, proof), []).append(found)
    print(f"{len(names)} checkpoints, suite {asked.suite}, CPU time, median of {asked.runs}")
    for job in JOBS:
        middle = {proof: statistics.median(seconds[job, proof]) for proof in (True, False)}
        ratio = middle[True] / middle[False]
        print(f"  {job:8} {middle[True]:8.2f} s, without proof {middle[False]:8.2f} s: {ratio:.3f} (bar {BARS[job]})")


if __name__ == "__main__":
    main()
