"""From what a source holds to a `Checkpoint`: the network is chosen, recognised, built, and described by its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from probekit.errors import CheckpointError
from probekit.models import adapters, formats, inference, networks
from probekit.models.architecture import describe
from probekit.models.assembly import assemble, refuse_contradictions
from probekit.models.card import Card, Verdict, file_digest
from probekit.models.card_checks import STATED
from probekit.models.checkpoint import Checkpoint
from probekit.models.files import Found
from probekit.models.mae import MaskedAutoencoder

Asked = Mapping[str, Any]
"""What the caller settled, by the names of `load`'s arguments."""


def finish(found: Found, asked: Asked, source: str, name: str | None = None) -> Checkpoint:
    """Choose the network, recognise, rename, build, and describe."""
    digest = partial(file_digest, found.paths) if found.paths else None
    check_depths(found)
    choice = networks.choose(found.entries or {"": found.tensors}, asked.get("key"), found.label)
    if (adapter := adapters.of_directory(found)) is not None:
        refuse_settled(asked, found.label)
        adapted: Checkpoint = adapter.read(found, image_size=asked["image_size"], digest=digest)
        return settled(adapted, asked)
    found.tensors = choice.tensors
    reading = formats.read(found)
    reading.left_over += choice.outside
    reading.networks = (choice.taken, *choice.others)
    return built(reading, asked, found.label, name or found.name, digest, source)


def built(
    reading: formats.Reading,
    asked: Asked,
    label: str,
    name: str,
    digest: Callable[[], str] | None,
    source: str | None = None,
) -> Checkpoint:
    model, facts, verdict = assemble(reading, asked, label)
    return carded(model, verdict, {"name": name} | facts, source or label, digest)


def carded(
    model: MaskedAutoencoder, verdict: Verdict, facts: dict[str, Any], source: str, digest: Callable[[], str] | None
) -> Checkpoint:
    """A checkpoint with its card."""
    known = {name: value for name, value in facts.items() if name not in ("mean", "std", "normalised_targets")}
    card = Card(
        architecture=describe(model),
        vit_patch_size=model.vit_patch_size,
        image_size=model.image_size,
        pixels=model.pixels,
        digest=digest,
        **known,
    )
    return Checkpoint(model=model, card=card, verdict=verdict, source=source)


DEPTHS = ("depth", "num_hidden_layers", "decoder_num_hidden_layers", "num_layers", "decoder_depth")
"""Names of numbers of blocks in configurations."""


def check_depths(found: Found) -> None:
    """Refuse a configuration with more blocks than the file has tensors, before anything is built from it."""
    config = found.config or {}
    parts = [config, *(part for name in ("model_args", "encoder") if isinstance(part := config.get(name), dict))]
    for name, value in ((name, part.get(name)) for part in parts for name in DEPTHS):
        if isinstance(value, int) and value > len(found.tensors) + inference.SPARE:
            raise CheckpointError(
                f"{found.label}: {value:,} blocks are stated or numbered and {len(found.tensors)} tensors are there: "
                f"{name} in config.json is wrong, or the weights are of another model. Fetch both again."
            )


# --- encoders of other libraries --------------------------------------------------------------------------------------


def adapted_timm(
    module: nn.Module, facts: dict[str, Any], asked: Asked, label: str, name: str, digest: Any = None
) -> Checkpoint:
    """A timm model of another class than VisionTransformer."""
    from probekit.models.adapters import timm

    refuse_settled(asked, label)
    known = adapters.Known(digest=digest)
    adapted = timm.encoder(module, facts, known, source=label, name=name, image_size=asked["image_size"])
    return settled(adapted, asked)


def refuse_settled(asked: Asked, label: str) -> None:
    """What only a MaskedAutoencoder's files leave open; another library's model knows it."""
    for name in ("num_heads", "decoder_num_heads", "layer_norm_eps", "normalised_targets", "rotary"):
        if asked[name] is not None:
            raise CheckpointError(f"{label}: {name}= cannot be given, its library builds the model. Leave it out.")


def settled(checkpoint: Checkpoint, asked: Asked) -> Checkpoint:
    """An encoder's checkpoint with what the caller states of its card."""
    card = checkpoint.card
    given = {name: value for name, value in asked.items() if name in STATED and value is not None}
    if card.normalisation_known:
        refuse_contradictions({"mean": card.mean, "std": card.std}, given, checkpoint.source)
    elif "mean" in given:
        if len(given["mean"]) != card.channels or len(given["std"]) != card.channels:
            raise CheckpointError(
                f"{checkpoint.source}: give mean= and std= one number for each of {card.channels} channels."
            )
        card.normalisation_known = True
        checkpoint.verdict = checkpoint.verdict.without("The normalisation of images")
    for name, value in given.items():
        setattr(card, name, value)
    return checkpoint
