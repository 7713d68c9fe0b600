"""What determines a run: every setting that changes the weights is here, and a run directory records all of them.

The decision behind this module: a run is a pure function of `Settings`. Initial weights, the order of the images, their
augmentation and every mask are derived from (seed, step), so going on after an interruption needs no generator states,
and two runs with equal settings (on the same machine, with the same number of processes and threads) end with the same
bits. What does not change the weights (where to write, how often to save, which tracker) is an argument of `train` and
is not recorded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from probekit import masking
from probekit.constants import IMAGENET_MEAN, IMAGENET_STD
from probekit.data.randomness import words
from probekit.errors import MaskError, TrainingError, did_you_mean
from probekit.training import recipe
from probekit.training.recipe import Recipe, choose_precision

IMAGENET_IMAGES = 1_281_167

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "image_size": 32, "vit_patch_size": 4, "width": 64, "depth": 4, "num_heads": 4,
        "decoder_width": 48, "decoder_depth": 1, "decoder_num_heads": 4, "batch_size": 64,
        "base_lr": 8e-3, "images": 500_000,
    },
    "small": {
        "image_size": 224, "vit_patch_size": 16, "width": 384, "depth": 12, "num_heads": 6,
        "decoder_width": 256, "decoder_depth": 4, "decoder_num_heads": 8, "batch_size": 1024,
        "base_lr": 1.5e-4, "images": 800 * IMAGENET_IMAGES,
    },
    "base": {
        "image_size": 224, "vit_patch_size": 16, "width": 768, "depth": 12, "num_heads": 12,
        "decoder_width": 512, "decoder_depth": 8, "decoder_num_heads": 16, "batch_size": 4096,
        "base_lr": 1.5e-4, "images": 800 * IMAGENET_IMAGES,
    },
    "large": {
        "image_size": 224, "vit_patch_size": 16, "width": 1024, "depth": 24, "num_heads": 16,
        "decoder_width": 512, "decoder_depth": 8, "decoder_num_heads": 16, "batch_size": 4096,
        "base_lr": 1.5e-4, "images": 800 * IMAGENET_IMAGES,
    },
}  # fmt: skip
"""Model sizes. `base` and `large` are MAE's ViT-B/16 and ViT-L/16 with its 8-block decoder of width 512 and its batch;
`tiny` is what ships with probekit. Every entry can be overridden by an argument of the same name."""

COUNTS = (
    "width", "depth", "num_heads", "decoder_width", "decoder_depth", "decoder_num_heads", "channels",
)  # fmt: skip
ATTENTIONS = ("auto", "product", "fused")
PRODUCT_TOKENS = 64
"""Up to so many tokens the explicit product is faster on a processor: 9 times at 17 tokens with heads of 16; at 65 they
are equal, and at 197 scaled_dot_product_attention is 1.6 times faster (one thread, forward and backward)."""

EARLIER: dict[str, Any] = {"attention": "fused", "channels": 3, "init": "", "init_sha256": "", "init_tensors": ""}
"""Settings that older run directories do not name, and what those runs were trained with."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recipe):
    """Everything that the trained weights depend on: what every `Recipe` has, and what is of pretraining alone.

    Attributes:
        mask_ratio: share of mask units that are hidden, in (0, 1).
        patch_size: the mask unit, the smallest square that is hidden as a whole, in pixels.
        vit_patch_size: the ViT's own patch in pixels; divides `patch_size`.
        strategy: how masks are drawn: "random", "block" or "structure" (`probekit.masking`).
        boundary: count hidden patches that touch a visible one (above, below, left, right) in the loss; False leaves
            them out (section 3.6 of Kong et al. 2023).
        normalise_targets: predict pixels normalised per patch, as MAE's released encoders do, or plain pixels.
        augment: MAE's augmentation (a random crop of 20 to 100 % of the area, and a horizontal flip).
        attention: "product" multiplies queries and keys in layers of at most `PRODUCT_TOKENS` tokens, "fused"
            calls scaled_dot_product_attention everywhere; "auto" follows `choose_attention`.
        channels: of the images that the model takes; those of the image set unless stated.
        mean, std: of pixels in [0, 1], one number a channel.
        init, init_sha256, init_tensors: the checkpoint whose weights the run begins with, its file's sha256 and that of
            its tensors; empty for fresh weights. They come from `train(init=)`.

    Example:
        >>> known = {"data": "noise", "data_fingerprint": "-", "seed": 0, "mask_ratio": 0.75, "patch_size": 4}
        >>> settings = resolve("tiny", {"images": 6_400}, **known)
        >>> settings.grid, settings.steps
        ((8, 8), 100)
    """

    mask_ratio: float
    patch_size: int
    image_size: tuple[int, int]
    vit_patch_size: int
    width: int
    depth: int
    num_heads: int
    decoder_width: int
    decoder_depth: int
    decoder_num_heads: int
    strategy: str = "random"
    boundary: bool = True
    normalise_targets: bool = False
    augment: bool = True
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    attention: str = "auto"
    compile: bool = False
    snapshots: tuple[float, ...] = (1 / 8, 1 / 4, 1 / 2)
    init: str = ""
    init_sha256: str = ""
    init_tensors: str = ""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of ViT patches."""
        return self.image_size[0] // self.vit_patch_size, self.image_size[1] // self.vit_patch_size

    def snapshot_steps(self) -> dict[int, float]:
        """Step after which a snapshot is written -> share of training; the end itself is not among them."""
        found = {round(self.steps * share): share for share in sorted(self.snapshots)}
        return {step: share for step, share in found.items() if 0 < step < self.steps}


def resolve(preset: str, overrides: dict[str, Any], **known: Any) -> Settings:
    """Settings from a preset, with overrides; checked, so that whatever cannot work fails here and not hours later.

    Args:
        preset: a name in `PRESETS`.
        overrides: any field of `Settings`; None means "as the preset has it".
        known: the fields that a preset does not give.
    """
    settings = recipe.resolved(Settings, "train", PRESETS, preset, overrides, known)
    check(settings)
    return settings


def check(settings: Settings) -> None:
    """Raise for everything that is known to fail before the first step.

    Raises:
        TrainingError: sizes that do not fit one another, or numbers out of range.
        MaskError: a ratio that hides everything or nothing, or a mask unit that does not fit the image.
    """
    height, width = settings.image_size
    patch = settings.vit_patch_size
    if patch < 1 or min(height, width) < patch or height % patch or width % patch:
        raise TrainingError(
            f"Images of {height} x {width} pixels are no whole number of ViT patches of {patch} x {patch}. Expected a "
            "`vit_patch_size` that divides both sides, or another `image_size`."
        )
    recipe.check_counts(settings, COUNTS)
    recipe.check(settings)
    if not settings.init:  # weights that exist fit one another
        check_width("", settings.width, settings.num_heads)
        check_width("decoder_", settings.decoder_width, settings.decoder_num_heads)
    if settings.attention not in ATTENTIONS:
        raise TrainingError(f"attention={settings.attention!r}. {did_you_mean(settings.attention, ATTENTIONS)}")
    check_scale(settings)
    check_masks(settings)


def check_width(side: str, width: int, heads: int) -> None:
    """Raise for a width of the encoder (side "") or the decoder ("decoder_") that cannot be built."""
    if width % heads or width % 4:
        raise TrainingError(
            f"{side}width={width} with {side}num_heads={heads}: expected a width that is a multiple of the "
            "heads and of 4 (the position embedding has four parts)."
        )


def check_scale(settings: Settings) -> None:
    """Raise for snapshots and a scale of pixels that are out of their range, NaN included."""
    recipe.check_ranges(settings, {
        "snapshots": ("shares of training between 0 and 1", all(0 < share < 1 for share in settings.snapshots)),
        "mean": (
            f"finite numbers, one for each channel of {settings.channels}",
            len(settings.mean) == settings.channels and all(map(math.isfinite, settings.mean)),
        ),
        "std": (
            f"finite numbers above 0, one for each channel of {settings.channels}",
            len(settings.std) == settings.channels and all(0 < deviation < math.inf for deviation in settings.std),
        ),
    })  # fmt: skip


def check_masks(settings: Settings) -> None:
    """Draw one mask and see what it hides: the rules live in `probekit.masking`."""
    hidden, _ = draw_masks(settings, 256, step=0)
    if not settings.boundary and not interior(hidden, settings.grid).any():
        raise MaskError(
            f"boundary=False leaves nothing to learn from: at mask_ratio={settings.mask_ratio} and patch_size="
            f"{settings.patch_size} every hidden patch touches a visible one. Raise either, or keep the boundary."
        )


def draw_masks(settings: Settings, n: int, step: int) -> tuple[torch.Tensor, float]:
    """The masks of a step: a pure function of (seed, step).

    Returns:
        hidden: bool (n, patches), True where hidden; and the real ratio of hidden patches.
    """
    return masking.sample_hidden(n, settings.grid, **masked_by(settings), generator=mask_generator(settings.seed, step))


def draw_masks_of(settings: Settings, steps: range) -> torch.Tensor:
    """The masks of several steps, those of `draw_masks`: bool (steps, batch_size, patches)."""
    generators = [mask_generator(settings.seed, step) for step in steps]
    return masking.sample_hidden_each(settings.batch_size, settings.grid, **masked_by(settings), generators=generators)


def mask_generator(seed: int, step: int) -> torch.Generator:
    """The generator of a step's masks."""
    return torch.Generator().manual_seed(words("masks", seed, step)[0] >> 1)


