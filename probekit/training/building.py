"""The model of a run: its initialisation, and how its blocks are computed while it is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from timm.layers.attention import Attention
from torch import nn

from probekit.models import MaskedAutoencoder
from probekit.training.settings import PRODUCT_TOKENS, Settings, hidden_patches
from probekit.training.starting import Start, model_from


def create_model(settings: Settings, start: Start | None = None) -> MaskedAutoencoder:
    """The model that a run begins with: a function of the settings, and of the weights to go on from."""
    model = model_from(start, settings) if start is not None else fresh_model(settings)
    if settings.attention == "product":
        multiply_explicitly(model, settings)
    return model


def fresh_model(settings: Settings) -> MaskedAutoencoder:
    """A model as MAE initialises it."""
    return MaskedAutoencoder.create(
        image_size=settings.image_size,
        vit_patch_size=settings.vit_patch_size,
        width=settings.width,
        depth=settings.depth,
        num_heads=settings.num_heads,
        decoder_width=settings.decoder_width,
        decoder_depth=settings.decoder_depth,
        decoder_num_heads=settings.decoder_num_heads,
        channels=settings.channels,
        normalised_targets=settings.normalise_targets,
        mean=settings.mean,
        std=settings.std,
        seed=settings.seed,
    )


def multiply_explicitly(model: MaskedAutoencoder, settings: Settings) -> None:
    """Have layers of few tokens form softmax(q k) v as two products (timm's own path), by the rule in `settings`."""
    patches = settings.grid[0] * settings.grid[1]
    for part, tokens in ((model.encoder, patches - hidden_patches(settings)), (model.decoder, patches)):
        if tokens + model.num_prefix_tokens <= PRODUCT_TOKENS:
            for attention in attentions_of(part):
                attention.fused_attn = False


@contextlib.contextmanager
def fused_attention(model: MaskedAutoencoder) -> Iterator[None]:
    """Undo `multiply_explicitly` for a while."""
    every = [attention for part in (model.encoder, model.decoder) for attention in attentions_of(part)]
    explicit = [attention for attention in every if not attention.fused_attn]
    for attention in explicit:
        attention.fused_attn = True
    try:
        yield
    finally:
        for attention in explicit:
            attention.fused_attn = False


def compile_blocks(model: MaskedAutoencoder) -> None:
    """Compile each transformer block, in place: equal blocks share their code, and checks of masks stay outside."""
    for part in (model.encoder, model.decoder):
        for block in blocks_of(part):
            block.compile(dynamic=False)


def attentions_of(part: nn.Module | None) -> list[Any]:
    """The plain attention modules of an encoder or a decoder."""
    found = [getattr(block, "attn", None) for block in blocks_of(part)]
    return [attention for attention in found if isinstance(attention, Attention)]


def blocks_of(part: nn.Module | None) -> list[Any]:
    """The transformer blocks of an encoder or a decoder."""
    return [] if part is None else list(cast(nn.ModuleList, part.blocks))
