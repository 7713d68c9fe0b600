"""Seconds and memory of the transfer probes, each in a process of its own.

Seconds: a tiny shipped encoder on `shapes`, nothing cached, against the bars that the probes are held to. Memory: a
ViT-B/16 with fresh weights on 500 generated images of 224 px; the peak of the whole process, imports and weights among
it. The second probe on the same images reads cached tokens.

    python benchmarks/bench_transfer.py [--threads 2] [--only attentive segmentation detection]
    python benchmarks/bench_transfer.py --memory [--only attentive depth ...] [--images 500]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TINY = "shipped:shapes-r0.75-p4-s0"
DETECTED = "shipped:cifar10-r0.75-p8-s0"
SIDE, CLASSES = 224, 8
SECONDS = {"attentive": 60, "segmentation": 60, "detection": 300}
"""Most seconds on two cores."""
GIBIBYTES = 3.0
"""Most memory of a dense probe."""
FLOOR = 0.4
"""Least box AP of the detector, which is trained for 500 steps on generated scenes."""

PROBES: dict[str, tuple[str, dict[str, Any]]] = {
    "segmentation": ("segmentation", {"readouts": ["linear"]}),
    "segmentation-knn": ("segmentation", {"readouts": ["knn"]}),
    "depth": ("depth", {}),
    "correspondence": ("correspondence", {}),
    "attentive": ("attentive_probe", {}),
}
FOLDERS = {"segmentation": "segmentation:masked", "segmentation-knn": "segmentation:masked", "depth": "depth:deep",
           "correspondence": "stereo_motorcycle", "attentive": "imagefolder:classed"}  # fmt: skip
"""What each probe is measured on where memory is counted; folders are relative to the generated ones."""


def generate(root: Path, images: int) -> None:
    """Images of smooth noise with a class and a depth for each pixel, and a class each, in three folders."""
    rng = np.random.default_rng(0)
    for folder in ("masked/images", "masked/masks", "deep/images", "deep/depth"):
        (root / folder).mkdir(parents=True)
    for index in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
        picture = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        grey = np.asarray(picture.convert("L"))
        classed = root / "classed" / str(index % CLASSES)
        classed.mkdir(parents=True, exist_ok=True)
        for folder in (root / "masked/images", root / "deep/images", classed):
            picture.save(folder / f"{index:04d}.jpg")
        Image.fromarray((grey // (256 // CLASSES)).astype(np.uint8)).save(root / f"masked/masks/{index:04d}.png")
        Image.fromarray(grey.astype(np.uint16) * 20 + 100).save(root / f"deep/depth/{index:04d}.png")


def vit_base() -> Any:
    import probekit
    from probekit.models import MaskedAutoencoder

    net = MaskedAutoencoder.create(
        image_size=(SIDE, SIDE), vit_patch_size=16, width=768, depth=12, num_heads=12, decoder_width=64,
        decoder_depth=1, decoder_num_heads=4, seed=0,
    )  # fmt: skip
    return probekit.load(net, device="cpu", name="ViT-B/16")


def child(case: str, threads: int, folder: Path | None) -> None:
    """Run one case, and print what it took as JSON."""
    import torch

    import probekit

    torch.set_num_threads(threads)
    wall, cpu, more = time.perf_counter(), time.process_time(), {}
    if case == "detection":
        with tempfile.TemporaryDirectory() as output:
            ds = probekit.detect(DETECTED, output=output, test_images=100, device="cpu", threads=threads)
        more = {name: ds[name].item() for name in ("box_ap", "mask_ap")}
    else:
        probe, options = PROBES[case]
        place = "shapes" if folder is None else FOLDERS[case].replace(":", f":{folder}/")
        ds = probekit.evaluate(
            TINY if folder is None else vit_base(), [probe], data=place, options={probe: options},
            cache=folder is not None, device="cpu",
        )  # fmt: skip
        name = next(iter(probekit.probes.find(probe).variables)).name
        more = {name: ds[name].values.ravel().tolist()}
    found = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "found": more}
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print("\n" + json.dumps(found))


def measured(case: str, threads: int, folder: Path | None) -> dict[str, Any]:
    """What a case takes in a process of its own."""
    command = [sys.executable, __file__, "--case", case, "--threads", str(threads)]
    command += ["--folder", str(folder)] if folder else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if folder:
        environment["PROBEKIT_CACHE"] = str(folder / "cache")
    start = time.perf_counter()
    told = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(told.splitlines()[-1]) | {"whole": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="peak memory with a ViT-B/16 instead of seconds")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        child(arguments.case, arguments.threads, arguments.folder)
        return
    cases = arguments.only or list(PROBES if arguments.memory else SECONDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) if arguments.memory else None
        if folder:
            generate(folder, arguments.images)
        for case in cases:
            took = measured(case, arguments.threads, folder)
            bar = f"{GIBIBYTES:g} GiB" if folder else f"{SECONDS.get(case, '-')} s"
            print(
                f"{case:18} {took['whole']:6.1f} s in all, {took['wall']:6.1f} s of work, {took['cpu']:6.1f} s of CPU, "
                f"peak {took['peak']:.2f} GiB (bar {bar})  {took['found']}",
                flush=True,
            )
            if case == "detection":
                print(f"{'':18} box AP {took['found']['box_ap']:.3f}, floor {FLOOR}")
    print(f"threads {arguments.threads}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
