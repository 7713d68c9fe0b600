"""From canonical tensors to a model: built on `meta`, every key and shape compared, tensors put in place uncopied.

There is one way to a model and it is strict: a key that should be there and is not, or a shape that contradicts the
others, is an error. What is left over is told in the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from probekit.constants import IMAGENET_MEAN, IMAGENET_STD
from probekit.errors import CheckpointError
from probekit.models import architecture, encoders
from probekit.models.architecture import Settled
from probekit.models.card import Verdict
from probekit.models.formats import Reading
from probekit.models.mae import MaskedAutoencoder

Spell = Callable[[str], str]

ASKED = ("num_heads", "decoder_num_heads", "image_size", "layer_norm_eps", "decoder_layer_norm_eps")
"""What a caller can settle."""


def assemble(reading: Reading, asked: Settled, label: str) -> tuple[MaskedAutoencoder, Verdict]:
    """The model of a reading, and what was found.

    Args:
        reading: canonical tensors and what the format knows.
        asked: what the caller settled (heads, image size); wins over the format.
        label: how messages call the source.

    Raises:
        CheckpointError: keys missing, shapes that contradict each other, or heads that do not divide the width.
    """
    notes, warnings = list(reading.notes), list(reading.warnings)
    chosen = {name: value for name, value in vars(asked).items() if name in ASKED and value is not None}
    if asked.layer_norm_eps is not None:
        chosen = {"decoder_layer_norm_eps": asked.layer_norm_eps} | chosen
        notes = [note for note in notes if not note.startswith("layer-norm epsilon")]
    settled = replace(reading.settled, **chosen)
    mean, std = _normalisation(reading.facts, label)
    encoder = _encoder(reading, settled, label, notes, warnings)
    decoder = None
    if reading.decoder:
        decoder = _decoder(reading, settled, encoder, label, notes, warnings)
        encoder.pos_embed.requires_grad_(False)  # MAE's is fixed
    facts = reading.facts
    if not facts.get("normalisation_known"):
        warnings.append("The normalisation of images is not recorded: ImageNet's mean and deviation were assumed.")
    targets = facts.get("normalised_targets")
    if decoder is not None and targets is None:
        warnings.append(
            "Whether pixel targets were normalised per patch is not recorded: plain pixels were assumed. If "
            "reconstructions look grey, give normalised_targets=True to load."
        )
    model = MaskedAutoencoder(
        encoder,
        decoder,
        normalised_targets=targets,
        mean=mean,
        std=std,
        antialias=reading.antialias,
    )
    verdict = Verdict(
        reading.format, model, missing=reading.missing, left_over=reading.left_over, notes=notes, warnings=warnings
    )
    return model, verdict


def _normalisation(facts: Mapping[str, Any], label: str) -> tuple[list[float], list[float]]:
    """Mean and deviation of pixels, three numbers each, as the format found them; ImageNet's if it found none."""
    try:
        mean, std = ([float(x) for x in facts.get(n) or d] for n, d in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)))
        good = len(mean) == len(std) == 3 and min(std) > 0
    except (TypeError, ValueError):
        good = False
    if not good:
        raise CheckpointError(
            f"{label}: images are said to be normalised with mean {facts.get('mean')!r} and deviation "
            f"{facts.get('std')!r}; expected three numbers each, deviations above 0. Correct its configuration."
        )
    return mean, std


def _heads(
    width: int, depth: int, known: int | None, part: str, label: str, notes: list[str], warnings: list[str]
) -> int:
    """The number of heads: known, a known variant's, or guessed (and then warned of)."""
    if known is None:
        known, how, guessed = architecture.guess_heads(width, depth, 64 if part == "encoder" else 32, part)
        (warnings if guessed else notes).append(how)
    if known < 1 or width % known:
        argument = "num_heads" if part == "encoder" else "decoder_num_heads"
        raise CheckpointError(
            f"{label}: {known} heads do not divide the {part}'s width of {width}. Give another {argument}=, one that "
            "divides it."
        )
    return known


