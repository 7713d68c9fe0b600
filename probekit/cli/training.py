"""The commands that train: train, finetune."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer


@dataclass
class Conducting:
    """How a run is carried out: nothing that its weights depend on."""

    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto"
    threads: Annotated[int | None, typer.Option(help="Threads of this process.")] = None
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0
    save_every: Annotated[float, typer.Option(help="Seconds between saved states.")] = 60.0
    log_every: Annotated[int, typer.Option(help="Steps between lines of log.jsonl.")] = 20
    tracker: Annotated[str | None, typer.Option(help="tensorboard or wandb.")] = None


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
    init: Annotated[
        str | None, typer.Option(help="Begin with these weights: a checkpoint, as `probekit inspect` takes it.")
    ] = None,
    together: Annotated[int, typer.Option(help="Cells of a grid that share a GPU at the same time.")] = 1,
    conduct: Conducting,
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
        "snapshots": snapshots or None, "preset": preset, "images": images, "output": output, "init": init,
        **asdict(conduct),
    }  # fmt: skip
    add_assigned(options, set_ or [], ("data", "mask_ratio", "patch_size", "seed"))
    single = len(mask_ratio) == len(patch_size) == len(seed) == 1
    with stopped():
        if single:
            training.train(data, mask_ratio=mask_ratio[0], patch_size=patch_size[0], seed=seed[0], **options)
            finished = [output]
        else:
            grid = training.cells(mask_ratio, patch_size, seed, order=tuple(order.split(",")))
            finished = [str(path) for path in training.train_grid(data, grid, **options, together=together).values()]
    answer(finished)


def finetune(
    checkpoint: Annotated[
        str, typer.Argument(help="A ViT, as `probekit inspect` takes it; `?NAME=VALUE` settles what it does not say.")
    ],
    *,
    data: Annotated[str, typer.Option(help="A labelled image set, e.g. shapes or imagenet:DIR.")],
    output: Annotated[str | None, typer.Option("--output", "-o", help="The run's directory.")] = None,
    last_blocks: Annotated[int | None, typer.Option(help="Train so many last blocks; 0: the head alone.")] = None,
    preset: Annotated[str | None, typer.Option(help="tiny, base or large; by size if not given.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the train split.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Images per step, over all processes.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Micro-batches per process and step.")] = None,
    base_lr: Annotated[float | None, typer.Option(help="Learning rate at 256 images per step.")] = None,
    layer_decay: Annotated[float | None, typer.Option(help="Factor of the rate from a layer to the one below.")] = None,
    drop_path: Annotated[float | None, typer.Option(help="Stochastic depth of the last block.")] = None,
    mixup: Annotated[float | None, typer.Option(help="Of its beta distribution; 0: off.")] = None,
    cutmix: Annotated[float | None, typer.Option(help="Of its beta distribution; 0: off.")] = None,
    smoothing: Annotated[float | None, typer.Option(help="Of labels.")] = None,
    randaugment: Annotated[str | None, typer.Option(help="timm's name of a policy; empty: off.")] = None,
    erasing: Annotated[float | None, typer.Option(help="Share of images with a rectangle of noise.")] = None,
    augment: Annotated[bool | None, typer.Option(help="Random crops and flips.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32, tf32, bfloat16 or float16.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any other setting: NAME=JSON.")] = None,
    conduct: Conducting,
) -> None:
    """Fine-tune an encoder on labelled images: everything, the last blocks, or the head alone.

    The best weights along the way are chosen on val and reported on test; the directory holds the encoder, its head
    and results.nc. The same command continues what was interrupted.
    """
    from probekit import training

    options: dict[str, Any] = {
        "output": output, "last_blocks": last_blocks, "preset": preset, "epochs": epochs, "seed": seed,
        "batch_size": batch_size, "accumulate": accumulate, "base_lr": base_lr, "layer_decay": layer_decay,
        "drop_path": drop_path, "mixup": mixup, "cutmix": cutmix, "smoothing": smoothing, "randaugment": randaugment,
        "erasing": erasing, "augment": augment, "precision": precision, **asdict(conduct),
    }  # fmt: skip
    add_assigned(options, set_ or [], ("data", "ckpt"))
    with stopped():
        made = training.finetune(checkpoint, data, **options)
    answer([str(made.source)])


@contextmanager
def stopped() -> Iterator[None]:
    """Ctrl-C and SIGTERM as a message and exit code 130."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        typer.echo(f"probekit: {interrupt}" if str(interrupt) else "probekit: stopped at once", err=True)
        raise typer.Exit(130) from None


def answer(finished: list[str]) -> None:
    """Print the directories that are finished; of several processes, one speaks."""
    if os.environ.get("RANK", "0") == "0":
        typer.echo("\n".join(finished))


def add_assigned(options: dict[str, Any], assignments: list[str], taken: tuple[str, ...]) -> None:
    """Add settings of the form NAME=JSON to those that have options of their own."""
    from probekit.errors import TrainingError

    for assignment in assignments:
        name, found, value = assignment.partition("=")
        if not found or name in (*taken, *options):
            raise TrainingError(
                f"--set {assignment}: expected NAME=VALUE, e.g. --set width=192, with a name that has no option of its "
                "own and is set once."
            )
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError as error:
            raise TrainingError(f"--set {assignment}: {value!r} is no JSON, such as 192, 0.5 or [1, 2].") from error
