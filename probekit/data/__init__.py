"""Image sets: what ships, what users have, and latents that are known.

`load(spec, split)` opens any of them; see `probekit.data.spec` for the specs. `TrainingStream` and `Views` draw
augmented images from one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probekit.data.base import SPLITS, ImageSet
from probekit.data.memory import ArraySet
from probekit.data.preprocess import Preprocess
from probekit.data.spec import SHIPPED, SOURCES, load

if TYPE_CHECKING:
    from probekit.data.augmentation import TrainingStream, Views

__all__ = ["SHIPPED", "SOURCES", "SPLITS", "ArraySet", "ImageSet", "Preprocess", "TrainingStream", "Views", "load"]


def __getattr__(name: str) -> Any:
    if name in ("TrainingStream", "Views"):
        from probekit.data import augmentation

        return getattr(augmentation, name)
    raise AttributeError(f"module 'probekit.data' has no attribute {name!r}")
