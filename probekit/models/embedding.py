"""From images and a mask to the tokens that enter the first block.

Hidden patches are dropped before they are embedded: the patch projection is a linear map of unfolded patches, and only
visible patches are unfolded into it.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from probekit.errors import DataError, MaskError
from probekit.models import positions


def check_images(images: Tensor, channels: int) -> None:
    """DataError unless these are float images of so many channels."""
    good = isinstance(images, Tensor) and images.is_floating_point() and images.ndim == 4 and len(images) > 0
    if not good or images.shape[1] != channels:
        raise DataError(f"Images are float (batch, {channels}, height, width), got {_kind(images)}.")


def visible(images: Tensor, hidden: Tensor | None, patches: int) -> Tensor | None:
    """Numbers of the visible patches, int64 (batch, visible); None if all are.

    Raises:
        MaskError: `hidden` is no mask for these images, hides everything, or hides unequal numbers of patches.
    """
    if hidden is None:
        return None
    expected = (len(images), patches)
    if not isinstance(hidden, Tensor) or hidden.dtype != torch.bool or tuple(hidden.shape) != expected:
        raise MaskError(f"`hidden` is bool (batch, patches) = {expected} for these images, got {_kind(hidden)}.")
    counts = hidden.sum(dim=1)
    low, high = int(counts.min()), int(counts.max())
    if low != high:
        raise MaskError(
            f"Every row of `hidden` hides the same number of patches; these hide from {low} to {high} (row "
            f"{int(counts.argmin())} and row {int(counts.argmax())}). masking.sample_hidden draws equal counts."
        )
    if high == patches:
        raise MaskError(f"`hidden` hides all {high} patches; at least one stays visible.")
    return columns(~hidden).to(images.device) if high else None


def columns(chosen: Tensor) -> Tensor:
    """Column numbers of the True cells, int64 (rows, n), where every row has the same number n."""
    return chosen.nonzero()[:, 1].reshape(len(chosen), -1)


def embed(
    encoder: VisionTransformer, images: Tensor, visible: Tensor | None, grid: tuple[int, int], *, antialias: bool
) -> Tensor:
    """Tokens that enter the first block. Visible patches are gathered before they are projected.

    Args:
        encoder: a timm `VisionTransformer`.
        images: float (batch, channels, height, width), normalised.
        visible: int64 (batch, visible), the patches that are seen; None for all.
        grid: (rows, columns) of the images.
        antialias: how positions are resampled for other image sizes.

    Returns:
        (batch, prefix + visible, width).
    """
    parts: Any = encoder.patch_embed
    size, (rows, columns) = int(parts.patch_size[0]), grid
    unfolded = images.reshape(len(images), images.shape[1], rows, size, columns, size).permute(0, 2, 4, 1, 3, 5)
    unfolded = unfolded.reshape(len(images), rows * columns, -1)  # (channel, row, column), as the kernel
    if visible is not None:
        unfolded = unfolded.gather(1, visible[..., None].expand(-1, -1, unfolded.shape[-1]))
    project = parts.proj
    unfolded = unfolded.to(project.weight.dtype)
    pre: Any = getattr(parts, "pre", None)  # a norm of the pixels, in a few families
    unfolded = unfolded if pre is None else pre(unfolded)
    x = parts.norm(nn.functional.linear(unfolded, project.weight.flatten(1), project.bias))
    prefix = [token.expand(len(x), -1, -1) for token in (encoder.cls_token, encoder.reg_token) if token is not None]
    if encoder.pos_embed is not None:
        placed = 0 if encoder.no_embed_class else encoder.num_prefix_tokens
        table = positions.resample(
            encoder.pos_embed,
            parts.grid_size,
            grid,
            num_prefix_tokens=placed,
            antialias=antialias,
        )
        patches = table[:, placed:]
        x = x + (patches if visible is None else patches[0][visible])
        if placed:
            prefix = [torch.cat(prefix, dim=1) + table[:, :placed]]
    tokens: Tensor = encoder.norm_pre(encoder.pos_drop(torch.cat([*prefix, x], dim=1)))
    return tokens


def _kind(given: Any) -> str:
    """What was given, for messages: a tensor's type and shape, or a class."""
    if isinstance(given, Tensor):
        return f"{given.dtype} {tuple(given.shape)}"
    return f"a {type(given).__module__}.{type(given).__qualname__}"
