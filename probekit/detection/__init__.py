"""Detection and instance segmentation by fine-tuning: a Mask R-CNN on a checkpoint's ViT (`detect`).

A run lives in a directory, as that of `train`: it goes on where it was interrupted, and ends with the same bits.
"""

from probekit.detection.run import detect
from probekit.detection.settings import PRESETS, DetectorSettings

__all__ = ["PRESETS", "DetectorSettings", "detect"]
