"""Weights that a run begins with instead of fresh ones: those of another checkpoint (`train(init=)`)."""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import torch
from torch import nn

from probekit import models
from probekit.errors import TrainingError
from probekit.models import MaskedAutoencoder
from probekit.models.architecture import Architecture, DecoderArchitecture
from probekit.models.checkpoint import digest_of
from probekit.models.decoder import Decoder
from probekit.models.pixels import PixelScale
from probekit.models.positions import sin_cos
from probekit.training.settings import Settings, check_width
from probekit.training.values import as_declared

FACTS = ("init", "init_sha256", "init_tensors")
"""Settings that record the weights."""


@dataclass(frozen=True)
class Start:
    """A checkpoint whose weights runs begin with.

    Attributes:
        checkpoint: on the processor, never changed.
        model: its model.
        tensors: sha256 of the tensors in memory.
    """

    checkpoint: models.Checkpoint
    model: MaskedAutoencoder
    tensors: str

    @property
    def fresh_decoder(self) -> bool:
        """Whether a run has to make the decoder."""
        return self.model.decoder is None


def opened(init: Any) -> Start | None:
    """The checkpoint behind `init`: what `probekit.load` takes, or a `Checkpoint`; None for None.

    Raises:
        TrainingError: an encoder of another kind, which cannot leave out patches.
        CheckpointError: it cannot be read.
    """
    if init is None:
        return None
    checkpoint = checkpoint_of(init, "init")
    model = checkpoint.model
    if not isinstance(model, MaskedAutoencoder):
        raise TrainingError(
            f"init={checkpoint.source}: an encoder of another kind ({type(model).__name__}), which cannot leave out "
            "patches. Expected a masked autoencoder or a plain ViT."
        )
    start = Start(checkpoint, model, digest_of(model))
    if start.fresh_decoder:
        warnings.warn(
            f"init={checkpoint.source}: there is no decoder in it, so the run begins with a fresh one. To go on with a "
            "trained decoder, name a file that holds it.",
            stacklevel=3,
        )
    return start


def checkpoint_of(source: Any, name: str) -> models.Checkpoint:
    """A checkpoint as it is, or what `probekit.load` makes of a source; `name` is the argument's.

    Raises:
        TrainingError: something else.
        CheckpointError: it cannot be read.
    """
    if isinstance(source, models.Checkpoint):
        source.look_again()
        return source
    if isinstance(source, str | os.PathLike | nn.Module):
        return models.load(source, device="cpu")
    raise TrainingError(f"{name}={source!r}: expected a checkpoint, or what `probekit.load` takes.")


