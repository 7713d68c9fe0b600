"""Models: one class for every masked autoencoder (and any timm ViT), and the reading and writing of checkpoints."""

from probekit.models.card import Card, CheckpointWarning, Verdict
from probekit.models.checkpoint import Checkpoint
from probekit.models.contract import Layer, LayerShape, TokenModel
from probekit.models.encoder import Encoder
from probekit.models.loading import load, shipped
from probekit.models.mae import MaskedAutoencoder

__all__ = [
    "Card", "Checkpoint", "CheckpointWarning", "Encoder", "Layer", "LayerShape", "MaskedAutoencoder", "TokenModel",
    "Verdict", "load", "shipped",
]  # fmt: skip
