"""The command that fine-tunes a detector: detect."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from probekit.cli import options


def detect(
    checkpoint: options.Checkpoint,
    output: Annotated[str, typer.Option("--output", "-o", help="The run's directory.")],
    *,
    data: Annotated[str, typer.Option(help="Images with objects: shapes:scenes or coco:DIR.")] = "shapes:scenes",
    last_blocks: Annotated[
        int | None, typer.Option(help="Train so many of the last blocks; 0 leaves the encoder as it is; none for all.")
    ] = None,
    preset: Annotated[str, typer.Option(help="tiny or base.")] = "tiny",
    images: Annotated[int | None, typer.Option(help="Training images in all, with repetition.")] = None,
    test_images: Annotated[int | None, typer.Option(help="Test images that are scored; none for all.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step, over all processes.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Micro-batches per process and step.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the square that images are fitted into.")] = None,
    window: Annotated[int | None, typer.Option(help="Side of attention's windows in patches; 0 for none.")] = None,
    base_lr: Annotated[float | None, typer.Option(help="Learning rate at 256 images per step.")] = None,
    layer_decay: Annotated[float | None, typer.Option(help="Factor of the rate from a block to the one below.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    precision: Annotated[str | None, typer.Option(help="auto, float32, tf32, bfloat16 or float16.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any other setting: NAME=JSON.")] = None,
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of this process.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0,
    save_every: Annotated[float, typer.Option(help="Seconds between saved states.")] = 60.0,
    log_every: Annotated[int, typer.Option(help="Steps between lines of log.jsonl.")] = 20,
    tracker: Annotated[str | None, typer.Option(help="tensorboard or wandb.")] = None,
) -> None:
    """Fine-tune a detector (Mask R-CNN) on a checkpoint's ViT; score boxes and masks.

    The same command continues what was interrupted. The directory gets results.nc, which `report` and `compare` read.
    """
    from probekit.cli.training import add_assigned, answer, stopped
    from probekit.detection import detect as run

    chosen: dict[str, Any] = {
        "last_blocks": last_blocks, "preset": preset, "images": images, "test_images": test_images,
        "batch_size": batch_size, "accumulate": accumulate, "image_size": image_size, "window": window,
        "base_lr": base_lr, "layer_decay": layer_decay, "seed": seed, "precision": precision, "device": device,
        "threads": threads, "workers": workers, "save_every": save_every, "log_every": log_every, "tracker": tracker,
    }  # fmt: skip
    add_assigned(chosen, set_ or [], ("checkpoint", "data", "output"))
    with stopped():
        found = run(checkpoint, data, output=output, **chosen)
    lines = []
    for name in ("box_ap", "mask_ap"):
        low, high = found[f"{name}_ci"].values.reshape(2)
        lines.append(f"{name} {found[name].item():.3f} [{low:.3f}, {high:.3f}]")
    answer([*lines, str(output)])
