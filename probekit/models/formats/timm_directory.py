"""timm: weights beside timm's own `config.json`, which names the architecture; the model is the one that timm builds.

Asked before every format that goes by the names of tensors: many families share them, and only the name tells them
apart.
"""

from __future__ import annotations

import timm

from probekit.errors import CheckpointError, did_you_mean
from probekit.models.files import Found
from probekit.models.formats import Reading, _names
from probekit.models.timm_names import encoder_on_meta, facts, is_mae

NAME = "timm directory"
RANK = 15
READS = "a directory with timm's `config.json`: any plain ViT (other classes are adapted as encoders)"
SAY = "nothing"


def matches(found: Found) -> bool:
    return isinstance((found.config or {}).get("architecture"), str)


def read(found: Found) -> Reading:
    config = found.config or {}
    name = config["architecture"]
    if not timm.is_model(name):
        raise CheckpointError(
            f"{found.label}: timm has no architecture {name!r}. {did_you_mean(name, timm.list_models())}"
        )
    pretrained, arguments = (
        dict(v) if isinstance(v := config.get(k), dict) else {} for k in ("pretrained_cfg", "model_args")
    )
    pooling = config.get("global_pool", pretrained.get("global_pool"))
    module = encoder_on_meta(name, arguments if pooling is None else arguments | {"global_pool": pooling})
    encoder, decoder, left_over, spell = _names.split(found.tensors, found.label)
    reading = Reading(NAME, encoder, decoder, left_over, module=module, stated={"antialias": True}, spell=spell)
    tag = f"{name}.{pretrained.get('tag') or ''}"
    reading.stated |= facts(pretrained, int(module.patch_embed.patch_size[0]) if is_mae(tag) else None)
    return reading
