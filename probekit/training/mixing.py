"""Augmentation of labelled images by timm: RandAugment, random erasing, mixup, cutmix; functions of (seed, step).

timm draws from the global generators of Python, NumPy and torch. Here they are seeded for every draw and put back
afterwards, so that no state has to be kept, and the caller's own draws are not touched.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment, mixup, random_erasing
from torch import Tensor

from probekit.data import TrainingStream
from probekit.data.preprocess import FILTERS
from probekit.data.randomness import words
from probekit.errors import TrainingError
from probekit.training.tuning_settings import TuningSettings

_GLOBAL = threading.RLock()
"""Held while global generators are seeded: images are augmented in a thread beside the steps."""


def seed_globals(*facts: int | str) -> None:
    """Seed the generators of Python and NumPy."""
    first, second, *_ = words(*facts)
    random.seed(first)
    np.random.seed(second % 2**32)  # noqa: NPY002  # timm draws from it


@contextmanager
def borrowed() -> Iterator[None]:
    """Seed the global generators of Python and NumPy, and restore them afterwards."""
    with _GLOBAL:
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # timm draws from it
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002  # as above


@contextmanager
def torch_seeded(device: torch.device, *facts: int | str) -> Iterator[None]:
    """Seed torch's generators, and restore them afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(words(*facts)[0] >> 1)
        yield


class LabelledStream(TrainingStream):
    """Training batches with their labels, and with RandAugment between crop and normalisation.

    Args:
        randaugment: timm's name of the policy; empty = none.
        others: as for `TrainingStream`.
    """

    def __init__(self, *others: Any, randaugment: str, **more: Any) -> None:
        super().__init__(*others, **more)
        self.randaugment = randaugment

    def labels(self, step: int) -> Tensor:
        """Classes of the batch of a step: int64 (batch_size,)."""
        return torch.from_numpy(self.image_set.known_labels[self.indices(step)])

    def _pixels(self, step: int) -> np.ndarray | Tensor:
        pixels = super()._pixels(step)
        if not self.randaugment:
            return pixels
        if isinstance(pixels, Tensor):
            pixels = pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        prepare = self.preprocess
        change = policy(self.randaugment, min(pixels.shape[1:3]), tuple(prepare.mean), prepare.interpolation)
        out = np.empty_like(pixels)
        with borrowed():
            for row, position in enumerate(self.positions(step).tolist()):
                seed_globals("randaugment", self.seed, position)
                out[row] = np.asarray(change(Image.fromarray(pixels[row])))
        return out


@lru_cache(maxsize=8)
def policy(name: str, side: int, mean: tuple[float, ...], interpolation: str) -> Any:
    """timm's RandAugment, filled with the mean colour, as its training transforms set it up."""
    fill = tuple(min(255, round(255 * value)) for value in mean)
    how = {"translate_const": int(side * 0.45), "img_mean": fill, "interpolation": FILTERS[interpolation]}
    return auto_augment.rand_augment_transform(name, how)


def check_policy(settings: TuningSettings, channels: int) -> None:
    """Raise for a policy that timm does not know, or images that it cannot change.

    Raises:
        TrainingError: with the way out.
    """
    if not settings.randaugment:
        return
    if channels != 3:
        raise TrainingError(
            f"randaugment={settings.randaugment!r} changes images of three channels; these have {channels}. Set "
            "randaugment=''."
        )
    try:
        policy(settings.randaugment, 32, (0.5,) * 3, "bicubic")
    except Exception as error:  # timm raises anything, assertions among them
        raise TrainingError(
            f"randaugment={settings.randaugment!r} is no policy of timm ({type(error).__name__}: {error}). Expected a "
            "name such as 'rand-m9-mstd0.5-inc1', or '' for none."
        ) from error


class Mixing:
    """Random erasing, mixup, cutmix and label smoothing on normalised batches.

    Args:
        settings: of the run.
        classes: of the targets.
        device: of the batches.
    """

    def __init__(self, settings: TuningSettings, classes: int, device: torch.device) -> None:
        self.settings, self.classes, self.device = settings, classes, device
        timm: Any = random_erasing.RandomErasing
        self.erase = timm(settings.erasing, mode="pixel", device=str(device)) if settings.erasing else None
        timm = mixup.Mixup
        smooth = {"label_smoothing": settings.smoothing, "num_classes": classes}
        self.mix = timm(settings.mixup, settings.cutmix, **smooth) if settings.mixes else None

    def soft(self, labels: Tensor) -> Tensor:
        """Smoothed targets (batch, classes) of images that are not mixed."""
        targets: Tensor = mixup.mixup_target(labels, self.classes, smoothing=self.settings.smoothing)
        return targets

    def __call__(self, images: Tensor, labels: Tensor, *facts: int) -> tuple[Tensor, Tensor]:
        """Changed images, and targets (batch, classes) that sum to 1.

        Args:
            images: float (batch, channels, height, width), normalised; left as they are.
            labels: int64 (batch,).
            facts: what the draw is of: the step, and which part of its batch.
        """
        if self.erase is None and self.mix is None:
            return images, self.soft(labels)
        facts = (self.settings.seed, *facts)
        with borrowed(), torch_seeded(self.device, "erasing", *facts):
            seed_globals("mixing", *facts)
            images = images.clone()
            if self.erase is not None:
                images = self.erase(images)
            if self.mix is None:
                return images, self.soft(labels)
            mixed: tuple[Tensor, Tensor] = self.mix(images, labels)
            return mixed
