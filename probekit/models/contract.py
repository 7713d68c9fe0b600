"""What a model of any kind is to probekit: an iterator over layers of tokens, and a few facts about their geometry.

The pass needs nothing else, so every probe that reads features runs on every model. What an encoder cannot give (a
mask, a decoder, attention, an untrained twin) has a property that says why, and the probe that needs it is "not
applicable" for that reason.

Layers may differ in width and in number of patches (hierarchical models). `shapes` says what each of them has.
"""

from __future__ import annotations

import abc
import functools
import inspect
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from probekit.constants import IMAGENET_MEAN, IMAGENET_STD
from probekit.errors import DataError, ProbekitError, did_you_mean
from probekit.models.pixels import PixelScale

CONTRACT = ("channels", "image_size", "vit_patch_size", "num_prefix_tokens", "depth", "width")
"""What every encoder has besides `trace`."""


class Layer(NamedTuple):
    """One layer of a forward pass.

    Attributes:
        index: 0 = the embedding, 1 to L = the blocks, L after the final norm.
        tokens: (batch, prefix + patches, width); prefix tokens first, patches in raster order.
        attention: softmax probabilities used in this forward, (batch, heads, queries, keys); None for the embedding.

    Example:
        >>> layer = Layer(0, torch.zeros(2, 1 + 196, 768), None)
        >>> layer.tokens[:, 1:].shape
        torch.Size([2, 196, 768])
    """

    index: int  # type: ignore[assignment]  # the name that users rely on, though tuples have a method of it
    tokens: Tensor
    attention: Tensor | None


class LayerShape(NamedTuple):
    """What a layer holds for images of one size.

    Attributes:
        patches: number of its patch tokens.
        grid: (rows, columns) of its patches; None where their number fits no grid of the image's proportions.
        width: size of a token.

    Example:
        >>> LayerShape(patches=196, grid=(14, 14), width=768).grid
        (14, 14)
    """

    patches: int
    grid: tuple[int, int] | None
    width: int


