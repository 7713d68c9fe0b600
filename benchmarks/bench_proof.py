"""What it costs never to believe the cache without proof: the main job with digests and without, in one run.

Digests are written with every chunk of measurements and every probe's results, and compared before anything is read.
Here they are switched off by replacing the functions that compute and compare them, on caches of their own. Three jobs:
cold (nothing is stored), probes (measurements are stored, results are not: every file is read and proven), warm (all is
stored). Each is told in two ways:

- **inside**: user time that the functions of proof take, over that of the rest of the same job. Precise, since both
  are counted in one run.
- **ratio**: median user time with proof over that without, in turns (A B B A ...), with the spread of the turns' own
  ratios. It tells what the first leaves out (memory, caches), as far as the machine's noise allows.

    OMP_NUM_THREADS=1 python benchmarks/bench_proof.py [--checkpoints 2] [--suite high_level] [--images 30]
        [--seconds 200]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import probekit
from probekit import models
from probekit.collect import measurements, store
from probekit.evaluation import results
from probekit.seals import SEAL

JOBS = ("cold", "probes", "warm")
BARS = {"cold": 1.03, "probes": 1.05, "warm": 1.05}
"""Most that proof may cost."""

REPEATS = {"warm": 8}
"""How often a turn does a job that takes fractions of a second; its seconds are of all of them."""

TRAILER = SEAL + b"0" * 64 + b"\n"


PROOF = [(store, "read_whole"), (results, "sealed"), (results, "unsealed"), (measurements, "sealed"),
         (measurements, "unsealed")]  # fmt: skip
"""Modules and the functions by which they prove; besides, `store` hashes with xxhash."""


def user_time() -> float:
    """Seconds of user time of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


@contextmanager
def unproven() -> Iterator[None]:
    """No digest is computed, none is compared."""
    instead: dict[str, Callable[..., Any]] = {
        "read_whole": lambda path, part: None,
        "sealed": lambda content: bytes(content) + TRAILER,
        "unsealed": lambda content: content[: -len(TRAILER)],
    }
    with ExitStack() as stack:
        plain = SimpleNamespace(xxh3_128_hexdigest=lambda content: "0" * 32)
        stack.enter_context(mock.patch.object(store, "xxhash", plain))
        for module, name in PROOF:
            stack.enter_context(mock.patch.object(module, name, instead[name]))
        yield


@contextmanager
def counted(spent: list[float]) -> Iterator[None]:
    """Adds to `spent` the processor time of every function of proof."""

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*args)
            finally:
                spent.append(time.thread_time() - start)

        return run

    with ExitStack() as stack:
        hashing = SimpleNamespace(xxh3_128_hexdigest=timed(store.xxhash.xxh3_128_hexdigest))
        stack.enter_context(mock.patch.object(store, "xxhash", hashing))
        for module, name in PROOF:
            stack.enter_context(mock.patch.object(module, name, timed(getattr(module, name))))
        yield


def measured(names: list[str], suite: str, cache: Path, job: str, images: int) -> float:
    """User seconds of one job; `images` to fit on, and the other numbers in proportion."""
    os.environ["PROBEKIT_CACHE"] = str(cache)
    if job == "cold":
        shutil.rmtree(cache, ignore_errors=True)
    elif job == "probes":
        shutil.rmtree(cache / "results")
    counts = {"train": images, "val": images // 3, "test": images // 2}
    counts |= dict.fromkeys(("pairs", "ladder", "images", "objects", "shifted"), max(64, images // 4))
    counts |= {"views": 4, "masked": 32, "gradients": 8}
    start = user_time()
    probekit.compare([f"shipped:{name}" for name in names], suite=suite, device="cpu", counts=counts)
    return user_time() - start


def turns(asked: argparse.Namespace, folder: Path) -> dict[str, list[tuple[float, float, float]]]:
    """Job -> (seconds with proof, without, of proof itself) of each turn, until the time is used up."""
    names, begun = models.shipped()[: asked.checkpoints], time.monotonic()
    measured(names, asked.suite, folder / "unmeasured", "cold", asked.images)  # imports, image sets
    found: dict[str, list[tuple[float, float, float]]] = {job: [] for job in JOBS}
    while len(found["warm"]) < 2 or time.monotonic() - begun < asked.seconds * (1 - 1 / (1 + len(found["warm"]))):
        turn: dict[tuple[str, bool], float] = {}
        spent: dict[str, list[float]] = {job: [] for job in JOBS}
        for proof in (True, False) if len(found["warm"]) % 2 else (False, True):
            for job in JOBS:
                with counted(spent[job]) if proof else unproven():
                    repeated = [
                        measured(names, asked.suite, folder / f"{proof}", job, asked.images)
                        for _ in range(REPEATS.get(job, 1))
                    ]
                    turn[job, proof] = sum(repeated)
        for job in JOBS:
            found[job].append((turn[job, True], turn[job, False], sum(spent[job])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=2)
    parser.add_argument("--suite", default="high_level")
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=200)
    asked = parser.parse_args()
    os.environ["PROBEKIT_PROGRESS"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        found = turns(asked, Path(folder))
    print(f"{asked.checkpoints} checkpoints, suite {asked.suite}, user time, {len(found['warm'])} turns")
    for job, seconds in found.items():
        proven, plain, proof = (statistics.median(column) for column in zip(*seconds, strict=True))
        inside = statistics.median(part / (whole - part) for whole, _, part in seconds)
        each = [one / other for one, other, _ in seconds]
        print(
            f"  {job:8} inside {1 + inside:.4f} ({1000 * proof:.1f} ms of {proven:.2f} s); ratio {proven / plain:.3f} "
            f"({min(each):.3f} to {max(each):.3f}); bar {BARS[job]}"
        )


if __name__ == "__main__":
    main()
