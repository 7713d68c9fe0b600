"""Checkpoints from live modules: ours, timm's `VisionTransformer`, transformers' ViTs, and others with known names.

Parameters are shared with the module, which is left as it is.
"""

from __future__ import annotations

import copy
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from probekit.errors import CheckpointError
from probekit.models import adapters, networks, relative
from probekit.models.architecture import is_plain
from probekit.models.assembly import refuse_contradictions, unknown
from probekit.models.building import Asked, adapted_timm, carded, finish, refuse_settled, settled
from probekit.models.card import Verdict
from probekit.models.card_checks import STATED, checked
from probekit.models.checkpoint import Checkpoint
from probekit.models.contract import CONTRACT
from probekit.models.encoder import Encoder
from probekit.models.encoder import carded as encoder_card
from probekit.models.files import Found
from probekit.models.mae import MaskedAutoencoder


def read(module: nn.Module, asked: Asked) -> Checkpoint:
    """A checkpoint from a module, sharing its parameters; the module itself is left as it is."""
    module = unwrapped(module)
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    if isinstance(module, MaskedAutoencoder):
        return _own(_sharing(module), asked, kind)
    if isinstance(module, Encoder):
        return _encoder(module, asked, kind)
    if isinstance(module, VisionTransformer) and is_plain(module):
        return _timm(module, asked, kind)
    if kind.startswith("timm."):
        from probekit.models.timm_names import facts

        pretrained = getattr(module, "pretrained_cfg", None) or {}
        name = pretrained.get("architecture") or type(module).__qualname__
        return adapted_timm(module, facts(pretrained, None), asked, kind, name)
    model_type = str(getattr(getattr(module, "config", None), "model_type", ""))
    if kind.startswith("transformers.") and adapters.is_adapted(model_type):
        from probekit.models.adapters import transformers

        refuse_settled(asked, kind)
        return settled(transformers.live(module, source=kind, image_size=asked["image_size"]), asked)
    live: Any = module  # a module's attributes are Tensor or Module to mypy
    config: Any = live.config.to_dict() if kind.startswith("transformers.") else None
    label = type(module).__qualname__
    found = Found(f"the {label}", label, dict(module.state_dict()), config=config)
    told = {} if config else _told_by(module)
    return finish(found, told | {name: value for name, value in asked.items() if value is not None}, kind)


def _own(model: MaskedAutoencoder, asked: Asked, kind: str) -> Checkpoint:
    stated = {name: value for name, value in model.description().items() if value is not None}
    stated["image_size"] = model.image_size
    given = {name: value for name, value in asked.items() if value is not None}
    refuse_contradictions(stated, given, f"The {kind}")
    model.normalised_targets = given.get("normalised_targets", model.normalised_targets)
    facts = {name: checked(name, value, kind) for name, value in given.items() if name in STATED}
    known = {"name": "model"} | facts | {"normalisation_known": True}
    return carded(model, Verdict("module (probekit)", model), known, kind, None)


def _encoder(model: Encoder, asked: Asked, kind: str) -> Checkpoint:
    """A checkpoint of a user's own encoder, which must have all that the contract names."""
    lacking = [name for name in CONTRACT if not hasattr(model, name)]
    if lacking:
        raise CheckpointError(
            f"The {kind} has no {', '.join(lacking)}; an Encoder has {', '.join(CONTRACT)}, on its class or set in "
            "__init__."
        )
    name = type(model).__qualname__
    return settled(encoder_card(model, name=name, kind=kind, source=kind, format="module (Encoder)"), asked)


def _timm(module: VisionTransformer, asked: Asked, kind: str) -> Checkpoint:
    from probekit.models.timm_names import facts

    encoder, config = _sharing(module), getattr(module, "pretrained_cfg", None) or {}
    stated = {name: value for name, value in facts(config, None).items() if value is not None}
    given = {name: value for name, value in asked.items() if value is not None}
    refuse_contradictions(stated if stated.get("normalisation_known") else {}, given, f"The {kind}")
    known = {"name": config.get("architecture") or "VisionTransformer"} | stated
    known |= {name: checked(name, value, kind) for name, value in given.items() if name in STATED}
    known |= {"normalisation_known": True} if "mean" in given else {}
    scale: dict[str, Any] = {name: known[name] for name in ("mean", "std") if name in known}
    model = MaskedAutoencoder(encoder, None, normalised_targets=None, antialias=True, **scale)
    refuse_contradictions(
        {name: model.description()[name] for name in ("num_heads", "layer_norm_eps")}, given, f"The {kind}"
    )
    left_over = [name for name in module.state_dict() if name not in encoder.state_dict()]
    verdict = Verdict("module (timm)", model, left_over=left_over, warnings=unknown(known, model))
    return carded(model, verdict, known, kind, None)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside wrappers such as DistributedDataParallel, torch.compile's and a trainer's."""
    while True:
        inside = [name for name in module._modules if name in networks.WRAPPERS and module._modules[name] is not None]
        known = isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel)
        alone = len(module._modules) == 1 and not module._parameters and not module._buffers
        if len(inside) != 1 or not (known or alone):
            return module
        inner: Any = module._modules[inside[0]]
        module = inner


def _sharing(module: nn.Module) -> Any:
    """A copy of the structure with the same parameters: eval mode and a dropped head stay ours. Wrapped parts (a
    compiled block, one with activation checkpointing) are copied without their wrappers."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    for part in reversed(list(module.modules())):
        inner = unwrapped(part)
        if inner is not part:
            memo[id(part)] = copy.deepcopy(inner, memo)
    return copy.deepcopy(module, memo)


def _told_by(module: nn.Module) -> dict[str, Any]:
    """Heads, epsilons and targets of a foreign module with MAE's names, read off its parts instead of guessed."""
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        prefix = "decoder_" if "decoder" in name else ""
        if isinstance(heads := getattr(part, "num_heads", None), int):
            found.setdefault(f"{prefix}num_heads", heads)
        if type(part).__name__ in relative.KINDS:
            found.setdefault(f"{prefix}rotary", relative.recorded(part))
        if isinstance(part, nn.LayerNorm):
            found.setdefault(f"{prefix}layer_norm_eps", part.eps)
    targets = getattr(module, "norm_pix_loss", None)
    return found | ({"normalised_targets": targets} if isinstance(targets, bool) else {})
