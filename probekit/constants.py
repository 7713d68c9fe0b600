"""Numbers that several rooms must agree on, each defined once."""

from __future__ import annotations

CONFIDENCE = 0.95
"""Coverage of every interval in a results dataset."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's training images per channel, of pixels in [0, 1]: what most checkpoints were trained with."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation that goes with `IMAGENET_MEAN`."""