def sizes(start: Start, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the weights determine.

    Args:
        given: settings that the caller gave; None = not given.

    Raises:
        TrainingError: one of them contradicts the weights; the message names both.
    """
    model, card, record = start.model, start.checkpoint.card, start.model.architecture
    names = ("image_size", "vit_patch_size", "width", "depth", "num_heads", "channels")
    fixed: dict[str, Any] = {name: getattr(record, name) for name in names}
    if record.decoder is not None:
        fixed |= {f"decoder_{name}": getattr(record.decoder, name) for name in ("width", "depth", "num_heads")}
        if model.normalised_targets is not None:
            fixed["normalise_targets"] = model.normalised_targets
        elif given.get("normalise_targets") is None:
            warnings.warn(
                f"init={start.checkpoint.source}: it is not known whether its decoder predicts normalised pixels; the "
                "run goes on with plain ones. Say normalise_targets=True or False.",
                stacklevel=4,
            )
    scale = {"mean": tuple(card.mean), "std": tuple(card.std)}
    if card.normalisation_known:
        fixed |= scale
    kinds = get_type_hints(Settings)
    for name, value in fixed.items():
        asked = given.get(name)
        if asked is None:
            continue
        if name == "image_size" and not isinstance(asked, tuple | list):
            asked = (asked, asked)
        asked = as_declared(name, asked, kinds[name])
        if not same(asked, value):
            raise TrainingError(
                f"{name}={asked} contradicts init={start.checkpoint.source}, whose {name} is {value}. Leave {name} out "
                "to go on with these weights, or leave init out."
            )
    return {name: value for name, value in scale.items() if given.get(name) is None} | fixed


def same(one: Any, other: Any) -> bool:
    """Whether two settings are equal, numbers to 1e-6."""
    if isinstance(one, tuple):
        near = (math.isclose(a, b, abs_tol=1e-6) for a, b in zip(one, other, strict=False))
        return len(one) == len(other) and all(near)
    return bool(one == other)


def identity(checkpoint: models.Checkpoint, tensors: str, recorded: Mapping[str, Any]) -> dict[str, str]:
    """What settings record of the weights; the same weights keep the name that a run knows them by."""
    facts = {"init_sha256": checkpoint.card.sha256, "init_tensors": tensors}
    known = all(recorded.get(name) == value for name, value in facts.items())
    return {"init": str(recorded["init"]) if known else str(checkpoint.source)} | facts


def model_from(start: Start, settings: Settings) -> MaskedAutoencoder:
    """A copy of the checkpoint's model with the run's scale of pixels, and a decoder."""
    model = copy.deepcopy(start.model)
    if model.decoder is None:
        model.decoder = fresh_decoder(model, settings)
        freeze_fixed_positions(model)
    model.pixels = PixelScale(settings.mean, settings.std, settings.normalise_targets)
    return model


def freeze_fixed_positions(model: MaskedAutoencoder) -> None:
    """Freeze positions that equal MAE's sines and cosines; other positions were learned, and are trained further."""
    table, encoder = model.encoder.pos_embed, model.encoder
    if table is None:
        return
    fixed = sin_cos(encoder.patch_embed.grid_size, model.width, num_prefix_tokens=model.num_prefix_tokens)
    if fixed.shape == table.shape and torch.allclose(fixed.to(table), table, atol=1e-4):
        table.requires_grad_(False)


def fresh_decoder(model: MaskedAutoencoder, settings: Settings) -> Decoder | None:
    """A decoder as MAE initialises it, by the run's seed, for an encoder that has none."""
    check_width("decoder_", settings.decoder_width, settings.decoder_num_heads)
    record = model.architecture
    epsilon = record.layer_norm_eps
    decoder = DecoderArchitecture(
        settings.decoder_width, settings.decoder_depth, settings.decoder_num_heads, 4 * settings.decoder_width, epsilon
    )
    stub = Architecture(  # MAE's initialisation is of a whole model: this one's encoder is as small as can be
        record.image_size, record.vit_patch_size, record.width, 1, 1, 1, record.channels,
        class_token=record.class_token, registers=record.registers, decoder=decoder,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        whole = MaskedAutoencoder(
            stub.build("cpu"), stub.build_decoder("cpu"), normalised_targets=None, mean=settings.mean, std=settings.std
        )
        whole.initialise()
    return whole.decoder


def story(start: Start, settings: Settings) -> str:
    """Where the weights came from, in a sentence or three, for the card."""
    card = start.checkpoint.card
    masked = "an unknown mask ratio" if card.mask_ratio is None else f"mask ratio {card.mask_ratio}"
    unit = "an unknown mask unit" if card.patch_size is None else f"units of {card.patch_size} pixels"
    seen = "an unknown number of images" if card.images_seen is None else f"{card.images_seen:,} images"
    decoder = " Its decoder was fresh." if start.fresh_decoder else ""
    return (
        f"It went on from the weights of {card.name} ({settings.init}, sha256 {settings.init_sha256}), which had been "
        f"trained with {masked}, {unit}, on {seen}. Images and epochs named here are those since then.{decoder}\n"
    )


def licence(start: Start | None, images: str | None) -> str | None:
    """The licence of weights that went on from others: both are named."""
    return images if start is None else licence_of(start.checkpoint.card.licence, images)


def licence_of(weights: str | None, images: str | None) -> str | None:
    """Of weights that were trained on from others: both licences are named."""
    if weights in (None, images):
        return images
    return f"{weights} (the weights it went on from); {images or 'unknown'} (images)"
