"""`train`: checks, the run's directory, where to go on from, and the finished checkpoint."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator

from probekit import data as image_sets
from probekit import models, progress
from probekit.data import ImageSet
from probekit.errors import TrainingError
from probekit.training import graphs, starting
from probekit.training.conducting import Conduct, carried_out, check_conduct, on_stream, using_threads
from probekit.training.directory import RunDirectory
from probekit.training.loop import Run
from probekit.training.scaling import scale_of
from probekit.training.settings import Settings, on_device, resolve
from probekit.training.signals import interruptible
from probekit.training.starting import Start
from probekit.training.stepping import share_of
from probekit.training.values import as_declared

if TYPE_CHECKING:
    from torch import nn

    from probekit.models import Checkpoint


def train(
    data: str | ImageSet,
    *,
    mask_ratio: float,
    patch_size: int,
    output: str | os.PathLike[str],
    preset: str = "tiny",
    images: int | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 0,
    save_every: float = 60.0,
    log_every: int = 20,
    tracker: str | None = None,
    init: str | os.PathLike[str] | nn.Module | Checkpoint | None = None,
    **settings: Any,
) -> Checkpoint:
    """Pretrain a masked autoencoder, from fresh weights or given ones, or go on with a run that was interrupted.

    The same call continues an interrupted run from its last state and ends with the same bits as an uninterrupted one
    (same machine, processes and threads); of a finished run it returns the checkpoint. Under `accelerate launch` or
    `torchrun` the batch is shared among the processes.

    Args:
        data: what `probekit.data.load` takes, whose train split is used: a spec, (images, labels), a torch data set,
            or an image set as it is.
        mask_ratio: share of mask units hidden, in (0, 1).
        patch_size: side of the mask unit in pixels; a multiple of the ViT patch.
        output: the run's directory.
        preset: sizes and defaults, one of `PRESETS`.
        images: training images in all, counting repetition; None: as the preset has it.
        seed: of weights, order, augmentation and masks.
        device: "auto" (what accelerate finds) or "cpu".
        threads: of this process; None leaves torch's setting. It can change the last bits of a sum.
        workers: processes that decode images (a set in memory needs none).
        save_every: seconds between states. Results do not depend on it.
        log_every: steps between lines of `log.jsonl`.
        tracker: "tensorboard" or "wandb", through accelerate.
        init: weights to begin with: a checkpoint, or what `probekit.load` takes. Sizes, channels, normalisation and
            kind of targets are the checkpoint's, the recipe (batch size, learning rate, images) is the preset's or
            stated. An encoder without a decoder gets a fresh one, drawn by the seed. The optimizer begins anew.
        settings: any other field of `Settings`, e.g. `batch_size=256, normalise_targets=True, strategy="structure"`.

    Returns:
        The finished checkpoint, as read back from `output`.

    Raises:
        TrainingError, MaskError, DataError: before the first step for whatever is known then; later for a loss that
            is not finite or a disk that is full. The last good state stays.
        CheckpointError: `init` cannot be read.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once a state was saved.

    Example:
        >>> train("imagefolder:scans", mask_ratio=0.75, patch_size=16, output="scans", init="facebook/vit-mae-base",
        ...       images=1_000_000, batch_size=256, base_lr=5e-5)  # doctest: +SKIP
    """
    check_conduct(output, device, threads, workers, save_every, log_every, tracker)
    image_set = image_sets.load(data, "train")
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", log_with=tracker, project_dir=str(output))
    directory, start = RunDirectory(output), starting.opened(init)
    given: dict[str, Any] = {"mask_ratio": mask_ratio, "patch_size": patch_size, "images": images, "seed": seed}
    chosen = prepared(image_set, accelerator, preset, directory, start, **given, **settings)
    conduct = Conduct(workers=workers, save_every=save_every, log_every=log_every, tracker=tracker)
    total = chosen.steps * chosen.batch_size
    with (
        using_threads(threads),
        interruptible() as stop,
        progress.bar(f"{directory.path.name}: training", total) as bar,
        on_stream(accelerator.device),
    ):
        for _ in training(image_set, accelerator, chosen, directory, replace(conduct, stop=stop, advance=bar), start):
            pass
    graphs.resident.cache_clear()
    return models.load(directory.path, device="cpu" if device == "cpu" else "auto")


def training(
    image_set: ImageSet,
    accelerator: Accelerator,
    settings: Settings,
    directory: RunDirectory,
    conduct: Conduct,
    start: Start | None = None,
) -> Generator[None, None, None]:
    """Train a run to its end, resuming from the last state; yields between stretches of steps."""

    def make() -> Run:
        return Run(settings, image_set, accelerator, directory, workers=conduct.workers, start=start)

    yield from carried_out(make, settings, accelerator, directory, conduct)


def prepared(
    image_set: ImageSet,
    accelerator: Accelerator,
    preset: str,
    directory: RunDirectory,
    start: Start | None = None,
    *,
    mask_ratio: float,
    patch_size: int,
    seed: int,
    **settings: Any,
) -> Settings:
    """Checked settings of a run on an image set, with these processes and this device.

    A run that is in the directory already goes on with its own channels and their scale, its own precision and way of
    computing attention.

    Raises:
        TrainingError: among others, an image set with fewer images than one batch.
        DataError: its images have channels that the model cannot take.
    """
    known: dict[str, Any] = {"mask_ratio": mask_ratio, "patch_size": patch_size, "seed": seed}
    for name, value in known.items():
        if isinstance(value, Iterable) and not isinstance(value, str) and getattr(value, "ndim", 1) != 0:
            raise TrainingError(f"{name}={value!r}: one run has one value. `probekit.training.train_grid` takes lists.")
    if settings.get("augment") is None:
        settings["augment"] = image_set.height is None  # a crop would change the latents that are known
    recorded = directory.recorded()
    for name in ("attention", "precision"):
        if settings.get(name) in (None, "auto"):
            settings[name] = recorded.get(name)
    for name in starting.FACTS:
        if name in settings:
            raise TrainingError(f"{name} is recorded, not set. Give the checkpoint to begin with as train(init=).")
    if start is not None:
        settings |= starting.sizes(start, settings)
        known |= starting.identity(start.checkpoint, start.tensors, recorded)
    settings |= of_channels(image_set, settings, recorded)
    chosen = resolve(preset, settings, data=image_set.spec, data_fingerprint=image_set.fingerprint, **known)
    share_of(chosen, accelerator.num_processes)
    if not image_set.endless and len(image_set) < chosen.batch_size:
        raise TrainingError(
            f"{image_set.spec} has {len(image_set)} training images, fewer than one batch (batch_size="
            f"{chosen.batch_size}). Use a smaller batch_size, or more images."
        )
    return on_device(chosen, accelerator.device)


def of_channels(image_set: ImageSet, given: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """Channels and their mean and deviation: as stated, as the directory's run has them, else as the images do.

    Raises:
        TrainingError: a mean without a deviation, or the other way round.
        DataError: the images have channels that the model cannot take.
    """
    names = ("channels", "mean", "std")
    stated = {name: given[name] for name in names if given.get(name) is not None}
    found = {name: recorded[name] for name in names if name in recorded} | stated
    channels = as_declared("channels", found.get("channels", image_set.channels), int)
    if channels == 3 and "channels" in found:
        image_set.grey_as_rgb = True
    if channels < 1:
        raise TrainingError(f"channels={channels}: expected at least 1.")
    if channels != 3 and ("mean" in stated) != ("std" in stated):
        raise TrainingError(f"mean= and std= go together for images of {channels} channels. Give both, or neither.")
    usual = scale_of(image_set, channels, known="mean" in found and "std" in found)
    return {"channels": channels} | usual | found
