"""`finetune`: a checkpoint and labelled images in, a directory with the fine-tuned encoder and its accuracy out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate import Accelerator

from probekit import data as image_sets
from probekit import models, progress
from probekit.data import SPLITS, ImageSet
from probekit.data.duplicates import without_copies
from probekit.data.interleaving import Subset
from probekit.data.memory import by_split, read_once
from probekit.errors import DataError, TrainingError
from probekit.models import Checkpoint
from probekit.models.card import tensor_digest
from probekit.training import starting
from probekit.training.classifier import prepared
from probekit.training.conducting import Conduct, carried_out, check_conduct, using_threads
from probekit.training.directory import RunDirectory
from probekit.training.mixing import check_policy
from probekit.training.recipe import choose_precision
from probekit.training.signals import interruptible
from probekit.training.stepping import share_of
from probekit.training.tuning import Tuning
from probekit.training.tuning_settings import EVERYTHING, PRESETS, TuningSettings, resolve
from probekit.training.values import as_declared

if TYPE_CHECKING:
    from torch import nn

TINY, LARGE = 96, 1024
"""Images up to this side take the preset `tiny`; encoders from this width on `large`; others `base`."""


def finetune(
    ckpt: str | os.PathLike[str] | nn.Module | Checkpoint,
    data: Any,
    *,
    last_blocks: int | None = None,
    preset: str | None = None,
    output: str | os.PathLike[str] | None = None,
    epochs: float | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 0,
    save_every: float = 60.0,
    log_every: int = 20,
    tracker: str | None = None,
    **settings: Any,
) -> Checkpoint:
    """Fine-tune an encoder on labelled images, or go on with a run that was interrupted.

    MAE's recipe: a linear head on the mean of the patch tokens, AdamW with layer-wise decay of the learning rate,
    stochastic depth, RandAugment, random erasing, mixup, cutmix and label smoothing. The best weights along the way are
    chosen on `val` and reported on `test`. The same call continues an interrupted run and ends with the same bits as
    an uninterrupted one (same machine, processes and threads); of a finished run it returns the checkpoint.

    The directory holds what `probekit.load` reads, `head.safetensors`, and `results.nc` with `finetune_accuracy` and
    its interval. Numbers of a fine-tuned encoder are refused beside those of a frozen one.

    Args:
        ckpt: a ViT: a checkpoint, or what `probekit.load` takes.
        data: what `probekit.data.load` takes, with labels: a spec, (images, labels), or a dict of splits.
        last_blocks: train this many of the last blocks and the head; 0 = the head alone; None = everything.
        preset: "tiny", "base" or "large" (`PRESETS`); None: by the size of images and encoder.
        output: the run's directory; None: `finetuned/NAME-DATA-WHAT`.
        epochs: passes over the train split; None: as the preset has it.
        seed: of the head, order, augmentation, mixing and stochastic depth.
        device: "auto" (what accelerate finds) or "cpu".
        threads: of this process; None leaves torch's setting. It can change the last bits of a sum.
        workers: processes that decode images (a set in memory needs none).
        save_every: seconds between states. Results do not depend on it.
        log_every: steps between lines of `log.jsonl`.
        tracker: "tensorboard" or "wandb", through accelerate.
        settings: any other field of `TuningSettings`, e.g. `batch_size=256, mixup=0, layer_decay=0.75`.

    Returns:
        The fine-tuned checkpoint, as read back from `output`.

    Raises:
        TrainingError, DataError: before the first step for whatever is known then; later for a loss that is not finite.
        CheckpointError: `ckpt` cannot be read.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once a state was saved.

    Example:
        >>> tuned = finetune("facebook/vit-mae-base", "imagenet:/data/imagenet", output="tuned")  # doctest: +SKIP
        >>> probekit.schema.read("tuned/results.nc").finetune_accuracy.item()  # doctest: +SKIP
        0.8
    """
    check_conduct("finetuned" if output is None else output, device, threads, workers, save_every, log_every, tracker)
    start = opened(ckpt)
    splits = opened_splits(data)
    path = default_output(start, splits["train"], last_blocks) if output is None else output
    directory = RunDirectory(path, earlier={})
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", log_with=tracker, project_dir=str(path))
    given = settings | {"epochs": epochs}
    chosen = chosen_settings(start, splits, accelerator, directory, preset, last_blocks, seed=seed, given=given)
    conduct = Conduct(workers=workers, save_every=save_every, log_every=log_every, tracker=tracker)

    def make() -> Tuning:
        return Tuning(chosen, splits, accelerator, directory, start, workers=workers)

    title, total = f"{directory.path.name}: fine-tuning", chosen.steps * chosen.batch_size
    with using_threads(threads), interruptible() as stop, progress.bar(title, total) as bar:
        for _ in carried_out(make, chosen, accelerator, directory, replace(conduct, stop=stop, advance=bar)):
            pass
    return models.load(directory.path, device="cpu" if device == "cpu" else "auto")


def opened(ckpt: Any) -> Checkpoint:
    """The checkpoint to begin with, on the processor.

    Raises:
        TrainingError: an encoder of another kind.
    """
    checkpoint = starting.checkpoint_of(ckpt, "ckpt")
    if not isinstance(checkpoint.model, models.MaskedAutoencoder):
        raise TrainingError(
            f"ckpt={checkpoint.source}: {type(checkpoint.model).__name__} is no plain ViT, and fine-tuning trains "
            "those that `load` reads as one (MAE's formats, timm's and transformers' ViT, DeiT, DINOv2). For any "
            "encoder the probes on frozen features are open: suite='transfer', or 'attentive_probe'."
        )
    return checkpoint


def opened_splits(data: Any) -> dict[str, ImageSet]:
    """The three disjoint splits with labels; of an endless set, its first images only.

    Raises:
        DataError: a split or its labels are missing, or the splits have different classes.
    """
    if isinstance(data, ImageSet):
        raise DataError(
            f"{data.spec}: one image set is one split ({data.split}), and fine-tuning needs {', '.join(SPLITS)}. Give "
            "its spec, or a dict split -> image set."
        )
    source = read_once(by_split(data) if isinstance(data, Mapping) else data)
    splits: dict[str, ImageSet] = {}
    for split in reversed(SPLITS):
        found = image_sets.load(source, split)
        splits[split] = without_copies(found, list(splits.values())) if splits else found
        splits[split].known_labels  # noqa: B018  # or the error that says so
    train = splits["train"]
    for split in ("val", "test"):
        if splits[split].classes != train.classes:
            raise DataError(
                f"{train.spec}: train has the classes {', '.join(train.classes[:8])} and {split} has "
                f"{', '.join(splits[split].classes[:8])}. Fine-tuning needs the same ones in every split."
            )
    if train.endless:
        splits["train"] = Subset(train, np.arange(len(train)), {"cut": "to a finite set"})
        splits["train"].height = train.height  # known latents: never cropped
    return splits


def default_output(start: Checkpoint, train: ImageSet, last_blocks: int | None) -> Path:
    """The default directory of a run."""
    what = "full" if last_blocks is None else "head" if last_blocks == 0 else f"last{last_blocks}"
    name = f"{start.name}-{train.name}-{what}".replace("/", "-")
    return Path("finetuned") / name


def preset_of(start: Checkpoint) -> str:
    """The preset that fits a checkpoint's images and width."""
    if max(start.card.image_size) <= TINY:
        return "tiny"
    return "large" if start.model.width >= LARGE else "base"