class TokenModel(nn.Module, abc.ABC):
    """A model that turns images into layers of tokens: a masked autoencoder, or an `Encoder` of any other kind.

    A subclass sets the attributes below, on the class or in `__init__`, and defines `trace`.

    Attributes:
        channels: of the images.
        image_size: (height, width) in pixels that the model was made for.
        vit_patch_size: side of the patch of the embedding, in pixels.
        num_prefix_tokens: tokens before the patches ([CLS], registers), the same number in every layer.
        depth: L; `trace` gives L + 1 layers.
        width: of the last layer.
        class_token: whether the first prefix token is [CLS].
        num_heads: the most attention heads that a block has; 0 where none are known.
        pixels: mean and deviation per channel, shared with the checkpoint's card.

    Args:
        mean, std: per channel, of pixels in [0, 1]; None takes ImageNet's, and `load` warns.

    Example:
        >>> class Patches(TokenModel):
        ...     channels, image_size, vit_patch_size, num_prefix_tokens, depth, width = 3, (32, 32), 16, 0, 0, 768
        ...
        ...     def trace(self, images):
        ...         tiles = images.unfold(2, 16, 16).unfold(3, 16, 16)
        ...         yield Layer(0, tiles.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2), None)
        >>> next(Patches().trace(torch.zeros(1, 3, 32, 32))).tokens.shape
        torch.Size([1, 4, 768])
    """

    channels: int
    image_size: tuple[int, int]
    vit_patch_size: int
    num_prefix_tokens: int
    depth: int
    width: int
    class_token: bool = False
    num_heads: int = 0

    def __init__(self, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> None:
        super().__init__()
        self.normalisation_known = mean is not None and std is not None
        self.pixels = PixelScale(tuple(map(float, mean or IMAGENET_MEAN)), tuple(map(float, std or IMAGENET_STD)))
        self._shapes: dict[tuple[int, int], tuple[LayerShape, ...]] = {}
        self._no_attention: tuple[str | None] | None = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        """A `trace(images)` without the keyword `attention` is called without it: it decides itself what it gives."""
        super().__init_subclass__(**arguments)
        plain = cls.__dict__.get("trace")
        if plain is not None and "attention" not in inspect.signature(plain).parameters:

            @functools.wraps(plain)
            def trace(self: TokenModel, images: Tensor, *, attention: bool = False) -> Iterator[Layer]:
                return iter(plain(self, images))

            cls.trace = trace  # type: ignore[method-assign]  # the subclass left `attention` out

    @abc.abstractmethod
    def trace(self, images: Tensor, *, attention: bool = False) -> Iterator[Layer]:
        """One forward, layer by layer: 0..L, the last one after the final norm.

        Args:
            images: float (batch, channels, height, width), normalised.
            attention: also give the softmax probabilities of blocks 1 to L.

        Yields:
            `Layer` 0 to L.
        """

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def has_decoder(self) -> bool:
        return False

    @property
    def no_attention(self) -> str | None:
        """Why `trace` cannot give the attention of every block over all tokens; None if it can."""
        if self._no_attention is None:
            blank = torch.zeros(1, self.channels, *self.image_size, device=self.device)
            with torch.inference_mode():
                blocks = [
                    (layer.tokens.shape[1], layer.attention)
                    for layer in self.trace(blank, attention=True)
                    if layer.index
                ]
            full = [found is not None and found.shape[2:] == (tokens, tokens) for tokens, found in blocks]
            self._no_attention = (None if full and all(full) else "this encoder gives no attention over all tokens",)
        return self._no_attention[0]

    @property
    def no_twin(self) -> str | None:
        """Why there is no untrained twin: the same architecture, freshly initialised; None if there is."""
        return "this encoder cannot be initialised anew, so it has no untrained twin"

    @property
    def poolings(self) -> tuple[str, ...]:
        """The names that `pool` takes for this model."""
        return ("cls", "mean") if self.class_token and self.num_prefix_tokens else ("mean",)

    @property
    def device(self) -> torch.device:
        """Where images go."""
        return next((one.device for one in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    @property
    def mean(self) -> Tensor:
        """(channels,), of pixels in [0, 1]."""
        return self.pixels.tensors(self.device)[0].flatten()

    @property
    def std(self) -> Tensor:
        """(channels,), of pixels in [0, 1]."""
        return self.pixels.tensors(self.device)[1].flatten()

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """The grid of ViT patches of an image.

        Args:
            height, width: of the image in pixels.

        Returns:
            (rows, columns).

        Raises:
            DataError: the patch does not divide the image.
        """
        size = self.vit_patch_size
        if height % size or width % size or height < size or width < size:
            near = [max(size, round(side / size) * size) for side in (height, width)]
            raise DataError(
                f"Images of {height} x {width} pixels do not divide into ViT patches of {size} x {size}. Resize or "
                f"crop them, for instance to {near[0]} x {near[1]}."
            )
        return height // size, width // size

    def shapes(self, height: int, width: int) -> tuple[LayerShape, ...]:
        """What each layer holds for images of one size, found with one blank image, once.

        Args:
            height, width: of the images in pixels.

        Returns:
            A `LayerShape` for each layer 0 to L.
        """
        if (height, width) not in self._shapes:
            blank = torch.zeros(1, self.channels, height, width, device=self.device)
            with torch.inference_mode():
                found = [layer.tokens.shape for layer in self.trace(blank)]
            self._shapes[height, width] = tuple(
                LayerShape(
                    tokens - self.num_prefix_tokens, grid_of(tokens - self.num_prefix_tokens, height, width), width_
                )
                for _, tokens, width_ in found
            )
        return self._shapes[height, width]

    def description(self) -> dict[str, Any]:
        """What determines the outputs besides the weights, as JSON-able values."""
        return {
            "encoder": f"{type(self).__module__}.{type(self).__qualname__}",
            "image_size": list(self.image_size),
            "prefix": [self.num_prefix_tokens, self.class_token],
            "depth": self.depth,
        }

    # --- forward ----------------------------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Tensor:
        """The last layer of `trace`.

        Args:
            images: float (batch, channels, height, width), normalised.

        Returns:
            Tokens after the final norm: (batch, prefix + patches, width).
        """
        *_, last = self.trace(images)
        return last.tokens

    def forward(self, images: Tensor) -> Tensor:
        """`encode`."""
        return self.encode(images)

    def pool(self, tokens: Tensor, pooling: str) -> Tensor:
        """One vector per image from the tokens of any layer.

        Args:
            tokens: (batch, prefix + patches, width).
            pooling: one of `poolings`: `cls`, or `mean` over the patch tokens only.

        Returns:
            (batch, width).

        Raises:
            ProbekitError: this model has no such pooling.
        """
        self.check_pooling(pooling)
        return tokens[:, 0] if pooling == "cls" else tokens[:, self.num_prefix_tokens :].mean(dim=1)

    def check_pooling(self, pooling: str) -> None:
        """ProbekitError, with the nearest name, for a pooling that this model does not have."""
        if pooling not in self.poolings:
            raise ProbekitError(f"This model has no pooling {pooling!r}. {did_you_mean(pooling, self.poolings)}")


def grid_of(patches: int, height: int, width: int) -> tuple[int, int] | None:
    """(rows, columns) with this many patches, in the proportions of the image; None if there are none.

    >>> grid_of(196, 224, 224), grid_of(8, 32, 64), grid_of(10, 32, 32)
    ((14, 14), (2, 4), None)
    """
    common = math.gcd(height, width)
    rows, columns = height // common, width // common
    scale = math.isqrt(patches // (rows * columns)) if patches > 0 else 0
    return (rows * scale, columns * scale) if scale and rows * columns * scale**2 == patches else None