def _encoder(
    reading: Reading, settled: Settled, label: str, notes: list[str], warnings: list[str]
) -> VisionTransformer:
    tensors, module = reading.encoder, reading.module
    if module is not None:
        for name, told in (("num_heads", encoders.num_heads(module)), ("layer_norm_eps", encoders.epsilon(module))):
            given = getattr(settled, name)
            if given is not None and given != told:
                raise CheckpointError(
                    f"{label}: its architecture has {name}={told}, {name}={given} contradicts it. Leave it out."
                )
        _place(module, tensors, "encoder", label, reading.spell)
        return module
    needed = ("patch_embed.proj.weight", "pos_embed")
    missing = [reading.spell(f"encoder.{name}") for name in needed if name not in tensors]
    depth = settled.depth or architecture.depth_of(tensors)
    if not depth:
        missing.append(reading.spell("encoder.blocks.0.norm1.weight"))
    if not any(name.startswith(("norm.", "fc_norm.")) for name in tensors):
        missing += [reading.spell(f"encoder.norm.{kind}") for kind in ("weight", "bias")]
    if missing:
        raise _missing(label, missing, "encoder", len(tensors))
    width, _ = architecture.projection(tensors, label)
    heads = _heads(width, depth, settled.num_heads, "encoder", label, notes, warnings)
    module = architecture.encoder_spec(tensors, settled, heads, label).build()
    _place(module, tensors, "encoder", label, reading.spell)
    return module


def _decoder(
    reading: Reading,
    settled: Settled,
    encoder: VisionTransformer,
    label: str,
    notes: list[str],
    warnings: list[str],
) -> nn.Module:
    tensors = reading.decoder
    width = architecture.decoder_width(tensors)
    if not width:
        raise _missing(
            label,
            [reading.spell(f"decoder.{name}") for name in ("embed.weight", "mask_token", "pred.weight")],
            "decoder",
            len(tensors),
        )
    depth = settled.decoder_depth or architecture.depth_of(tensors) or 1
    heads = _heads(width, depth, settled.decoder_num_heads, "decoder", label, notes, warnings)
    module = architecture.decoder_module(tensors, settled, heads, encoder)
    _place(module, tensors, "decoder", label, reading.spell)
    return module


def _missing(label: str, names: list[str], part: str, present: int) -> CheckpointError:
    listed = ", ".join(names[:6]) + (f", ... ({len(names)} in all)" if len(names) > 6 else "")
    way = (
        "A decoder is all or nothing: fetch the whole file, or remove every decoder key to use the encoder alone."
        if part == "decoder"
        else "The file is incomplete, or of another architecture: fetch it again, or load it under its timm name."
    )
    return CheckpointError(
        f"{label}: {len(names)} keys of the {part} are missing ({present} are there): {listed}. {way}"
    )


def _place(module: nn.Module, tensors: Mapping[str, Tensor], part: str, label: str, spell: Spell) -> None:
    """Put tensors into a module on `meta`, in float32, after comparing every key and shape."""
    expected = module.state_dict()
    missing = [spell(f"{part}.{name}") for name in expected if name not in tensors]
    if missing:
        raise _missing(label, missing, part, len(tensors))
    unknown = [spell(f"{part}.{name}") for name in tensors if name not in expected]
    if unknown:
        raise CheckpointError(
            f"{label}: {len(unknown)} keys of the {part} have no place in it: {', '.join(unknown[:6])}. The "
            "architecture that the other keys describe has no such part, so its numbers could not be reproduced."
        )
    wrong = [
        f"{spell(f'{part}.{name}')} is {tuple(tensors[name].shape)}, expected {tuple(want.shape)}"
        for name, want in expected.items()
        if tensors[name].shape != want.shape
    ]
    if wrong:
        raise CheckpointError(
            f"{label}: {len(wrong)} shapes of the {part} contradict the others: {'; '.join(wrong[:4])}. The file "
            "mixes two models, or an argument to load (image_size) does not fit it."
        )
    strange = [
        f"{spell(f'{part}.{name}')} ({tensors[name].dtype}, {tensors[name].layout})"
        for name in expected
        if not tensors[name].is_floating_point() or tensors[name].layout != torch.strided
    ]
    if strange:
        raise CheckpointError(
            f"{label}: weights that are no dense floating-point numbers: {', '.join(strange[:4])}. Quantised and "
            "sparse files are not read: load the original."
        )
    module.load_state_dict(
        {name: tensors[name].detach().to(torch.float32) for name in expected}, strict=True, assign=True
    )
