"""From canonical tensors to a model: built on `meta`, every key and shape compared, tensors put in place uncopied.

There is one way to a model and it is strict: a key that should be there and is not, or a shape that contradicts the
others, is an error. What is left over is in the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from probekit.errors import CheckpointError
from probekit.models import inference, relative
from probekit.models.architecture import FIELDS, Architecture
from probekit.models.card import Verdict
from probekit.models.card_checks import STATED, checked
from probekit.models.decoder import Decoder
from probekit.models.formats import Reading, _families
from probekit.models.mae import MaskedAutoencoder
from probekit.models.pixels import assumed_scale

Spell = Callable[[str], str]


class Assembled(NamedTuple):
    """A model, the facts of its card that were stated or presumed, and what was found."""

    model: MaskedAutoencoder
    facts: dict[str, Any]
    verdict: Verdict


def assemble(reading: Reading, asked: Mapping[str, Any], label: str) -> Assembled:
    """The model of a reading, and what was found.

    Args:
        reading: canonical tensors and what the format knows.
        asked: what the caller settled, by the names of `load`'s arguments; wins over the format.
        label: how messages call the source.

    Raises:
        CheckpointError: keys missing, shapes that contradict each other, or heads that do not divide the width.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    if isinstance(asked.get("rotary"), str):
        asked = asked | _named_rotary(reading, asked["rotary"])
    refuse_contradictions(reading.stated, asked, label)
    if "layer_norm_eps" in asked:
        asked = {"decoder_layer_norm_eps": asked["layer_norm_eps"]} | asked
    if "mean" in asked:
        asked["normalisation_known"] = True
    settled = {
        name: value
        for name, value in (reading.presumed | reading.stated | asked).items()
        if value is not None and name in FIELDS | set(STATED) and name != "positions"
    }
    if reading.compute is not None:
        size = settled.get("image_size") or reading.presumed["positions"]
        reading.compute(reading, size, label)
        settled["image_size"] = size
        if "image_size" in asked:
            reading.warnings = [text for text in reading.warnings if not text.startswith("The image size")]
    facts = {name: checked(name, value, label) for name, value in settled.items() if name in STATED}
    encoder, notes, warnings = _encoder(reading, settled, label)
    decoder = None
    if reading.decoder:
        decoder, more_notes, more_warnings = _decoder(reading, settled, encoder, label)
        notes, warnings = (*notes, *more_notes), (*warnings, *more_warnings)
        if encoder.pos_embed is not None:
            encoder.pos_embed.requires_grad_(False)  # MAE's is fixed
    model = MaskedAutoencoder(
        encoder,
        decoder,
        normalised_targets=facts.get("normalised_targets"),
        antialias=bool(settled.get("antialias", False)),
        **_scale(facts, Architecture.of(encoder).channels, label),
    )
    epsilon_given = "layer_norm_eps" in asked
    kept = [note for note in reading.notes if not (epsilon_given and note.startswith("layer-norm epsilon"))]
    taken, *others = reading.networks or ("",)
    ambiguous = _ambiguous(taken, others) if "key" not in asked else ()
    verdict = Verdict(
        reading.format, model, missing=reading.missing, left_over=reading.left_over, notes=(*kept, *notes),
        warnings=(*ambiguous, *reading.warnings, *warnings, *unknown(facts, model)), taken=taken, networks=others,
    )  # fmt: skip
    reading.ready()
    return Assembled(model, facts, verdict)


def _named_rotary(reading: Reading, name: str) -> dict[str, Any]:
    """The record of the rotary positions of a timm model; what else it is known for is presumed of the reading."""
    from probekit.models import timm_names

    known = timm_names.rotary(name)
    reading.presumed["layer_norm_eps"] = known["layer_norm_eps"]
    if inference.side(reading.encoder, "patch_embed.proj.weight", 0) == known["width"]:
        reading.presumed.setdefault("num_heads", known["num_heads"])
    reading.notes = [note for note in reading.notes if not note.startswith("layer-norm epsilon")]
    reading.notes.append(f"Rotary positions and layer-norm epsilon ({known['layer_norm_eps']:g}): timm's {name}.")
    return {"rotary": known["rotary"]}


