"""timm: a file of `VisionTransformer` weights, or a directory with timm's `config.json`, which names the architecture.

With a `config.json` the model is the one that timm builds from it. A bare file is read by its shapes; its epsilon and
activation are then timm's defaults, which a few families (CLIP's quick GELU) do not have.
"""

from __future__ import annotations

import timm

from probekit.errors import CheckpointError, did_you_mean
from probekit.models.architecture import Settled
from probekit.models.files import Found
from probekit.models.formats import Reading, _names
from probekit.models.timm_names import encoder_on_meta, facts, is_mae

NAME = "timm"
RANK = 70


def matches(found: Found) -> bool:
    return "architecture" in (found.config or {}) or _names.PROJECTION in found.tensors


def read(found: Found) -> Reading:
    config = found.config or {}
    encoder, decoder, left_over, spell = _names.split(found.tensors, found.label)
    if "architecture" not in config:
        notes = ["layer-norm epsilon 1e-6 and GELU: timm's defaults; a bare file does not store them."]
        settled = Settled(layer_norm_eps=1e-6)
        return Reading(NAME, encoder, decoder, left_over, settled=settled, notes=notes, antialias=True, spell=spell)
    name = str(config["architecture"])
    if not timm.is_model(name):
        raise CheckpointError(
            f"{found.label}: timm has no architecture {name!r}. {did_you_mean(name, timm.list_models())}"
        )
    pretrained = dict(config.get("pretrained_cfg") or {})
    arguments = dict(config.get("model_args") or {}) | {
        "global_pool": config.get("global_pool", pretrained.get("global_pool"))
    }
    module = encoder_on_meta(name, {key: value for key, value in arguments.items() if value is not None})
    reading = Reading(NAME, encoder, decoder, left_over, module=module, antialias=True, spell=spell)
    tag = f"{name}.{pretrained.get('tag') or ''}"
    reading.facts = facts(pretrained, int(module.patch_embed.patch_size[0]) if is_mae(tag) else None)
    return reading