def chosen_settings(
    start: Checkpoint,
    splits: Mapping[str, ImageSet],
    accelerator: Accelerator,
    directory: RunDirectory,
    preset: str | None,
    last_blocks: int | None,
    *,
    seed: int,
    given: dict[str, Any],
) -> TuningSettings:
    """Checked settings of a run; one that is in the directory goes on with its own precision.

    Raises:
        TrainingError: among others, more blocks than there are, or fewer images than one batch.
    """
    train, recorded = splits["train"], directory.recorded()
    for name in (*starting.FACTS, "images", "last_blocks"):
        if name in given:
            raise TrainingError(f"{name} is no setting of finetune(). Give the checkpoint as ckpt, and epochs.")
    blocks = EVERYTHING if last_blocks is None else as_declared("last_blocks", last_blocks, int)
    if last_blocks is not None and blocks < 0:
        raise TrainingError(f"last_blocks={last_blocks}: expected 0 (the head alone) or more, or None for everything.")
    preset = preset_of(start) if preset is None else preset
    epochs = given.get("epochs")
    epochs = PRESETS.get(preset, {}).get("epochs", 1.0) if epochs is None else as_declared("epochs", epochs, float)
    if not 0 < epochs < 1e6:
        raise TrainingError(f"epochs={epochs}: expected a number above 0.")
    if given.get("augment") is None:
        given["augment"] = train.height is None  # a crop would change the latents that are known
    if given.get("randaugment") is None and start.card.channels != 3:
        given["randaugment"] = ""  # timm's policies are for colour
    if given.get("precision") in (None, "auto"):
        asked = recorded.get("precision", "auto")
        given["precision"] = choose_precision(asked, start.model.width, accelerator.device)
    known: dict[str, Any] = starting.identity(start, tensor_digest(start.model.state_dict()), recorded)
    chosen = resolve(
        preset, given, data=train.name, data_fingerprint=train.fingerprint, seed=seed, last_blocks=blocks,
        images=max(1, round(epochs * len(train))), **known,
    )  # fmt: skip
    share_of(chosen, accelerator.num_processes)
    if len(train) < chosen.batch_size:
        raise TrainingError(
            f"{train.spec} has {len(train)} training images, fewer than one batch (batch_size={chosen.batch_size}). "
            "Use a smaller batch_size, or another preset."
        )
    check_policy(chosen, start.card.channels)
    prepared(start.model, chosen)  # type: ignore[arg-type]  # checked in `opened`
    return chosen