def _ambiguous(taken: str, others: Sequence[str]) -> tuple[str, ...]:
    """A warning that the file holds several networks."""
    if not others:
        return ()
    ways = " or ".join(f"key={other!r}" for other in others)
    which = "the other one" if len(others) == 1 else "another one"
    return (f"The file holds {len(others) + 1} networks, and {taken!r} was read. To read {which}: load(..., {ways}).",)


def refuse_contradictions(stated: Mapping[str, Any], asked: Mapping[str, Any], label: str) -> None:
    """CheckpointError if the caller says something else than the file."""
    own = {"name"} if stated.get("normalisation_known", True) else {"name", "mean", "std", "normalisation_known"}
    for name in sorted(asked.keys() & stated.keys() - own):
        theirs, ours = (list(v) if isinstance(v, list | tuple) else [v] for v in (stated[name], asked[name]))
        if stated[name] is None or (len(theirs) == len(ours) and all(map(_same, theirs, ours))):
            continue
        raise CheckpointError(
            f"{label} says {name}={stated[name]!r}; {name}={asked[name]!r} contradicts it. Leave it out, or correct "
            "the file."
        )


def _same(one: Any, other: Any) -> bool:
    numbers = all(isinstance(value, int | float) for value in (one, other))
    return bool(abs(one - other) <= 1e-6 * max(1e-6, abs(one))) if numbers else bool(one == other)


def _scale(facts: Mapping[str, Any], channels: int, label: str) -> dict[str, Any]:
    """Mean and deviation of pixels, one number a channel; assumed if none are known."""
    scale = {name: facts[name] for name in ("mean", "std") if name in facts}
    if len(scale) == 1:
        raise CheckpointError(f"{label}: {next(iter(scale))} alone was given; mean and std belong together. Give both.")
    if any(len(values) != channels for values in scale.values()):
        mean, std = ([f"{x:g}" for x in values] for values in scale.values())
        number = {1: "one number", 3: "three numbers"}.get(channels, f"{channels} numbers")
        raise CheckpointError(
            f"{label}: images are said to be normalised with mean [{', '.join(mean)}] and deviation "
            f"[{', '.join(std)}]; expected {number} each, one for each channel. Correct its configuration, or mean= "
            "and std=."
        )
    return scale


def unknown(facts: Mapping[str, Any], model: MaskedAutoencoder) -> list[str]:
    """Warnings of what neither the file nor the caller says and numbers depend on."""
    found = []
    if not facts.get("normalisation_known"):
        assumed = assumed_scale(model.channels)[2] if "mean" not in facts else "what is in the file was used"
        found.append(
            f"The normalisation of images is not recorded: {assumed}. If it was another, all numbers are wrong: give "
            "mean= and std= to load."
        )
    if model.has_decoder and facts.get("normalised_targets") is None:
        found.append(
            "Whether pixel targets were normalised per patch is not recorded: plain pixels were assumed. If "
            "reconstructions look grey, give normalised_targets=True to load."
        )
    return found


