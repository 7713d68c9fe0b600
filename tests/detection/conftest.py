"""Small models and settings of detection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from small_detection import SMALL

from probekit.detection.settings import DetectorSettings, resolve
from probekit.models import MaskedAutoencoder


@pytest.fixture
def vit() -> Callable[..., MaskedAutoencoder]:
    """Makes an untrained model with patches of so many pixels."""

    def make(patch: int = 4, side: int = 8, depth: int = 2) -> MaskedAutoencoder:
        return MaskedAutoencoder.create(
            image_size=(patch * side,) * 2, vit_patch_size=patch, width=24, depth=depth, num_heads=2,
            decoder_width=16, decoder_depth=1, decoder_num_heads=2, seed=0,
        )  # fmt: skip

    return make


@pytest.fixture
def settings() -> Callable[..., DetectorSettings]:
    """Makes settings for a model."""

    def make(model: MaskedAutoencoder, **overrides: Any) -> DetectorSettings:
        known = dict.fromkeys(("data", "data_fingerprint", "init", "init_sha256", "init_tensors"), "")
        return resolve("tiny", SMALL | overrides, model, seed=0, **known)

    return make
