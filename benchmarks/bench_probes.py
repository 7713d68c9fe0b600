"""What a checkpoint costs in the suite `paper`, by measurement and by probe, in CPU seconds.

python benchmarks/bench_probes.py [--data quadtree|shapes|photos ...] [--width 64] [--threads 1]
python benchmarks/bench_probes.py --ladder 2000 --threads 2     # the level ladder alone, against its bare forwards
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import torch

from probekit import models, probes
from probekit.collect import Counts, Measurements, PassSettings, PreparedModel, Splits
from probekit.collect.measurements import EXTRA, NEEDS
from probekit.evaluation import SUITES


@contextmanager
def timed(name: str):
    start = time.process_time()
    yield
    print(f"  {name:24} {time.process_time() - start:7.2f} s")


def checkpoint(width: int) -> models.Checkpoint:
    net = models.MaskedAutoencoder.create(
        image_size=(32, 32), vit_patch_size=4, width=width, depth=4, num_heads=width // 16, decoder_width=48,
        decoder_depth=1, decoder_num_heads=4, seed=0,
    )  # fmt: skip
    return models.load(net, device="cpu")


def ladder(first: models.Checkpoint, images: int) -> None:
    """Seconds of the level ladder on so many images, and over those of as many bare forwards as it asks for."""
    sets = Splits("shapes", Counts(train=10, val=10, test=images, ladder=images))
    with tempfile.TemporaryDirectory() as folder:
        measurements = Measurements(PreparedModel(first, PassSettings()), sets, Path(folder))
        start, wall = time.process_time(), time.perf_counter()
        measurements.gather(probes.find("level_ladder").needs)
        probes.find("level_ladder").run(measurements, untrained=True)
        seconds, wall = time.process_time() - start, time.perf_counter() - wall
        forwards = measurements.forwards + measurements.untrained().forwards
    batch = torch.zeros(64, 3, 32, 32)
    start = time.process_time()
    with torch.inference_mode():
        for _ in range(0, forwards, len(batch)):
            first.model.encode(batch)
    bare = time.process_time() - start
    print(f"ladder of {sets.size('test')} images: {seconds:.1f} s of CPU, {wall:.1f} s; {seconds / bare:.2f} x the")
    print(f"{bare:.1f} s of CPU of {forwards} bare forwards")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="*", default=["quadtree", "shapes", "photos"])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ladder", type=int, default=0, help="images: time the level ladder alone")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    first = checkpoint(arguments.width)
    if arguments.ladder:
        ladder(first, arguments.ladder)
        print(f"threads {arguments.threads}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
        return
    for plan in SUITES["paper"].plans:
        if plan.data not in arguments.data:
            continue
        sets = Splits(plan.data, plan.counts)
        print(f"{plan.data}: {plan.counts}")
        with timed("images (once)"):
            for split in ("train", "val", "test"):
                sets[split].pixels(range(sets.size(split)))
            if sets.any.height:
                sets.pairs(0).partners  # noqa: B018  drawn when first read
        with tempfile.TemporaryDirectory() as folder:
            measurements = Measurements(PreparedModel(first, PassSettings()), sets, Path(folder))
            start = time.process_time()
            needs = dict.fromkeys(need for name in plan.probes for need in probes.find(name).needs)
            with timed("the pass"):
                measurements.gather([*(need for need in needs if need in NEEDS), "moments"])
            for need in needs:
                if need in EXTRA:
                    with timed(f"extra: {need}"):
                        measurements.gather([need])
            for name in plan.probes:
                with timed(name):
                    probes.find(name).run(measurements, **probes.find(name).settings(plan.options.get(name)))
            print(f"  {'all':24} {time.process_time() - start:7.2f} s, {measurements.forwards} forwards")
    print(f"threads {arguments.threads}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
