"""The command that pretrains: train."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer


def train(
    data: Annotated[str, typer.Option(help="An image set, e.g. quadtree or imagefolder:DIR.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The run's directory; of a grid, the folder of runs.")],
    *,
    mask_ratio: Annotated[list[float], typer.Option(help="Share of the image that is hidden. Several make a grid.")],
    patch_size: Annotated[list[int], typer.Option(help="Mask unit in pixels. Several make a grid.")],
    seed: Annotated[list[int], typer.Option(help="Of everything random. Several make a grid.")] = [0],  # noqa: B006 - never changed
    order: Annotated[str, typer.Option(help="A grid's axes, slowest first.")] = "seed,mask_ratio,patch_size",
    preset: Annotated[str, typer.Option(help="tiny, small, base or large.")] = "tiny",
    images: Annotated[int | None, typer.Option(help="Training images in all, with repetition.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step, over all processes.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Micro-batches per process and step.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the images in pixels.")] = None,
    vit_patch_size: Annotated[int | None, typer.Option(help="The ViT's own patch in pixels.")] = None,
    base_lr: Annotated[float | None, typer.Option(help="Learning rate at 256 images per step.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of training in which the rate rises.")] = None,
    strategy: Annotated[str | None, typer.Option(help="random, block or structure.")] = None,
    boundary: Annotated[bool, typer.Option(help="Count hidden patches beside visible ones in the loss.")] = True,
    normalise_targets: Annotated[bool | None, typer.Option(help="Predict pixels normalised per patch.")] = None,
    augment: Annotated[bool | None, typer.Option(help="Random crops and flips.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32, tf32, bfloat16 or float16.")] = None,
    compile: Annotated[bool, typer.Option(help="Compile the loss with torch.compile.")] = False,
    snapshots: Annotated[list[float] | None, typer.Option(help="Shares of training to keep too.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any other setting: NAME=JSON.")] = None,
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of this process.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0,
    save_every: Annotated[float, typer.Option(help="Seconds between saved states.")] = 60.0,
    log_every: Annotated[int, typer.Option(help="Steps between lines of log.jsonl.")] = 20,
    tracker: Annotated[str | None, typer.Option(help="tensorboard or wandb.")] = None,
    init: Annotated[
        str | None, typer.Option(help="Begin with these weights: a checkpoint, as `probekit inspect` takes it.")
    ] = None,
    together: Annotated[int, typer.Option(help="Cells of a grid that share a GPU at the same time.")] = 1,
) -> None:
    """Pretrain masked autoencoders: one run, or a grid of mask ratios, patch sizes and seeds.

    The same command continues what was interrupted and skips what is finished. Several processes may be given the same
    grid and share it.
    """
    from probekit import training

    options: dict[str, Any] = {
        "batch_size": batch_size, "accumulate": accumulate, "image_size": image_size, "vit_patch_size": vit_patch_size,
        "base_lr": base_lr, "warmup": warmup, "strategy": strategy, "boundary": boundary,
        "normalise_targets": normalise_targets, "augment": augment, "precision": precision, "compile": compile,
        "snapshots": snapshots or None, "device": device, "threads": threads, "workers": workers,
        "save_every": save_every, "log_every": log_every, "tracker": tracker, "preset": preset, "images": images,
        "output": output, "init": init,
    }  # fmt: skip
    add_assigned(options, set_ or [])
    single = len(mask_ratio) == len(patch_size) == len(seed) == 1
    try:
        if single:
            training.train(data, mask_ratio=mask_ratio[0], patch_size=patch_size[0], seed=seed[0], **options)
            finished = [output]
        else:
            grid = training.cells(mask_ratio, patch_size, seed, order=tuple(order.split(",")))
            finished = [str(path) for path in training.train_grid(data, grid, **options, together=together).values()]
    except KeyboardInterrupt as stopped:
        typer.echo(f"probekit: {stopped}" if str(stopped) else "probekit: stopped at once", err=True)
        raise typer.Exit(130) from None
    if os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
        typer.echo("\n".join(finished))


def add_assigned(options: dict[str, Any], assignments: list[str]) -> None:
    """Add settings of the form NAME=JSON to those that have options of their own."""
    from probekit.errors import TrainingError

    for assignment in assignments:
        name, found, value = assignment.partition("=")
        if not found or name in ("data", "mask_ratio", "patch_size", "seed", *options):
            raise TrainingError(
                f"--set {assignment}: expected NAME=VALUE, e.g. --set width=192, with a name that has no option of its "
                "own and is set once."
            )
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError as error:
            raise TrainingError(f"--set {assignment}: {value!r} is no JSON, such as 192, 0.5 or [1, 2].") from error
