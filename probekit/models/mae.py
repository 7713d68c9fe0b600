"""The one model class: a timm `VisionTransformer` as encoder and, where the checkpoint has one, our decoder.

Masks are inputs, never drawn inside, so that any two models can be given the same ones. Hidden patches are dropped
before they are embedded (`embedding.embed`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from probekit.errors import CheckpointError, MaskError, ProbekitError
from probekit.models import architecture, blocks, embedding, initialisation, pixels, relative
from probekit.models.architecture import Architecture, DecoderArchitecture
from probekit.models.contract import Layer, LayerShape, TokenModel
from probekit.models.decoder import Decoder


class MaskedAutoencoder(TokenModel):
    """A vision transformer that can leave out patches, and the decoder that predicts them, if there is one.

    Args:
        encoder: a timm `VisionTransformer` with square patches; its classification head is dropped.
        decoder: None for an encoder alone.
        normalised_targets: whether the decoder predicts per-patch normalised pixels; None if unknown (taken as plain).
        mean, std: of the pixels in [0, 1], one number a channel; None = as assumed where nothing is recorded (three
            channels: ImageNet's).
        antialias: how encoder positions are resampled for other image sizes: False as MAE does, True as timm does.

    Raises:
        CheckpointError: an encoder with parts that are not supported, or `mean` and `std` of another length.

    Example:
        >>> model = MaskedAutoencoder.create(
        ...     image_size=(32, 32), vit_patch_size=8, width=24, depth=2, num_heads=2, decoder_width=16,
        ...     decoder_depth=1, decoder_num_heads=2)
        >>> model.encode(torch.rand(5, 3, 32, 32)).shape  # [CLS] and 16 patches
        torch.Size([5, 17, 24])
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        decoder: Decoder | None,
        *,
        normalised_targets: bool | None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        antialias: bool = False,
    ) -> None:
        super().__init__(mean=mean, std=std)
        architecture.check(encoder)
        if encoder.num_classes:
            encoder.reset_classifier(0)
        self.encoder, self.decoder = encoder, decoder
        self.antialias = antialias
        record = self.architecture
        self.pixels = pixels.scale_of(mean, std, record.channels, normalised_targets)
        self.image_size, self.vit_patch_size, self.channels = record.image_size, record.vit_patch_size, record.channels
        self.width, self.depth, self.num_heads = record.width, record.depth, record.num_heads
        self.num_prefix_tokens, self.class_token = int(encoder.num_prefix_tokens), encoder.cls_token is not None

    @classmethod
    def create(
        cls,
        *,
        image_size: tuple[int, int],
        vit_patch_size: int,
        width: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4,
        decoder_width: int,
        decoder_depth: int,
        decoder_num_heads: int,
        channels: int = 3,
        normalised_targets: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        seed: int | None = None,
    ) -> MaskedAutoencoder:
        """A fresh model as MAE initialises it: sin-cos positions, Xavier-uniform weights, tokens of deviation 0.02.

        Args:
            image_size: (height, width) in pixels, multiples of the ViT patch.
            vit_patch_size: side of the ViT patch in pixels.
            width, depth, num_heads: of the encoder: size of a token, number of blocks, attention heads in each.
            mlp_ratio: hidden width of the encoder's MLPs, as a multiple of `width`; the decoder's is always 4.
            decoder_width, decoder_depth, decoder_num_heads: the same of the decoder.
            channels: of the images.
            normalised_targets: whether the decoder predicts per-patch normalised pixels.
            mean, std: of the pixels in [0, 1], per channel; ImageNet's where None and there are three.
            seed: of the weights; None draws from torch's global generator.

        Returns:
            The model on the CPU, in training mode.
        """
        record = Architecture(
            image_size, vit_patch_size, width, depth, num_heads, int(width * mlp_ratio), channels,
            decoder=DecoderArchitecture(decoder_width, decoder_depth, decoder_num_heads, 4 * decoder_width),
        )  # fmt: skip
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            encoder, decoder = record.build("cpu"), record.build_decoder("cpu")
            model = cls(encoder, decoder, normalised_targets=normalised_targets, mean=mean, std=std)
            model.initialise()
        return model

    def initialise(self) -> None:
        """Draw every weight anew, as MAE does, from torch's global generator; layer norms become the identity."""
        initialisation.initialise(self.encoder, self.decoder)

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def architecture(self) -> Architecture:
        """The record of what determines the arithmetic besides the weights."""
        return Architecture.of(self.encoder, self.decoder, antialias=self.antialias)

    @property
    def normalised_targets(self) -> bool | None:
        """Whether the decoder predicts per-patch normalised pixels; None if unknown (taken as plain)."""
        return self.pixels.normalised_targets

    @normalised_targets.setter
    def normalised_targets(self, value: bool | None) -> None:
        self.pixels.normalised_targets = value

    @property
    def has_decoder(self) -> bool:
        return self.decoder is not None

    @property
    def no_attention(self) -> str | None:
        """Why attention cannot be read: some block types do not compute softmax(q k) v; None if it can."""
        opens = all(blocks.opens(block) for block in self.encoder.blocks)
        return None if opens else f"the attention of {type(self.encoder.blocks[0]).__name__} blocks cannot be read"

    @property
    def no_twin(self) -> str | None:
        return None

    @property
    def poolings(self) -> tuple[str, ...]:
        """The names that `pool` takes for this model."""
        return (("cls",) if self.class_token else ()) + ("mean", "native")

    def shapes(self, height: int, width: int) -> tuple[LayerShape, ...]:
        """See `TokenModel.shapes`: every layer holds the same."""
        rows, columns = self.grid(height, width)
        return (LayerShape(rows * columns, (rows, columns), self.width),) * (self.depth + 1)

    def get_extra_state(self) -> Tensor:
        """What shapes do not tell, as JSON in a uint8 tensor, so that a bare `state_dict()` is read back exactly."""
        text = json.dumps(self.description(), sort_keys=True)
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse the state of a model whose shapes may agree but whose arithmetic differs."""
        theirs, ours = json.loads(bytes(state.tolist())), self.description()
        architecture.refuse_other(theirs, ours)

    def description(self) -> dict[str, Any]:
        """What the shapes of the tensors do not tell, as JSON-able values."""
        return architecture.described(self.architecture) | {
            "normalised_targets": self.normalised_targets,
            "mean": [round(value, 6) for value in self.mean.tolist()],
            "std": [round(value, 6) for value in self.std.tolist()],
        }

    # --- forward ----------------------------------------------------------------------------------------------------

    def encode(self, images: Tensor, hidden: Tensor | None = None) -> Tensor:
        """The encoder's features.

        Args:
            images: float (batch, channels, height, width), normalised by `mean` and `std`; height and width are
                multiples of the ViT patch.
            hidden: bool (batch, patches) in raster order, True = hidden, the same number in every row; None hides
                nothing.

        Returns:
            Tokens after the final norm: (batch, prefix + visible, width), prefix first, patches in raster order.

        Raises:
            DataError: images of other channels, or of a size that the ViT patch does not divide.
            MaskError: a mask of another shape, or with unequal numbers of hidden patches.
        """
        visible, grid = self._check(images, hidden)
        return self._encode(images, visible, grid)

    def trace(self, images: Tensor, hidden: Tensor | None = None, *, attention: bool = True) -> Iterator[Layer]:
        """One forward, layer by layer: what is not kept by the caller is freed before the next layer is computed.

        Args:
            images, hidden: as in `encode`.
            attention: also give the softmax probabilities, computed once, in this forward.

        Yields:
            `Layer` 0..L. The last one's tokens are after the final norm and equal `encode`.
        """
        if attention and self.no_attention:
            raise ProbekitError(f"There is no attention: {self.no_attention}. Call with attention=False.")
        visible, grid = self._check(images, hidden)
        x = embedding.embed(self.encoder, images, visible, grid, antialias=self.antialias)
        yield Layer(0, x, None)
        for index, (block, place) in enumerate(self._placed(visible, grid), start=1):
            probabilities = None
            if attention:
                x, probabilities = blocks.forward_with_probabilities(block, x, place)
            else:
                x = blocks.forward(block, x, place)
            yield Layer(index, self.encoder.norm(x) if index == self.depth else x, probabilities)
            del probabilities

    def predict(self, images: Tensor, hidden: Tensor | None = None, *, hidden_only: bool = False) -> Tensor:
        """The decoder's output for every patch.

        Args:
            images, hidden: as in `encode`.
            hidden_only: predict the hidden patches alone, which the training loss needs: (batch, hidden, ...).

        Returns:
            (batch, patches, vit_patch_size² * channels), in raster order; a patch's values as (row, column, channel).

        Raises:
            CheckpointError: there is no decoder.
        """
        decoder = self._decoder()
        if hidden_only and hidden is None:
            raise MaskError("hidden_only=True needs a mask: give `hidden`.")
        visible, grid = self._check(images, hidden)
        wanted = embedding.columns(hidden.to(images.device)) if hidden_only and hidden is not None else None
        predicted: Tensor = decoder(self._encode(images, visible, grid), visible, grid, wanted)
        return predicted

    def predict_at(self, images: Tensor, visible: Tensor | None, wanted: Tensor) -> Tensor:
        """`predict` for some patches, with the mask as column numbers; nothing is checked, so no device is waited for.

        Args:
            images: float (batch, channels, height, width), normalised.
            visible: int64 (batch, visible), the patches that the encoder sees; None if all.
            wanted: int64 (batch, n), the patches to predict.

        Returns:
            (batch, n, vit_patch_size² * channels).
        """
        grid = self.grid(*images.shape[-2:])
        predicted: Tensor = self._decoder()(self._encode(images, visible, grid), visible, grid, wanted)
        return predicted

    def reconstruct(
        self, images: Tensor, hidden: Tensor | None = None, *, statistics: str = "image", paste_visible: bool = False
    ) -> Tensor:
        """The predicted picture.

        Args:
            images: as in `encode`.
            hidden: as in `encode`; None is reconstruction without masking: every patch is seen, every patch predicted.
            statistics: where means and variances come from if targets are normalised: `image` (one of each from all
                visible pixels), `neighbours` (interpolated from visible patches), `target` (the oracle: leaks).
            paste_visible: show visible patches as they are instead of as predicted. Not for metrics.

        Returns:
            (batch, channels, height, width), in [0, 1], clipped.

        Raises:
            MaskError: `statistics` or `paste_visible` needs a mask that was not given.
        """
        pixels.check_statistics(statistics, hidden)
        if paste_visible and hidden is None:
            raise MaskError("paste_visible=True without a mask would return the images themselves. Give `hidden`.")
        prediction = self.predict(images, hidden)
        hidden = None if hidden is None else hidden.to(images.device)
        grid, patches = self.grid(*images.shape[-2:]), self.patchify(images)
        if self.normalised_targets:
            prediction = pixels.undo_normalisation(prediction, patches, hidden, grid, statistics)
        if paste_visible and hidden is not None:
            prediction = torch.where(hidden[..., None], prediction, patches)
        return self.pixels.picture(pixels.unpatchify(prediction, self.vit_patch_size, grid))

    def forward(self, images: Tensor, hidden: Tensor | None = None, *, hidden_only: bool = False) -> Tensor:
        """`predict` where there is a decoder, `encode` where there is none (what wrappers such as DDP call)."""
        if self.decoder is None:
            return self.encode(images, hidden)
        return self.predict(images, hidden, hidden_only=hidden_only)

    def patchify(self, images: Tensor) -> Tensor:
        """(batch, patches, vit_patch_size² * channels), raster order, pixels as (row, column, channel)."""
        self.grid(*images.shape[-2:])
        return pixels.patchify(images, self.vit_patch_size)

    def targets(self, images: Tensor) -> Tensor:
        """What the decoder is trained to predict: the patches, normalised each if `normalised_targets`."""
        patches = self.patchify(images)
        return pixels.normalise(patches) if self.normalised_targets else patches

    def pool(self, tokens: Tensor, pooling: str) -> Tensor:
        """One vector per image from the tokens of any layer.

        Args:
            tokens: (batch, prefix + visible, width).
            pooling: `cls`; `mean` = patch tokens only, through `fc_norm` where there is one; `native` = the input of
                the model's own head.

        Returns:
            (batch, width).
        """
        self.check_pooling(pooling)
        encoder = self.encoder
        headless = not encoder.global_pool  # then the head takes [CLS], or the mean where there is none
        if pooling == "cls" or (pooling == "native" and headless and encoder.cls_token is not None):
            return tokens[:, 0]
        patches = pooling == "mean" or headless
        pooled: Tensor = tokens[:, self.num_prefix_tokens :].mean(dim=1) if patches else encoder.pool(tokens)
        pooled = encoder.fc_norm(pooled)
        return pooled

    def _decoder(self) -> Decoder:
        if self.decoder is None:
            raise CheckpointError(
                "This checkpoint is an encoder alone: it cannot predict or reconstruct pixels. Load a file that "
                "holds the decoder (for MAE, one named *_full or mae_visualize_*)."
            )
        return self.decoder

    def _check(self, images: Tensor, hidden: Tensor | None) -> tuple[Tensor | None, tuple[int, int]]:
        """Indices of visible patches, int64 (batch, visible) or None for all, and the grid; or the error."""
        embedding.check_images(images, self.channels)
        grid = self.grid(*images.shape[-2:])
        return embedding.visible(images, hidden, grid[0] * grid[1]), grid

    def _placed(self, visible: Tensor | None, grid: tuple[int, int]) -> Iterator[tuple[Any, relative.Place | None]]:
        """The encoder's blocks, each with where its tokens stand."""
        places = relative.places(self.encoder, grid, visible, prefix=self.num_prefix_tokens)
        return zip(self.encoder.blocks, places, strict=True)

    def _encode(self, images: Tensor, visible: Tensor | None, grid: tuple[int, int]) -> Tensor:
        x = embedding.embed(self.encoder, images, visible, grid, antialias=self.antialias)
        for block, place in self._placed(visible, grid):
            x = blocks.forward(block, x, place)
        tokens: Tensor = self.encoder.norm(x)
        return tokens
