"""Models: one class for every masked autoencoder (and any timm ViT), and the reading and writing of checkpoints."""

from probekit.models.mae import Layer, MaskedAutoencoder

__all__ = ["Layer", "MaskedAutoencoder"]
