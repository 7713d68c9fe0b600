"""Models of other libraries as encoders, one file a library.

An adapter calls the library's own forward and hands on its layers, so its numbers are the library's. It is asked after
every format that `MaskedAutoencoder` is built from: a plain ViT is read there, with attention and an untrained twin.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from probekit.errors import CheckpointError
from probekit.models.card import tensor_digest
from probekit.models.checkpoint import Checkpoint
from probekit.models.contract import TokenModel
from probekit.models.encoder import carded
from probekit.models.files import Found
from probekit.models.formats.transformers_vit_mae import TYPES

FAILED = (
    AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What a library's forward raises where it cannot take the images that it was given."""


@dataclass
class Known:
    """What is known of a model besides the module itself.

    Attributes:
        facts: fields of the card (`card.RECORDED`, `image_size`).
        missing, left_over, notes, warnings: for the verdict.
        digest: of the weights; None takes that of the tensors.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    missing: Sequence[str] = ()
    left_over: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    digest: Callable[[], str] | None = None


def is_adapted(model_type: str) -> bool:
    """Whether a transformers model type is adapted here; others are read by a format."""
    return model_type not in TYPES


def of_directory(found: Found) -> Any:
    """The adapter that reads a directory, by its `config.json`; None where no adapter does, or a format comes first."""
    config = found.config or {}
    if isinstance(config.get("model_type"), str) and is_adapted(config["model_type"]):
        return import_module(f"{__name__}.transformers")
    if isinstance(config.get("architecture"), str):
        adapter = import_module(f"{__name__}.timm")
        return adapter if adapter.takes(found) else None
    return None


def sharing(module: nn.Module) -> Any:
    """A copy of the structure with the same parameters: eval mode and other settings stay ours."""
    shared = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in shared})


def tokens_of(state: Tensor, height: int, width: int, *, last: bool | None = None) -> Tensor:
    """(batch, tokens, width) of tokens, or of a map, whose places become tokens in raster order.

    Args:
        state: tokens (batch, tokens, width), or a map.
        height, width: of the images.
        last: whether the channels of a map come last; None finds out, and takes them to come first where both fit.
    """
    if state.ndim == 3:
        return state
    if last is None:
        first = _proportional(state.shape[2], state.shape[3], height, width)
        last = not first and _proportional(state.shape[1], state.shape[2], height, width)
    return state.flatten(1, 2) if last else state.flatten(2).transpose(1, 2)


def _proportional(rows: int, columns: int, height: int, width: int) -> bool:
    return rows * width == columns * height


def checkpoint(model: TokenModel, known: Known, *, kind: str, format: str, source: str, name: str) -> Checkpoint:
    """The checkpoint of an adapted model, known by its weights."""
    return carded(
        model, name=name, kind=kind, source=source, format=format, facts=known.facts,
        digest=known.digest or (lambda: tensor_digest(model.state_dict())),
        missing=known.missing, left_over=known.left_over, notes=known.notes, warnings=known.warnings,
    )  # fmt: skip


def size_of(value: Any) -> tuple[int, int] | None:
    """(height, width) of a configuration's size: a number, two, or an object; None where it says neither."""
    if isinstance(value, Mapping):
        value = (value.get("height"), value.get("width")) if "height" in value else value.get("shortest_edge")
    if isinstance(value, int):
        return value, value
    if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, int) for one in value):
        return (value[-2], value[-1]) if len(value) >= 2 else None
    return None


def patch_of(model: TokenModel, patches: int) -> int:
    """Side of the embedding's patch in pixels, from how many patches an image has.

    Raises:
        CheckpointError: no whole number of pixels.
    """
    height, width = model.image_size
    side = (height * width / patches) ** 0.5 if patches > 0 else 0.0
    if not side or abs(side - round(side)) > 1e-6 or height % round(side) or width % round(side):
        raise CheckpointError(
            f"The embedding has {patches} patches for images of {height} x {width} pixels, which is no grid of square "
            "patches. Wrap the model instead: probekit.Encoder.wrap(function, ...)."
        )
    return round(side)


def trial(model: TokenModel) -> Tensor:
    """One image of noise at the model's size."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, model.channels, *model.image_size, generator=generator).to(model.device)