def masked_by(settings: Settings) -> dict[str, Any]:
    """The settings that `probekit.masking` draws by."""
    return {name: getattr(settings, name) for name in ("mask_ratio", "patch_size", "vit_patch_size", "strategy")}


@lru_cache(maxsize=1024)
def hidden_patches(settings: Settings) -> int:
    """How many patches of every image are hidden."""
    return int(draw_masks(settings, 1, step=0)[0].sum())


def interior(hidden: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Hidden patches with no visible one of their four neighbours: bool (batch, patches). Edges are no boundary."""
    mask = hidden.view(-1, *grid)
    inner = mask.clone()
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    inner[:, :, 1:] &= mask[:, :, :-1]
    inner[:, :, :-1] &= mask[:, :, 1:]
    return inner.flatten(1)


def choose_attention(attention: str, device: torch.device) -> str:
    """The recorded rule behind "auto": the explicit product for short sequences on a processor, else the fused one."""
    if attention != "auto":
        return attention
    return "product" if device.type == "cpu" else "fused"


def on_device(settings: Settings, device: torch.device) -> Settings:
    """Settings with every "auto" resolved for the device that the run is on."""
    return replace(
        settings,
        precision=choose_precision(settings.precision, settings.width, device),
        attention=choose_attention(settings.attention, device),
    )
