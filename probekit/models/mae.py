"""The one model class: a timm `VisionTransformer` as encoder and, where the checkpoint has one, our decoder.

Masks are inputs, never drawn inside, so that any two models can be given the same ones. Hidden patches are dropped
before they are embedded: the patch projection is a linear map of unfolded patches, and only visible patches are
unfolded into it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from probekit.errors import CheckpointError, MaskError, ProbekitError
from probekit.models import architecture, blocks, embedding, pixels, positions, relative
from probekit.models.architecture import Architecture, DecoderArchitecture
from probekit.models.contract import Layer, LayerShape, TokenModel
from probekit.models.decoder import Decoder


class MaskedAutoencoder(TokenModel):
    """A vision transformer that can leave out patches, and the decoder that predicts them, if there is one.

    Images are float (batch, channels, height, width), normalised by `mean` and `std`; height and width are multiples of
    the ViT patch. `hidden` is bool (batch, patches) in raster order, True = hidden, the same number in every row; None
    hides nothing.

    Args:
        encoder: a timm `VisionTransformer` with square patches; its classification head is dropped.
        decoder: None for an encoder alone.
        normalised_targets: whether the decoder predicts per-patch normalised pixels; None if unknown (taken as plain).
        mean, std: of the pixels in [0, 1], one number a channel; None = as assumed where nothing is recorded (three
            channels: ImageNet's).
        antialias: how encoder positions are resampled for other image sizes: False as MAE does, True as timm does.
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
        mean, std = (mean, std) if mean is not None and std is not None else pixels.assumed_scale(record.channels)[:2]
        if len(mean) != record.channels or len(std) != record.channels:
            raise CheckpointError(
                f"mean has {len(mean)} numbers and std {len(std)}; the encoder takes images of {record.channels} "
                "channels. Give one number of each for every channel."
            )
        self.pixels = pixels.PixelScale(tuple(map(float, mean)), tuple(map(float, std)), normalised_targets)
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
            image_size: (height, width) in pixels.
            channels: of the images.
            mean, std: of the pixels in [0, 1], per channel; ImageNet's where None and there are three.
            seed: of the weights; None draws from torch's global generator.
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

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw every weight anew, as MAE does, from torch's global generator; layer norms become the identity."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        encoder, grid = self.encoder, self.encoder.patch_embed.grid_size
        if encoder.cls_token is not None:
            nn.init.normal_(encoder.cls_token, std=0.02)
        if encoder.pos_embed is not None:
            encoder.pos_embed.copy_(positions.sin_cos(grid, self.width, num_prefix_tokens=self.num_prefix_tokens))
            encoder.pos_embed.requires_grad_(False)
        relative.initialise(encoder)
        if self.decoder is not None:
            self.decoder.initialise_positions()

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
        """Some block types' attention is no plain softmax (q k) v."""
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
        for name in ("num_heads", "decoder_num_heads", "layer_norm_eps", "decoder_layer_norm_eps", "grid"):
            if name in theirs and theirs[name] != ours[name]:
                raise CheckpointError(
                    f"These weights are of a model with {name} = {theirs[name]}, this one has {ours[name]}. Load "
                    "the file with probekit.load instead, which builds the model to fit."
                )

    def description(self) -> dict[str, Any]:
        """What the shapes of the tensors do not tell, as JSON-able values."""
        record, decoder = self.architecture, self.architecture.decoder
        return {
            "num_heads": record.num_heads,
            "decoder_num_heads": None if decoder is None else decoder.num_heads,
            "grid": list(record.grid),
            "layer_norm_eps": record.layer_norm_eps,
            "decoder_layer_norm_eps": None if decoder is None else decoder.layer_norm_eps,
            "normalised_targets": self.normalised_targets,
            "mean": [round(value, 6) for value in self.mean.tolist()],
            "std": [round(value, 6) for value in self.std.tolist()],
            "antialias": record.antialias,
            "global_pool": record.global_pool,
            "qkv_bias": record.qkv_bias,
        } | architecture.unusual(record)

    # --- forward ----------------------------------------------------------------------------------------------------

    def encode(self, images: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Tokens after the final norm: (batch, prefix + visible, width), prefix first, patches in raster order."""
        visible, grid = self._check(images, hidden)
        return self._encode(images, visible, grid)

    def trace(self, images: Tensor, hidden: Tensor | None = None, *, attention: bool = True) -> Iterator[Layer]:
        """One forward, layer by layer: what is not kept by the caller is freed before the next layer is computed.

        Args:
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
            x, probabilities = (
                blocks.forward_with_probabilities(block, x, place)
                if attention
                else (blocks.forward(block, x, place), None)
            )
            yield Layer(index, self.encoder.norm(x) if index == self.depth else x, probabilities)
            del probabilities

    def predict(self, images: Tensor, hidden: Tensor | None = None, *, hidden_only: bool = False) -> Tensor:
        """The decoder's output: (batch, patches, vit_patch_size² * channels), raster order.

        A patch's values are in the order (row, column, channel).

        Args:
            hidden_only: give the hidden patches alone, (batch, hidden, ...), and spare the work for the others in the
                last block: what the training loss needs.
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
        """The predicted picture, in [0, 1], clipped: (batch, channels, height, width).

        Args:
            hidden: None is reconstruction without masking: every patch is seen, every patch predicted.
            statistics: where means and variances come from if targets are normalised: `image` (one of each from all
                visible pixels), `neighbours` (interpolated from visible patches), `target` (the oracle: leaks).
            paste_visible: show visible patches as they are instead of as predicted. Not for metrics.
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
        picture = pixels.unpatchify(prediction, self.vit_patch_size, grid)
        mean, std = self.pixels.tensors(picture.device)
        return (picture * std + mean).clamp(0, 1)

    def forward(self, images: Tensor, hidden: Tensor | None = None, *, hidden_only: bool = False) -> Tensor:
        """`predict` where there is a decoder, `encode` where there is none (what wrappers such as DDP call)."""
        return (
            self.encode(images, hidden)
            if self.decoder is None
            else self.predict(images, hidden, hidden_only=hidden_only)
        )

    def patchify(self, images: Tensor) -> Tensor:
        """(batch, patches, vit_patch_size² * channels), raster order, pixels as (row, column, channel)."""
        self.grid(*images.shape[-2:])
        return pixels.patchify(images, self.vit_patch_size)

    def targets(self, images: Tensor) -> Tensor:
        """What the decoder is trained to predict: the patches, normalised each if `normalised_targets`."""
        patches = self.patchify(images)
        return pixels.normalise(patches) if self.normalised_targets else patches

    def pool(self, tokens: Tensor, pooling: str) -> Tensor:
        """(batch, width) from the tokens of any layer.

        Args:
            tokens: (batch, prefix + visible, width).
            pooling: `cls`; `mean` = patch tokens only, through `fc_norm` where there is one; `native` = the input of
                the model's own head.
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

    # --- parts ------------------------------------------------------------------------------------------------------

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
