"""How fast pretraining is: against transformers' ViTMAE, against the arithmetic, and with data against without.

    python benchmarks/bench_training.py [tiny|base] [--batch N] [--threads N] [--steps N] [--compile]

Both models have the same weights, images, masks, optimizer (fused AdamW), batch and threads, and take turns step by
step in one process; so does a 2048 x 2048 x 2048 product, which says what the processor could do at that very moment.
Every figure is a median. Model-FLOP utilisation counts 3 x the forward of visible encoder tokens and all decoder
tokens, attention included, over that product's speed. Wall time, or with `--cpu-time` the time of this process's
threads, which other programs on the machine distort less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor
from transformers import ViTMAEForPreTraining

from probekit import data as image_sets
from probekit.data import ArraySet, ImageSet
from probekit.training import objective
from probekit.training.cards import save_checkpoint
from probekit.training.directory import RunDirectory
from probekit.training.loop import Run
from probekit.training.recipe import native_bfloat16
from probekit.training.settings import PRESETS, Settings, draw_masks, resolve

Step = Callable[[], object]
STRETCH = 5
"""Steps in a row, where data that are prepared ahead must keep up."""


def noise_images(count: int, side: int) -> ArraySet:
    """Smooth random pictures: what they show does not matter for speed, but JPEG should not choke on them."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    pixels = np.stack([np.asarray(Image.fromarray(image).resize((side, side))) for image in coarse])
    labels = np.arange(count) % 2
    return ArraySet(
        pixels, name="noise", spec="noise", split="train", classes=["a", "b"], labels=labels, origin="stored", facts={}
    )


def forward_flops(settings: Settings) -> float:
    """Multiplications and additions of one image's forward: visible tokens in the encoder, all in the decoder."""
    patches = settings.grid[0] * settings.grid[1]
    visible = patches - int(draw_masks(settings, 1, 0)[0].sum())
    pixels = 3 * settings.vit_patch_size**2

    def blocks(tokens: int, width: int, depth: int) -> float:
        return depth * (24 * tokens * width**2 + 4 * tokens**2 * width)

    encoder = 2 * visible * pixels * settings.width + blocks(visible + 1, settings.width, settings.depth)
    decoder = 2 * (visible + 1) * settings.width * settings.decoder_width
    decoder += blocks(patches + 1, settings.decoder_width, settings.decoder_depth)
    return encoder + decoder + 2 * patches * settings.decoder_width * pixels


def our_step(settings: Settings, images: ImageSet, folder: Path) -> tuple[Run, Step]:
    """A run, and its training step on one fixed batch (masks are drawn anew each step, as in training)."""
    run = Run(settings, images, Accelerator(cpu=True), RunDirectory(folder))
    batch = run.stream.batch(0)
    return run, lambda: run.train_step(batch)


