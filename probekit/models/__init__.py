"""Models: one class for every masked autoencoder (and any timm ViT), and the reading and writing of checkpoints."""

from probekit.models.card import Card, Verdict
from probekit.models.checkpoint import Checkpoint
from probekit.models.loading import load, shipped
from probekit.models.mae import Layer, MaskedAutoencoder

__all__ = ["Card", "Checkpoint", "Layer", "MaskedAutoencoder", "Verdict", "load", "shipped"]
