"""Models of any other kind: subclasses of `Encoder`, and functions that `Encoder.wrap` makes one of.

What a function returns is checked, and its outputs on fixed images are its identity: there are no weights to look at.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probekit.checks import number, several, whole
from probekit.errors import CheckpointError, a_kind
from probekit.models.card import Card, Verdict
from probekit.models.card_checks import RECORDED
from probekit.models.checkpoint import Checkpoint
from probekit.models.contract import Layer, TokenModel, grid_of

Function = Callable[[Tensor], Sequence[Tensor]]

ASSUMED = (
    "The normalisation of images is not recorded: ImageNet's mean and deviation were assumed. Give mean= and std= if "
    "they are others."
)

CLOSE = 32
"""Up to so many tokens more than the patches, `num_prefix_tokens` is taken to be wrong."""


class Encoder(TokenModel):
    """A frozen model of any kind. Subclass it, or wrap a function with `Encoder.wrap`; `load` takes both.

    A subclass sets `channels, image_size, vit_patch_size, num_prefix_tokens, depth, width` (on the class or in
    `__init__`) and defines `trace`; see `TokenModel`.

    Args:
        mean, std: per channel, of pixels in [0, 1]; None takes ImageNet's, and `load` warns.

    Example:
        >>> class Pixels(Encoder):
        ...     channels, image_size, vit_patch_size, num_prefix_tokens, depth, width = 3, (32, 32), 8, 0, 0, 192
        ...     def trace(self, images):
        ...         yield Layer(0, torch.nn.functional.unfold(images, 8, stride=8).transpose(1, 2), None)
        >>> probekit.load(Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))).model.shapes(32, 32)
        (LayerShape(patches=16, grid=(4, 4), width=192),)
    """

    @staticmethod
    def wrap(
        encode: Callable[[Tensor], Sequence[Tensor]],
        *,
        patch_size: int,
        image_size: int | tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        num_prefix_tokens: int = 0,
        channels: int = 3,
        name: str,
        attention: Callable[[Tensor], Sequence[Tensor]] | None = None,
        class_token: bool | None = None,
    ) -> Checkpoint:
        """A checkpoint from any function that gives layers of tokens.

        Args:
            encode: takes images, float (batch, channels, height, width), normalised; returns the layers, each (batch,
                prefix + patches, width): layer 0 first, the last one after the final norm, patches in raster order.
                Widths and numbers of patches may differ between layers. A module moves with `load(device=...)`; a
                function is called with images on the checkpoint's device.
            patch_size: side of the patch of the embedding, in pixels.
            image_size: (height, width), or one side of a square, in pixels.
            mean, std: per channel, of pixels in [0, 1].
            num_prefix_tokens: tokens before the patches.
            channels: of the images.
            name: for tables, charts and the caches.
            attention: takes images; returns the softmax probabilities of each block, (batch, heads, queries, keys), of
                blocks 1 to L; a first entry for the embedding is allowed, and ignored.
            class_token: whether the first prefix token is [CLS]; None = yes, where there is a prefix token.

        Returns:
            `Checkpoint(model, card, verdict)` for `evaluate`, `compare` and `load`. Its digest is of the name and of
            the outputs on fixed images, so a function that changes is measured again. One whose outputs differ
            from call to call is never taken from a cache.

        Raises:
            CheckpointError: outputs that do not fit the arguments.

        Example:
            >>> def encode(images):
            ...     tokens = images.unfold(2, 8, 8).unfold(3, 8, 8).flatten(4).permute(0, 2, 3, 1, 4).flatten(3)
            ...     return [tokens.flatten(1, 2), tokens.flatten(1, 2).relu()]
            >>> half = (0.5, 0.5, 0.5)
            >>> pixels = probekit.Encoder.wrap(encode, patch_size=8, image_size=32, mean=half, std=half, name="pixels")
            >>> pixels.model.depth
            1
        """
        return _wrapped(
            encode, patch_size=patch_size, image_size=image_size, mean=mean, std=std,
            num_prefix_tokens=num_prefix_tokens, channels=channels, name=name, attention=attention,
            class_token=class_token,
        )  # fmt: skip


class WrappedEncoder(Encoder):
    """A function that gives layers of tokens, and a second one that gives attention, if there is one."""

    def __init__(self, encode: Function, attention: Function | None, **facts: Any) -> None:
        super().__init__(mean=facts.pop("mean"), std=facts.pop("std"))
        self.register_buffer("here", torch.zeros(0, device="cpu"), persistent=False)  # says where images go
        self._encode, self._attention = encode, attention  # modules among them are registered, and move along
        for name, value in facts.items():
            setattr(self, name, value)

    def trace(self, images: Tensor, *, attention: bool = False) -> Iterator[Layer]:
        """See `Encoder.trace`. All layers come from one call of the function."""
        states = self._called(self._encode, images, "encode", 3)
        self._check_layers(states, len(images))
        maps: list[Tensor | None] = [None] * len(states)
        if attention and self._attention is not None:
            found = self._called(self._attention, images, "attention", 4)
            maps[1:] = found[len(found) - len(states) + 1 :]
        while states:
            yield Layer(len(maps) - len(states), states.pop(0), maps[-len(states) - 1])

    def _called(self, function: Function, images: Tensor, what: str, ndim: int) -> list[Tensor]:
        found = [
            torch.as_tensor(one).to(images.device) if one is not None else images.new_zeros(0)
            for one in function(images)
        ]
        wrong = [tuple(one.shape) for one in found if one.ndim != ndim and one.numel()]
        if not found or wrong:
            dims = "(batch, prefix + patches, width)" if ndim == 3 else "(batch, heads, queries, keys)"
            came = f"an array of shape {wrong[0]}" if wrong else "nothing"
            raise CheckpointError(f"{what} returned {came}; expected a sequence of arrays {dims}, one a layer.")
        return found

    def _check_layers(self, states: Sequence[Tensor], batch: int) -> None:
        if len(states) != self.depth + 1 or any(len(one) != batch for one in states):
            raise CheckpointError(
                f"encode returned {len(states)} layers of {sorted({len(one) for one in states})} images; expected "
                f"{self.depth + 1} layers, as on its first call, of {batch} images."
            )

    @property
    def no_attention(self) -> str | None:
        return None if self._attention is not None else "the wrapped function gives no attention (attention=)"


def _wrapped(
    encode: Function,
    *,
    patch_size: int,
    image_size: int | tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    num_prefix_tokens: int,
    channels: int,
    name: str,
    attention: Function | None,
    class_token: bool | None,
) -> Checkpoint:
    """See `Encoder.wrap`."""
    sides = tuple(image_size) if isinstance(image_size, Sequence | np.ndarray) else (image_size, image_size)
    if len(sides) != 2:
        raise CheckpointError(f"image_size={image_size!r}: expected (height, width) in pixels, or one side.")
    height, width = (whole("image_size", side, least=1, error=CheckpointError) for side in sides)
    patch_size = whole("patch_size", patch_size, least=1, error=CheckpointError)
    num_prefix_tokens = whole("num_prefix_tokens", num_prefix_tokens, least=0, error=CheckpointError)
    channels = whole("channels", channels, least=1, error=CheckpointError)
    mean, std = _numbers("mean", mean), _numbers("std", std)
    if not callable(encode):
        raise CheckpointError(f"encode is {a_kind(encode)}; expected a function of images.")
    if not name:
        raise CheckpointError("name='' names nothing; tables, charts and the caches need one.")
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise CheckpointError(
            f"mean={mean} and std={std} for {channels} channels; expected {channels} numbers each, std above 0."
        )
    model = WrappedEncoder(
        encode, attention, mean=mean, std=std, channels=channels, image_size=(height, width), vit_patch_size=patch_size,
        num_prefix_tokens=num_prefix_tokens, depth=0, width=0,
        class_token=num_prefix_tokens > 0 if class_token is None else class_token,
    )  # fmt: skip
    model.grid(height, width)
    with torch.inference_mode():
        layers = model._called(encode, trial_images(model, 1), "encode", 3)
    model.depth, model.width = len(layers) - 1, int(layers[-1].shape[2])
    warnings = _check_tokens(model, layers)
    if attention is not None:
        _check_attention(model, attention, layers)
    kind = "a wrapped function"
    return carded(model, name=name, kind=kind, format=kind, source=f"Encoder.wrap({name!r})", warnings=warnings)


def _numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    found = several(name, values, "numbers, one for each channel", error=CheckpointError)
    return tuple(number(name, one, error=CheckpointError) for one in found)


def carded(
    model: TokenModel,
    *,
    name: str,
    kind: str,
    source: str,
    format: str,
    facts: Mapping[str, Any] | None = None,
    digest: Callable[[], str] | None = None,
    **found: Any,
) -> Checkpoint:
    """The checkpoint of an encoder.

    Args:
        model: with its geometry known.
        name, source: of the checkpoint.
        kind: what the card calls the architecture.
        format: what the verdict calls it.
        facts: fields of the card (`card.RECORDED`).
        digest: of the weights; None takes that of the outputs on fixed images.
        found: `missing, left_over, notes, warnings` of the verdict.
    """
    shapes = model.shapes(*model.image_size)
    widths, grids = [shape.width for shape in shapes], [shape.grid for shape in shapes]
    architecture: dict[str, Any] = {"encoder": kind, "width": model.width, "depth": model.depth}
    if len(set(widths)) > 1 or len(set(grids)) > 1:
        architecture |= {"widths": widths, "grids": [None if grid is None else list(grid) for grid in grids]}
    architecture |= {"class_token": model.class_token, "prefix_tokens": model.num_prefix_tokens}
    architecture["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    given, scale = facts or {}, ("mean", "std", "normalised_targets")  # these are the model's own
    known: dict[str, Any] = {key: given[key] for key in RECORDED if key not in scale and given.get(key) is not None}
    known.setdefault("normalisation_known", model.normalisation_known)
    warnings = [*found.pop("warnings", ()), *(() if known["normalisation_known"] else (ASSUMED,))]
    notes = list(found.pop("notes", ()))
    if digest is None:
        digest = partial(outputs_digest, model, name)
        notes.append("Known by its outputs on fixed images: the digest is of those, not of weights.")
    card = Card(
        name=name,
        architecture=architecture,
        vit_patch_size=model.vit_patch_size,
        image_size=model.image_size,
        pixels=model.pixels,
        digest=digest,
        **known,
    )
    return Checkpoint(model, card, Verdict(format, model, notes=notes, warnings=warnings, **found), source)


def trial_images(model: TokenModel, count: int) -> Tensor:
    """Fixed images at the model's size, on its device: smooth ones first, then noise. The first is not blank."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, model.channels, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=model.image_size, mode="bilinear")
    noise = torch.randn(count, model.channels, *model.image_size, generator=generator)
    return torch.where(torch.arange(count)[:, None, None, None] % 2 == 0, smooth, noise).to(model.device)


