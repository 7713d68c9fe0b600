"""What a GPU gives: the pass and training against the bare forward and against transformers, in at most five minutes.

    python benchmarks/bench_gpu.py [--seconds 300] [--together 1 4 8 16] [--tiny]

1. what the card multiplies at: 8192³ products in float32, TF32 and bfloat16;
2. training: the `tiny` preset as graphs (1 cell, several side by side), step by step, and transformers' model step by
   step; the `base` preset in bfloat16 against transformers. Images per second and model-FLOP utilisation: 3 x the
   forward of visible encoder tokens and all decoder tokens, over the measured product of the same precision;
3. the pass over images in memory (features of all layers, both poolings) against the bare forward of the same encoder,
   ViT-B/16 at 224 px, with peak memory, and against transformers' ViT.

Every figure is measured with the device idle before and after. Parts that no longer fit into the time are named.
`--tiny` runs the same code at toy sizes, on a processor too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from bench_training import forward_flops, noise_images, their_step
from transformers import ViTConfig, ViTModel

from probekit import models
from probekit.collect import Counts, Measurements, PassSettings, PreparedModel, Splits
from probekit.data import ArraySet
from probekit.training import graphs
from probekit.training.directory import RunDirectory
from probekit.training.grid import Jobs
from probekit.training.loop import Run
from probekit.training.run import Conduct
from probekit.training.settings import Settings, resolve

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def timed(function: Callable[[], object], repeats: int = 5) -> float:
    """Median seconds of a call, after one that is not counted."""
    times = []
    for turn in range(repeats + 1):
        wait()
        start = time.perf_counter()
        function()
        wait()
        if turn:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def products(side: int) -> dict[str, float]:
    """FLOP/s of a large product by precision, on random numbers."""
    found = {}
    for name, kind in (("float32", torch.float32), ("tf32", torch.float32), ("bfloat16", torch.bfloat16)):
        left, right = (torch.randn(side, side, device=DEVICE).to(kind) for _ in range(2))
        with tf32(name == "tf32"):
            found[name] = 2 * side**3 / timed(lambda left=left, right=right: left @ right)
    return found


def settings_of(preset: str, seed: int = 0, **changes: Any) -> Settings:
    known = {"data": "noise", "data_fingerprint": "-", "images": 10**9, "seed": seed, "mask_ratio": 0.75}
    known["patch_size"] = {"tiny": 4, "base": 16}[preset]
    return resolve(preset, {"augment": False, "snapshots": ()} | changes, **known)


def side_by_side(settings: list[Settings], images: Any, warm: int = 3) -> float:
    """Images per second of cells trained together on one device, once all of them run; both ends with it idle."""
    clock: dict[str, float] = {}
    turns = {"n": 0, "images": 0}

    def advance(count: int = 1, note: str = "") -> None:
        turns["n"] += 1  # once at the start of a cell, then after each stretch
        if turns["n"] == warm * len(settings):
            wait()
            clock["start"] = time.perf_counter()
            turns["images"] = 0
        else:
            turns["images"] += count

    with tempfile.TemporaryDirectory() as folder:
        planned = {f"cell{index}": one for index, one in enumerate(settings)}
        conduct = Conduct(save_every=1e9, log_every=100, advance=advance)
        Jobs(images, Accelerator(mixed_precision="no"), Path(folder), planned, conduct).run(list(planned), len(planned))
        wait()
    return turns["images"] / (time.perf_counter() - clock["start"])


def tiny_training(together: list[int], steps: int, peaks: dict[str, float]) -> list[dict[str, Any]]:
    """The `tiny` preset: graphs for 1 and more cells, one step at a time, and transformers."""
    images, rows = noise_images(2048, 32), []
    one = replace(settings_of("tiny", precision="float32"), images=64 * steps)
    flops = 3 * forward_flops(one)
    for precision in ("float32", "tf32", "bfloat16"):
        if precision != "float32" and DEVICE.type == "cpu":
            continue
        for count in together:
            cells = [replace(one, precision=precision, seed=seed) for seed in range(count)]
            speed = side_by_side(cells, images)
            rows.append({"what": f"tiny, graphs, {count} together", "precision": precision, "images_per_second": speed,
                         "mfu": speed * flops / peaks[precision]})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    rows += against_transformers("tiny", one, images, peaks["float32"])
    return rows


def against_transformers(
    preset: str, settings: Settings, images: Any, peak: float, repeats: int = 20
) -> list[dict[str, Any]]:
    """One step at a time, ours and transformers' model with the same weights, batch, masks' ratio and optimizer."""
    rows, flops = [], 3 * forward_flops(settings)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(settings, images, Accelerator(mixed_precision="no"), RunDirectory(folder))
        batch = run.stream.batch(0).to(DEVICE)
        theirs = their_step(run, images, Path(folder))

        def in_their_precision() -> None:
            with run.autocast():
                theirs()

        for name, step in (("ours", lambda: run.train_step(batch)), ("transformers", in_their_precision)):
            if DEVICE.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            speed = settings.batch_size / timed(step, repeats)
            memory = torch.cuda.max_memory_allocated() / 2**30 if DEVICE.type == "cuda" else float("nan")
            rows.append({"what": f"{preset}, step by step, {name}", "precision": settings.precision,
                         "images_per_second": speed, "mfu": speed * flops / peak, "peak_gib": memory})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def base_training(batch: int, peaks: dict[str, float]) -> list[dict[str, Any]]:
    precision = "bfloat16" if DEVICE.type == "cuda" else "float32"
    size = 224 if DEVICE.type == "cuda" else 32
    settings = settings_of("base", batch_size=batch, precision=precision, image_size=size)
    return against_transformers("base", settings, noise_images(batch, size), peaks[precision], repeats=5)


def the_pass(count: int, batch: int, size: int, depth: int) -> list[dict[str, Any]]:
    """Features of all layers and poolings over the bare forward of the same encoder, and transformers' ViT."""
    shape = {"image_size": (size, size), "vit_patch_size": 16, "width": 768, "depth": depth, "num_heads": 12}
    decoder = {"decoder_width": 64, "decoder_depth": 1, "decoder_num_heads": 4}
    checkpoint = models.load(models.MaskedAutoencoder.create(**shape, **decoder, seed=0), device=str(DEVICE))
    pixels = noise_images(count, size)
    test = ArraySet(pixels.images, name="noise", spec="noise", split="test", classes=pixels.classes,
                    labels=pixels.labels, origin="stored", facts={})  # fmt: skip
    config = ViTConfig(image_size=size, num_hidden_layers=depth)
    theirs = ViTModel(config, add_pooling_layer=False).eval().to(DEVICE)
    rows = []
    for precision in ("float32", "bfloat16") if DEVICE.type == "cuda" else ("float32",):
        cast = torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bfloat16")
        prepared = PreparedModel(checkpoint, PassSettings(batch_size=batch, precision=precision, cache=False))
        sets = Splits({"test": test}, Counts(test=count))
        tensor = torch.randn(batch, 3, size, size, device=DEVICE)

        def ours(prepared: PreparedModel = prepared, sets: Splits = sets) -> None:
            with tempfile.TemporaryDirectory() as folder:
                Measurements(prepared, sets, Path(folder)).gather(["features:test"])

        def bare(model: Callable[[torch.Tensor], Any], cast: Any = cast, tensor: torch.Tensor = tensor) -> None:
            with torch.inference_mode(), cast:
                for _ in range(count // batch):
                    model(tensor)

        calls = {"the pass": ours, "bare forward": lambda bare=bare: bare(checkpoint.model.encode),
                 "transformers": lambda bare=bare: bare(theirs)}  # fmt: skip
        for name, call in calls.items():
            if DEVICE.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            speed = count / timed(call, 2)
            memory = torch.cuda.max_memory_allocated() / 2**30 if DEVICE.type == "cuda" else float("nan")
            rows.append({"what": f"ViT-B/16 at {size} px, {name}", "precision": precision, "images_per_second": speed,
                         "peak_gib": memory})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--together", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    card = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "processor"
    peaks = products(256 if args.tiny else 8192)
    print(card, f"torch {torch.__version__}", {name: f"{peak / 1e12:.1f} TFLOP/s" for name, peak in peaks.items()})
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "training, tiny": lambda: tiny_training(args.together, 200 if args.tiny else 1500, peaks),
        "the pass": lambda: the_pass(8, 4, 32, 1) if args.tiny else the_pass(2048, 128, 224, 12),
        "training, base": lambda: base_training(2 if args.tiny else 256, peaks),
    }
    found: list[dict[str, Any]] = []
    for name, part in parts.items():
        if time.monotonic() > end:
            print(f"{name}: not run, the time is over")
            continue
        found += part()
        graphs.resident.cache_clear()
        if args.output:
            args.output.write_text(json.dumps({"card": card, "peaks": peaks, "rows": found}, indent=1))
    print(f"\n| {card} | precision | images/s | utilisation | peak GiB |\n|---|---|---|---|---|")
    for row in found:
        memory = row.get("peak_gib")
        cells = [f"{row['images_per_second']:,.0f}", f"{row['mfu']:.2f}" if "mfu" in row else "",
                 "" if memory is None else f"{memory:.1f}"]  # fmt: skip
        print(f"| {row['what']} | {row['precision']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
