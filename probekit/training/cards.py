"""Cards of trained checkpoints, made from the settings of a run."""

from __future__ import annotations

from pathlib import Path

import torch

from probekit import models
from probekit.data import ImageSet
from probekit.errors import CheckpointError
from probekit.models.architecture import describe
from probekit.models.formats.transformers_vit_mae import refuse
from probekit.training import starting
from probekit.training.settings import Settings, hidden_patches
from probekit.training.starting import Start


def card_of(
    name: str,
    model: models.MaskedAutoencoder,
    settings: Settings,
    image_set: ImageSet,
    seen: int,
    start: Start | None = None,
) -> models.Card:
    """The card after `seen` training images, begun with the weights of `start`."""
    begun = f", begun with the weights of {settings.init}" if settings.init else ""
    return models.Card(
        name=name,
        architecture=describe(model),
        mask_ratio=settings.mask_ratio,
        patch_size=settings.patch_size,
        vit_patch_size=settings.vit_patch_size,
        image_size=settings.image_size,
        mean=settings.mean,
        std=settings.std,
        normalisation_known=True,
        normalised_targets=settings.normalise_targets,
        data=f"{image_set.spec}, train split (fingerprint {image_set.fingerprint}){begun}",
        epochs=None if image_set.endless else seen / len(image_set),
        images_seen=seen,
        seed=settings.seed,
        licence=starting.licence(start, image_set.licence),
    )


def device_name(device: torch.device) -> str:
    """What a run is trained on, e.g. "NVIDIA H100 80GB HBM3"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"


def story(settings: Settings, image_set: ImageSet, seen: int, device: torch.device, start: Start | None = None) -> str:
    """How it was trained, in Markdown, for the card."""
    targets = "pixels normalised per patch" if settings.normalise_targets else "plain pixels"
    counted = "every hidden patch" if settings.boundary else "hidden patches that touch no visible one"
    crops = "random resized crops and flips" if settings.augment else "no augmentation"
    name = f"{image_set.name} ({image_set.description})" if image_set.description else image_set.name
    real = hidden_patches(settings) / (settings.grid[0] * settings.grid[1])
    rate, decay, betas = settings.learning_rate, settings.weight_decay, settings.betas
    begun = "" if start is None else starting.story(start, settings)
    return f"""## Training

Trained by `probekit train` on {name}: {seen:,} of {settings.steps * settings.batch_size:,} images, batches of
{settings.batch_size}, {crops}. Masks: {settings.strategy}, units of {settings.patch_size} pixels,
{real:.1%} really hidden at a mask ratio of {settings.mask_ratio:g}. Loss: squared error of {targets} over {counted}.
AdamW, betas {betas[0]:g} and
{betas[1]:g}, weight decay {decay:g}, highest learning rate {rate:.3g} after {settings.warmup:.0%} of the steps, then
half a cosine; {settings.precision}; device: {device_name(device)}.
{begun}"""


def save_checkpoint(
    folder: Path,
    name: str,
    model: models.MaskedAutoencoder,
    settings: Settings,
    image_set: ImageSet,
    seen: int,
    start: Start | None = None,
) -> None:
    """Write model and card into `folder`, in the format that transformers reads, or ours where it cannot hold them."""
    card = card_of(name, model, settings, image_set, seen, start)
    verdict = models.Verdict("probekit training", model)
    try:
        refuse(model.architecture)
        format = "transformers"
    except CheckpointError:
        format = "probekit"
    models.Checkpoint(model=model, card=card, verdict=verdict, source=str(folder)).save(
        folder, format=format, card_text=story(settings, image_set, seen, model.mean.device, start)
    )