@torch.inference_mode()
def outputs_digest(model: TokenModel, name: str) -> str:
    """sha256 over a name and all layers of fixed images; a number used once where two calls differ."""
    images, digests = trial_images(model, 4), []
    for _ in range(2):
        total = hashlib.sha256(name.encode())
        for layer in model.trace(images):
            array = layer.tokens.float().cpu().contiguous().numpy()
            total.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        digests.append(total.hexdigest())
    return digests[0] if digests[0] == digests[1] else secrets.token_hex(32)


def _check_tokens(model: TokenModel, layers: Sequence[Tensor]) -> list[str]:
    """CheckpointError where the embedding's tokens do not fit what was said; warnings where a layer has no grid."""
    rows, columns = model.grid(*model.image_size)
    tokens, expected = int(layers[0].shape[1]), rows * columns + model.num_prefix_tokens
    patches = tokens - model.num_prefix_tokens
    extra = tokens - rows * columns
    if patches < 1 or (0 < extra <= CLOSE and tokens != expected and grid_of(patches, *model.image_size) is None):
        raise CheckpointError(
            f"Layer 0 has {tokens} tokens. {model.image_size[0]} x {model.image_size[1]} pixels in patches of "
            f"{model.vit_patch_size} are {rows * columns} patches, and num_prefix_tokens={model.num_prefix_tokens} "
            f"makes {expected}. Give num_prefix_tokens={max(0, extra)}, or another patch_size."
        )
    counts = [int(layer.shape[1]) - model.num_prefix_tokens for layer in layers]
    odd = [index for index, count in enumerate(counts) if grid_of(count, *model.image_size) is None]
    if not odd:
        return []
    return [
        f"The {counts[odd[0]]} patch tokens of layer {odd[0]} fit no grid of the image's proportions: probes that need "
        "the place of a token are not applicable."
    ]


def _check_attention(model: WrappedEncoder, attention: Function, layers: Sequence[Tensor]) -> None:
    if not model.depth:
        raise CheckpointError(
            "encode returned one layer, which is taken for the embedding: there is no block that attention= could be "
            "of. Leave attention= out, or return the embedding before that layer."
        )
    with torch.inference_mode():
        maps = model._called(attention, trial_images(model, 1), "attention", 4)
    if len(maps) not in (model.depth, model.depth + 1):
        raise CheckpointError(
            f"attention returned {len(maps)} arrays; expected one for each of the {model.depth} blocks (a first one "
            "for the embedding is allowed)."
        )
    for index, (one, layer) in enumerate(zip(maps[-model.depth :], layers[1:], strict=True), start=1):
        tokens = layer.shape[1]
        sums = one.sum(-1)
        if one.shape[2:] != (tokens, tokens) or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            raise CheckpointError(
                f"The attention of block {index} is {tuple(one.shape)} with rows that sum to {float(sums.mean()):.3f}; "
                f"expected probabilities (batch, heads, {tokens}, {tokens}) with rows that sum to 1."
            )
    model.num_heads = max(int(one.shape[1]) for one in maps[-model.depth :])
