"""Where a token of an encoder looks in one plain image, head by head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from probekit.checks import as_whole, whole
from probekit.data import Preprocess
from probekit.errors import CheckpointError, ProbekitError
from probekit.models.contract import TokenModel, grid_of
from probekit.models.sheets import Pixels, Sheet, overlaid, pixels_of

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Attention(Sheet):
    """Where one query looks in an image, in one layer.

    Attributes:
        image: as the model gets it, resized and cropped, uint8 (height, width, channels).
        heads: attention of the query to the patches, float32 (heads, rows, columns). Each map sums to 1: attention to
            prefix tokens ([CLS], registers) is left out. NaN for a head that looks at prefix tokens alone.
        layer: 1 to depth.
        query: "cls", "mean" over all patches, or the (row, column) of a patch.
        only: the head that is shown; None for the mean over heads and then each.
    """

    image: Pixels = field(repr=False)
    heads: Floats = field(repr=False)
    layer: int
    query: str | tuple[int, int]
    only: int | None = None

    @property
    def mean(self) -> Floats:
        """Mean over heads, (rows, columns); sums to 1."""
        found = np.nanmean(self.heads, axis=0)
        return np.asarray(found / found.sum(), dtype=np.float32)

    def parts(self) -> list[tuple[str, Pixels]]:
        """The image, and over it the mean over heads and every head (or the one that was asked for)."""
        who = {"cls": "[CLS]", "mean": "all patches"}.get(str(self.query), f"patch {self.query}")
        found = [("image", self.image)]
        if self.only is None:
            found.append((f"{who}, layer {self.layer}, mean", overlaid(self.image, self.mean)))
        for number, one in enumerate(self.heads):
            if self.only in (None, number):
                words = f"head {number}" if self.only is None else f"{who}, layer {self.layer}, head {number}"
                found.append((words, overlaid(self.image, np.nan_to_num(one))))
        return found


def attention(
    model: TokenModel,
    preprocess: Preprocess,
    image: Any,
    *,
    name: str,
    layer: int,
    head: int | None,
    query: str | tuple[int, int] | None,
) -> Attention:
    """See `Checkpoint.attention`."""
    if model.no_attention:
        raise CheckpointError(f"{name} gives no attention: {model.no_attention}.")
    place = _layer(layer, model.depth)
    pixels = preprocess(pixels_of(image, model.channels))
    picture = preprocess.normalise(torch.tensor(pixels).permute(2, 0, 1)[None].to(model.device))
    with torch.inference_mode():
        found = next(one.attention for one in model.trace(picture, attention=True) if one.index == place)
    assert found is not None  # `no_attention` has made sure
    prefix, weights = model.num_prefix_tokens, found[0].float()  # (heads, queries, keys)
    grid = grid_of(weights.shape[-1] - prefix, *pixels.shape[:2])
    if grid is None:
        raise CheckpointError(f"The patches of layer {place} of {name} fit no grid of the image's shape.")
    if head is not None:
        head = whole("head", head, least=0, most=len(weights) - 1)
    query = ("cls" if model.class_token and prefix else "mean") if query is None else query
    rows = _rows(weights[..., prefix:], prefix, query, grid, has_cls=bool(model.class_token and prefix))
    maps = (rows / rows.sum(dim=-1, keepdim=True)).reshape(-1, *grid).cpu().numpy()
    return Attention(pixels, maps, place, query, head)


def _layer(layer: int, depth: int) -> int:
    """1 to depth; negative ones count from the last."""
    number = as_whole(layer)
    if number is None or not (1 <= number <= depth or -depth <= number <= -1):
        raise ProbekitError(
            f"layer={layer!r}: expected 1 to {depth}, or -{depth} to -1 from the last. Layer 0 is the embedding, "
            "which has no attention."
        )
    return number if number > 0 else depth + 1 + number


def _rows(
    weights: torch.Tensor, prefix: int, query: str | tuple[int, int], grid: tuple[int, int], *, has_cls: bool
) -> torch.Tensor:
    """Attention of the query to the patches, (heads, patches), as the softmax left it."""
    if isinstance(query, tuple) and len(query) == 2:
        row = whole("the row of query", query[0], least=0, most=grid[0] - 1)
        column = whole("the column of query", query[1], least=0, most=grid[1] - 1)
        return weights[:, prefix + row * grid[1] + column]
    if query == "cls" and not has_cls:
        raise ProbekitError('query="cls": this encoder has no [CLS] token. Use "mean", or a patch (row, column).')
    if query not in ("cls", "mean"):
        raise ProbekitError(
            f'query={query!r}: expected "cls", "mean" (over all patches), or a patch (row, column) within '
            f"{grid[0]} x {grid[1]}."
        )
    return weights[:, 0] if query == "cls" else weights[:, prefix:].mean(dim=1)