def their_step(run: Run, images: ImageSet, folder: Path) -> Step:
    """transformers' model with the same weights, on the same batch, with the same optimizer."""
    settings = run.settings
    device = next(run.model.parameters()).device
    save_checkpoint(folder / "start", "start", run.model, settings, images, 0)
    model = ViTMAEForPreTraining.from_pretrained(folder / "start").train().to(device)
    optimizer = torch.optim.AdamW(objective.parameter_groups(model, 0.05), lr=1e-4, betas=settings.betas, fused=True)
    batch = run.stream.batch(0).to(device)

    def step() -> Tensor:
        loss = model(batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def alternate(steps: dict[str, Step], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each step; they take turns, in an order that changes, after one uncounted round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        names = list(steps) if turn % 2 else list(reversed(steps))
        for name in names:
            start = clock()
            steps[name]()
            if turn:
                times[name].append(clock() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def product(side: int = 2048) -> Step:
    left, right = torch.randn(side, side), torch.randn(side, side)
    return lambda: left @ right


def where_time_goes(step: Step) -> str:
    """Shares of a step's processor time by kind of work: what is no matrix product keeps utilisation from 1."""
    kinds = {
        "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
        "attention": ("attention",),
        "GELU": ("gelu",),
    }
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    spent = dict.fromkeys([*kinds, "norms, copies, optimizer and the rest"], 0.0)
    for event in profile.key_averages():
        found = [kind for kind, parts in kinds.items() if any(part in event.key for part in parts)]
        spent[found[0] if found else list(spent)[-1]] += event.self_cpu_time_total
    return ", ".join(f"{kind} {time / sum(spent.values()):.0%}" for kind, time in spent.items())


def against_transformers(args: argparse.Namespace, clock: Callable[[], float]) -> None:
    """Speed ratio and model-FLOP utilisation at several mask ratios."""
    for mask_ratio in args.mask_ratio:
        with tempfile.TemporaryDirectory() as folder:
            settings = choose(args, mask_ratio, precision="float32")
            images = noise_images(settings.batch_size, settings.image_size[0])
            run, ours = our_step(settings, images, Path(folder))
            steps = {"ours": ours, "transformers": their_step(run, images, Path(folder)), "product": product()}
            if args.compile:
                steps["compiled"] = our_step(choose(args, mask_ratio, compile=True), images, Path(folder))[1]
            if native_bfloat16():
                steps["bfloat16"] = our_step(choose(args, mask_ratio, precision="bfloat16"), images, Path(folder))[1]
            times = alternate(steps, args.steps, clock)
        achieved = 3 * forward_flops(settings) * settings.batch_size / times["ours"]
        peak = 2 * 2048**3 / times["product"]
        threads = torch.get_num_threads()
        print(f"\n{args.preset}, mask ratio {mask_ratio}, batch {settings.batch_size}, {threads} thread(s)")
        for name in [name for name in steps if name != "product"]:
            speed, ratio = settings.batch_size / times[name], times["transformers"] / times[name]
            print(f"  {name:<14}{speed:10.1f} images/s   {ratio:5.2f} x transformers")
        print(f"  model-FLOP utilisation {achieved / peak:.2f}: {achieved / 1e9:.1f} of {peak / 1e9:.1f} GFLOP/s")
        print(f"  a step is {where_time_goes(ours)}")
        print("  closer to 1: fewer passes over memory (fused norms and GELU), bfloat16, and wider layers")
        if not native_bfloat16():
            print("  bfloat16: this processor does not have it natively, so the rule never chooses it")


def choose(args: argparse.Namespace, mask_ratio: float, **changes: object) -> Settings:
    known = {"data": "noise", "data_fingerprint": "-", "images": 10**9, "seed": 0, "mask_ratio": mask_ratio}
    sizes = {"batch_size": args.batch or {"tiny": 128, "base": 8}[args.preset]}
    patch_size = PRESETS[args.preset]["vit_patch_size"]
    return resolve(args.preset, sizes | changes, **known, patch_size=patch_size)


def data_costs(args: argparse.Namespace, clock: Callable[[], float]) -> None:
    """End to end against the step alone, in alternating stretches of steps: 1 means that data cost nothing."""
    with tempfile.TemporaryDirectory() as folder:
        settings = choose(args, 0.75, augment=True)
        arrays = noise_images(512, settings.image_size[0])
        for index, pixels in enumerate(arrays.images):
            path = Path(folder) / "train" / "ab"[index % 2] / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=90)
        sources = {"arrays": arrays, "image folder": image_sets.load(f"imagefolder:{folder}", "train")}
        if args.preset == "tiny":
            sources["quadtree (generated)"] = image_sets.load("quadtree", "train")
        print("\nend to end over the step alone")
        for name, images in sources.items():
            run, step = our_step(settings, images, Path(folder))
            batches = run.stream.iterate(0)

            def alone(step: Step = step) -> None:
                for _ in range(STRETCH):
                    step()

            def fed(run: Run = run, batches=batches) -> None:  # type: ignore[no-untyped-def]
                for _ in range(STRETCH):
                    run.train_step(next(batches))

            def batch_alone(run: Run = run) -> None:
                for index in range(STRETCH):
                    run.stream.batch(index)

            times = alternate({"alone": alone, "fed": fed, "batch": batch_alone}, max(3, args.steps // 3), clock)
            ratio, share = times["alone"] / times["fed"], times["batch"] / times["alone"]
            print(f"  {name:<22}{ratio:5.2f}   (making a batch takes {share:.3f} of a step's time)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="tiny", choices=("tiny", "base"))
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--mask-ratio", type=float, nargs="+", default=[0.75])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-data", action="store_true")
    parser.add_argument("--cpu-time", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.cpu_time else time.perf_counter
    against_transformers(args, clock)
    if not args.no_data:
        data_costs(args, clock)


if __name__ == "__main__":
    main()
