"""The model of a fine-tuning run: an encoder, a linear head, and which of their weights are trained.

Full and partial fine-tuning follow MAE: the final norm is replaced by a fresh one on the mean of the patch tokens
(`fc_norm`), and a linear layer reads it. With the head alone the encoder stays as it is, to the bit, and the head is
that of MAE's linear probe: batch norm without affine parameters, then linear.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from timm.layers.drop import DropPath
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]  # public, but not in its `__all__`
from torch import Tensor, nn

from probekit.errors import TrainingError
from probekit.models import MaskedAutoencoder
from probekit.models.card import tensor_digest
from probekit.training.tuning_settings import EVERYTHING, TuningSettings

TOKENS = ("pos_embed", "cls_token", "reg_token")
"""Parameters of the encoder that have no weight decay though they are no vectors."""


class Classifier(nn.Module):
    """Images to logits.

    Args:
        model: an encoder, which is changed: as `prepared` gives it.
        classes: of the head.
        plain: without batch norm before the linear layer.
    """

    def __init__(self, model: MaskedAutoencoder, classes: int, *, plain: bool) -> None:
        super().__init__()
        self.model = model
        self.norm = nn.Identity() if plain else nn.BatchNorm1d(model.width, affine=False, eps=1e-6)
        self.head = nn.Linear(model.width, classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, classes), from images normalised as the card says."""
        pooled = self.model.pool(self.model.encode(images), "mean")
        logits: Tensor = self.head(self.norm(pooled))
        return logits

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Names to layers, for timm: the embedding, each block, and the rest (norm and head)."""
        stem = r"^model\.encoder\.(?:cls_token|reg_token|pos_embed|patch_embed|norm_pre)"
        return {"stem": stem, "blocks": [(r"^model\.encoder\.blocks\.(\d+)", None)]}

    def groups(self, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
        """Trained parameters with `lr_scale` = layer_decay ** (layers above) and weight decay for matrices only."""
        tokens = [f"model.encoder.{name}" for name in TOKENS]
        found: list[dict[str, Any]] = param_groups_layer_decay(
            self, weight_decay, no_weight_decay_list=tokens, layer_decay=layer_decay
        )
        return found

    def frozen(self) -> dict[str, Tensor]:
        """The weights that are not trained, by name."""
        return {name: tensor for name, tensor in self.named_parameters() if not tensor.requires_grad}

    def frozen_digest(self) -> str:
        """sha256 of the weights that are not trained; empty where all are."""
        kept = self.frozen()
        return tensor_digest(kept) if kept else ""

    def head_tensors(self) -> dict[str, Tensor]:
        """What maps pooled features to logits, by name: of batch norm its running statistics."""
        parts = {"norm": self.norm, "head": self.head}
        return {f"{part}.{name}": one for part, module in parts.items() for name, one in module.state_dict().items()}


def create(start: MaskedAutoencoder, settings: TuningSettings, classes: int) -> Classifier:
    """The classifier that a run begins with: a function of the settings and of the weights to begin with."""
    model = prepared(start, settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return Classifier(model, classes, plain=settings.last_blocks != 0)


def prepared(start: MaskedAutoencoder, settings: TuningSettings) -> MaskedAutoencoder:
    """A copy of an encoder, without its decoder; only the trained weights take gradients.

    Raises:
        TrainingError: it has fewer blocks than are to be trained.
    """
    model = copy.deepcopy(start)
    model.decoder = None
    model.normalised_targets = None
    model.requires_grad_(False)
    encoder: Any = model.encoder
    depth, last = model.depth, settings.last_blocks
    if last > depth or last < EVERYTHING:
        raise TrainingError(
            f"last_blocks={last}: the encoder has {depth} blocks. Expected a number from 0 (the head alone) to "
            f"{depth}, or None for everything, the patch embedding too."
        )
    if last == 0:
        return model
    if isinstance(encoder.fc_norm, nn.Identity):
        encoder.fc_norm = fresh_norm(encoder)
        encoder.norm, encoder.global_pool = nn.Identity(), "avg"
    first = 0 if last == EVERYTHING else depth - last
    for index in range(first, depth):
        block, rate = encoder.blocks[index], settings.drop_path * index / max(1, depth - 1)
        block.requires_grad_(True)
        if rate > 0:
            block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)
    for part in (encoder if last == EVERYTHING else encoder.norm, encoder.fc_norm):
        part.requires_grad_(True)
    return model


def fresh_norm(encoder: Any) -> nn.Module:
    """A norm as the encoder's final one, not trained yet; a layer norm where it has none."""
    if isinstance(encoder.norm, nn.Identity):
        return nn.LayerNorm(encoder.embed_dim, eps=1e-6)
    norm: nn.LayerNorm = copy.deepcopy(encoder.norm)
    norm.reset_parameters()
    return norm
