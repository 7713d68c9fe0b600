"""Fresh weights as MAE draws them: Xavier-uniform maps, tokens of deviation 0.02, sine-cosine positions."""

from __future__ import annotations

from itertools import chain

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from probekit.models import positions, relative
from probekit.models.decoder import Decoder


@torch.no_grad()
def initialise(encoder: VisionTransformer, decoder: Decoder | None) -> None:
    """Draw every weight anew, in place, from torch's global generator; layer norms become the identity.

    Args:
        encoder: the encoder.
        decoder: None for an encoder alone.
    """
    for module in chain(encoder.modules(), decoder.modules() if decoder is not None else ()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
    if encoder.cls_token is not None:
        nn.init.normal_(encoder.cls_token, std=0.02)
    if encoder.pos_embed is not None:
        taken = encoder.num_prefix_tokens
        table = positions.sin_cos(encoder.patch_embed.grid_size, encoder.embed_dim, num_prefix_tokens=taken)
        encoder.pos_embed.copy_(table)
        encoder.pos_embed.requires_grad_(False)
    relative.initialise(encoder)
    if decoder is not None:
        decoder.initialise_positions()