def _encoder(
    reading: Reading, settled: Mapping[str, Any], label: str
) -> tuple[VisionTransformer, tuple[str, ...], tuple[str, ...]]:
    """(encoder, notes, warnings)."""
    tensors, module = reading.encoder, reading.module
    settled, sized = _sized(reading, settled, label)
    if module is not None:
        exact = Architecture.of(module)
        inference.depth_of(tensors, exact.depth, label)
        for name in ("num_heads", "layer_norm_eps"):
            if settled.get(name, getattr(exact, name)) != getattr(exact, name):
                raise CheckpointError(
                    f"{label}: its architecture has {name}={getattr(exact, name)}, {name}={settled[name]} contradicts "
                    "it. Leave it out."
                )
        _place(module, tensors, "encoder", label, reading.spell)
        return module, (), ()
    inside = settled.get("rotary") is not None or any(name.endswith("relative.table") for name in tensors)
    needed = ("patch_embed.proj.weight",) if inside else ("patch_embed.proj.weight", "pos_embed")
    missing = [reading.spell(f"encoder.{name}") for name in needed if name not in tensors]
    if not inference.depth_of(tensors, settled.get("depth"), label):
        missing.append(reading.spell("encoder.blocks.0.norm1.weight"))
    if settled.get("final_norm", True) and not any(name.startswith(("norm.", "fc_norm.")) for name in tensors):
        missing += [reading.spell(f"encoder.norm.{kind}") for kind in ("weight", "bias")]
    if missing:
        names = [*tensors, *reading.left_over]
        family = _families.recognised(names)
        if family is not None or not inference.depth_of(tensors, settled.get("depth"), label):
            kind = family.name if family else f"a network of another family ({', '.join(names[:4])}, ...)"
            raise CheckpointError(
                f"{label}: looks like {kind}: it has a patch projection and no {missing[0]}. "
                f"{family.way if family else _families.ADAPTED}"
            )
        raise _missing(
            label, missing, "encoder", len(tensors), computed=missing == [reading.spell("encoder.pos_embed")]
        )
    inferred = inference.infer(tensors, settled, label)
    module = inferred.architecture.build()
    _place(module, relative.shaped(tensors, module), "encoder", label, reading.spell)
    return module, inferred.notes, (*inferred.warnings, *sized)


def _sized(reading: Reading, settled: Mapping[str, Any], label: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """(what is settled, warnings): rotary positions have no grid, so the decoder's table tells it, or it is assumed."""
    tensors, table = reading.encoder, reading.decoder.get("pos_embed")
    told = "image_size" in settled or "pos_embed" in tensors or any(n.endswith("relative.table") for n in tensors)
    if told or settled.get("rotary") is None or "patch_embed.proj.weight" not in tensors:
        return settled, ()
    patch = inference.projection(tensors, label)[2]
    prefix = inference.side(tensors, "reg_token", 1) + ("cls_token" in tensors)
    size, _ = inference.grid_size(table, prefix, patch, None, label)
    assumed = (
        f"The image size is not in the file: {size[0]} x {size[1]} pixels were assumed, which images are resized to. "
        "If it was another, give image_size= to load.",
    )
    return dict(settled) | {"image_size": size}, () if table is not None else assumed


def _decoder(
    reading: Reading, settled: Mapping[str, Any], encoder: VisionTransformer, label: str
) -> tuple[Decoder, tuple[str, ...], tuple[str, ...]]:
    """(decoder, notes, warnings)."""
    tensors = reading.decoder
    if not inference.decoder_width(tensors):
        names = [reading.spell(f"decoder.{name}") for name in ("embed.weight", "mask_token", "pred.weight")]
        raise _missing(label, names, "decoder", len(tensors))
    record, known = Architecture.of(encoder), dict(settled)
    if not any(name == "pos_embed" or name.endswith("relative.table") for name in tensors):  # as the encoder has them
        known.setdefault("decoder_rotary", record.rotary)
    inferred, notes, warnings = inference.infer_decoder(tensors, known, record, label)
    module = replace(record, decoder=inferred).build_decoder()
    if inferred.rotary is None and not inferred.relative and "pos_embed" not in tensors:
        module.pos_embed = nn.Parameter(torch.empty(1, 0, 0, device="meta"))  # placing says what is missing
    _place(module, relative.shaped(tensors, module), "decoder", label, reading.spell)
    return module, notes, warnings


def _missing(label: str, names: list[str], part: str, present: int, *, computed: bool = False) -> CheckpointError:
    listed = ", ".join(names[:6]) + (f", ... ({len(names)} in all)" if len(names) > 6 else "")
    way = (
        "A decoder is all or nothing: fetch the whole file, or remove every decoder key to use the encoder alone."
        if part == "decoder"
        else "The file is incomplete, or of another architecture: fetch it again, or load it under its timm name."
    )
    if computed:
        way = (
            "All else is there: positions that are not stored are computed (a 1-D sinusoid) or rotary, and which of "
            f"them no tensor tells. Rotary ones: give rotary= to load, timm's name of a model that has the same (such "
            f"as 'vit_base_patch16_dinov3'). {_families.ADAPTED}"
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
