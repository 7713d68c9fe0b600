"""Architectures: one record of what determines a model's arithmetic besides its weights.

The record is read off a model here (`Architecture.of`) or off the shapes of tensors (`inference`), and it builds the
modules again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, NamedTuple

from timm.layers.mlp import Mlp, SwiGLU, SwiGLUPacked
from timm.layers.norm import RmsNorm
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from probekit.errors import CheckpointError
from probekit.models import relative
from probekit.models.decoder import Decoder, set_heads

MLPS: dict[str, Any] = {"mlp": Mlp, "swiglu_packed": SwiGLUPacked, "swiglu": SwiGLU}
MLP_NAMES = {"Mlp": "mlp", "GluMlp": "swiglu_packed", "SwiGLU": "swiglu"}
NORMS: dict[str, Any] = {"layer": nn.LayerNorm, "rms": RmsNorm}
ACTIVATIONS = {
    "GELU": "gelu", "SiLU": "silu", "Swish": "silu", "QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh", "ReLU": "relu",
}  # fmt: skip
"""timm's names of activations by their class."""


class DecoderArchitecture(NamedTuple):
    """The decoder's part of an `Architecture`; its grid and patches are the encoder's.

    `head_dim` is None where it is width / num_heads. `prefix` is how many of the encoder's prefix tokens the decoder
    takes; None = all. `positions` and what follows are as in `Architecture`.
    """

    width: int
    depth: int
    num_heads: int
    mlp_hidden: int
    layer_norm_eps: float = 1e-6
    qkv_bias: bool = True
    head_dim: int | None = None
    final_norm: bool = True
    prefix: int | None = None
    layer_scale: bool = False
    positions: bool = True
    rotary: dict[str, Any] | None = None
    relative: str = ""
    relative_prefix: bool = False


@dataclass(frozen=True)
class Architecture:
    """What determines the arithmetic of a timm `VisionTransformer` and of our decoder.

    `image_size` is (height, width) in pixels of the position table's grid. `block` names the class of timm's blocks;
    only `Block` can be built from this record. `antialias` says how positions are resampled for other image sizes.
    `head_dim` is None where it is width / num_heads. `patch_pre_norm` is a norm of a patch's pixels before their
    projection, `patch_norm` one after it. `rotary` is the record of rotary positions (`relative.recorded`); `relative`
    says where biases by distance are, "blocks" or "shared", and `relative_prefix` whether [CLS] has some.
    """

    image_size: tuple[int, int]
    vit_patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_hidden: int
    channels: int = 3
    mlp: str = "mlp"
    norm: str = "layer"
    activation: str = "gelu"
    layer_norm_eps: float = 1e-6
    qkv_bias: bool = True
    qk_norm: bool = False
    layer_scale: bool = False
    class_token: bool = True
    registers: int = 0
    positions: bool = True
    positions_cover_prefix: bool = True
    pre_norm: bool = False
    final_norm: bool = True
    fc_norm: bool = False
    global_pool: str = "token"
    head_dim: int | None = None
    patch_pre_norm: bool = False
    patch_norm: bool = False
    attention_norm: bool = False
    mlp_norm: bool = False
    rotary: dict[str, Any] | None = None
    relative: str = ""
    relative_prefix: bool = False
    block: str = "Block"
    antialias: bool = False
    decoder: DecoderArchitecture | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return self.image_size[0] // self.vit_patch_size, self.image_size[1] // self.vit_patch_size

    @classmethod
    def of(cls, encoder: VisionTransformer, decoder: Decoder | None = None, *, antialias: bool = False) -> Architecture:
        """The record of modules that exist."""
        block: Any = encoder.blocks[0]
        embed: Any = encoder.patch_embed
        attention, mlp = getattr(block, "attn", None), getattr(block, "mlp", None)
        first = getattr(mlp, "fc1_g", None) or getattr(mlp, "fc1", None)
        kind, activation = type(mlp).__name__, type(getattr(mlp, "act", None)).__name__
        return cls(
            image_size=(int(embed.img_size[0]), int(embed.img_size[1])),
            vit_patch_size=int(embed.patch_size[0]),
            width=int(encoder.embed_dim),
            depth=len(encoder.blocks),
            num_heads=num_heads(encoder),
            mlp_hidden=0 if first is None else int(first.out_features),
            channels=int(embed.proj.weight.shape[1]),
            mlp=MLP_NAMES.get(kind, kind),
            norm="rms" if isinstance(getattr(block, "norm1", None), RmsNorm) else "layer",
            activation=ACTIVATIONS.get(activation, activation),
            layer_norm_eps=epsilon(encoder),
            qkv_bias=any(name.endswith("qkv.bias") for name, _ in block.named_parameters()),
            qk_norm=not isinstance(getattr(attention, "q_norm", nn.Identity()), nn.Identity),
            layer_scale=not isinstance(getattr(block, "ls1", nn.Identity()), nn.Identity),
            class_token=encoder.cls_token is not None,
            registers=int(encoder.num_reg_tokens),
            positions=encoder.pos_embed is not None,
            positions_cover_prefix=not encoder.no_embed_class,
            pre_norm=not isinstance(encoder.norm_pre, nn.Identity),
            final_norm=not (isinstance(encoder.norm, nn.Identity) and isinstance(encoder.fc_norm, nn.Identity)),
            fc_norm=not isinstance(encoder.fc_norm, nn.Identity),
            global_pool=str(encoder.global_pool),
            head_dim=_head_dim(attention, int(encoder.embed_dim)),
            patch_pre_norm=isinstance(getattr(embed, "pre", None), nn.LayerNorm),
            patch_norm=not isinstance(embed.norm, nn.Identity),
            attention_norm=not isinstance(getattr(attention, "norm", nn.Identity()), nn.Identity),
            mlp_norm=not isinstance(getattr(mlp, "norm", nn.Identity()), nn.Identity),
            block=type(block).__name__,
            antialias=antialias,
            decoder=None if decoder is None else _decoder_of(decoder),
            **_positions_of(encoder),
        )

    def build(self, device: str = "meta") -> VisionTransformer:
        """The encoder, its weights not initialised (on `meta`: not even allocated)."""
        pool: Any = self.global_pool
        norm = partial(NORMS[self.norm], eps=self.layer_norm_eps)
        optional: dict[str, Any] = {"embed_norm_layer": norm} if self.patch_norm else {}
        encoder = VisionTransformer(
            img_size=self.image_size,
            patch_size=self.vit_patch_size,
            in_chans=self.channels,
            num_classes=0,
            global_pool=pool,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.num_heads if self.head_dim is None else 1,
            mlp_ratio=(self.mlp_hidden + 0.5) / self.width,  # timm rounds down: the half guards the quotient's rounding
            qkv_bias=self.qkv_bias,
            qk_norm=self.qk_norm,
            init_values=1e-5 if self.layer_scale else None,
            class_token=self.class_token,
            reg_tokens=self.registers,
            pos_embed="learn" if self.positions else "none",
            no_embed_class=not self.positions_cover_prefix,
            pre_norm=self.pre_norm,
            final_norm=self.final_norm,
            fc_norm=self.fc_norm,
            scale_attn_norm=self.attention_norm,
            scale_mlp_norm=self.mlp_norm,
            norm_layer=norm,
            act_layer=nn.GELU if self.activation == "gelu" else self.activation,
            mlp_layer=MLPS[self.mlp],
            weight_init="skip",
            device=device,
            **optional,
        )
        if self.head_dim is not None:
            blocks: Any = encoder.blocks
            set_heads(blocks, self.width, self.num_heads, self.head_dim, qkv_bias=self.qkv_bias, device=device)
        prefix = self.registers + self.class_token
        relative.install(encoder, self, self.grid, width=self.width, prefix=prefix, norm=norm, device=device)
        if self.patch_pre_norm:
            values = self.channels * self.vit_patch_size**2
            encoder.patch_embed.add_module("pre", nn.LayerNorm(values, eps=self.layer_norm_eps, device=device))
        return encoder

    def build_decoder(self, device: str = "meta") -> Decoder:
        """The decoder, its weights not initialised."""
        if self.decoder is None:
            raise ValueError("This architecture has no decoder.")
        return Decoder(
            encoder_width=self.width,
            vit_patch_size=self.vit_patch_size,
            channels=self.channels,
            grid=self.grid,
            num_prefix_tokens=self.registers + self.class_token,
            device=device,
            positions=self.decoder,
            **{name: value for name, value in self.decoder._asdict().items() if name not in POSITIONS},
        )

    def encoder_record(self) -> dict[str, Any]:
        """The encoder's fields as JSON takes them; `Architecture(**record)` builds the same encoder."""
        later: dict[str, Any] = {"channels": 3, "head_dim": None, "patch_pre_norm": False, "patch_norm": False}
        later |= {"attention_norm": False, "mlp_norm": False, "rotary": None, "relative": "", "relative_prefix": False}
        left_out = {"decoder", "antialias", "block", *(n for n, usual in later.items() if getattr(self, n) == usual)}
        return {name: value for name, value in asdict(self).items() if name not in left_out}


FIELDS = {field.name for field in fields(Architecture)} | {f"decoder_{name}" for name in DecoderArchitecture._fields}
"""Names under which a file or a caller states what `infer` takes as known."""


POSITIONS = ("positions", "rotary", "relative", "relative_prefix")
"""What a `DecoderArchitecture` says of its positions."""


def _positions_of(module: Any) -> dict[str, Any]:
    """The fields of a record that say what positions there are in the attention of a module's blocks."""
    shared, own = getattr(module, "relative", None), getattr(module.blocks[0], "relative", None)
    table = own if own is not None else shared
    return {
        "rotary": relative.recorded(getattr(module, "rope", None)),
        "relative": "blocks" if own is not None else "shared" if shared is not None else "",
        "relative_prefix": table is not None and bool(table.extra),
    }


def described(record: Architecture) -> dict[str, Any]:
    """What the shapes of the tensors do not tell, as JSON-able values; rare parts only where there are any."""
    decoder = record.decoder
    found: dict[str, Any] = {
        "num_heads": record.num_heads,
        "decoder_num_heads": None if decoder is None else decoder.num_heads,
        "grid": list(record.grid),
        "layer_norm_eps": record.layer_norm_eps,
        "decoder_layer_norm_eps": None if decoder is None else decoder.layer_norm_eps,
        "antialias": record.antialias,
        "global_pool": record.global_pool,
        "qkv_bias": record.qkv_bias,
    }
    found |= {"rotary": record.rotary} if record.rotary is not None else {}
    if decoder is not None:
        found |= {} if decoder.final_norm else {"decoder_final_norm": False}
        found |= {} if decoder.rotary is None else {"decoder_rotary": decoder.rotary}
    return found


def refuse_other(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """CheckpointError where two descriptions of equal shapes differ in arithmetic."""
    for name in ("num_heads", "decoder_num_heads", "layer_norm_eps", "decoder_layer_norm_eps", "grid"):
        if name in theirs and theirs[name] != ours[name]:
            raise CheckpointError(
                f"These weights are of a model with {name} = {theirs[name]}, this one has {ours[name]}. Load the file "
                "with probekit.load instead, which builds the model to fit."
            )


def _decoder_of(decoder: Decoder) -> DecoderArchitecture:
    block: Any = decoder.blocks[0]
    return DecoderArchitecture(
        width=decoder.width,
        depth=decoder.depth,
        num_heads=decoder.num_heads,
        mlp_hidden=int(block.mlp.fc1.out_features),
        layer_norm_eps=float(block.norm1.eps),
        qkv_bias=block.attn.qkv.bias is not None,
        head_dim=_head_dim(block.attn, decoder.width),
        final_norm=not isinstance(decoder.norm, nn.Identity),
        prefix=decoder.num_prefix_tokens if decoder.dropped else None,
        layer_scale=not isinstance(block.ls1, nn.Identity),
        positions=decoder.pos_embed is not None,
        **_positions_of(decoder),
    )


def _head_dim(attention: Any, width: int) -> int | None:
    """Channels of a head where they are not width / heads."""
    heads, channels = getattr(attention, "num_heads", 0), getattr(attention, "head_dim", 0)
    return int(channels) if heads and channels and heads * channels != width else None


# --- what modules tell ------------------------------------------------------------------------------------------------


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a ViT that `MaskedAutoencoder` takes: timm's class itself, with its own patch embedding."""
    return type(module) is VisionTransformer and type(module.patch_embed).__name__ == "PatchEmbed"


def check(encoder: nn.Module) -> None:
    """Refuse encoders that are not a plain timm VisionTransformer, and name the part that differs."""
    kind = type(encoder)
    if kind is not VisionTransformer:
        raise CheckpointError(
            f"The encoder is a {kind.__module__}.{kind.__name__}; expected timm's VisionTransformer. Other classes do "
            "not take a part of the patches in a way that this model could reproduce."
        )
    embed: Any = encoder.patch_embed
    if type(embed).__name__ != "PatchEmbed":
        raise CheckpointError(f"The encoder embeds patches with {type(embed).__name__}; expected timm's PatchEmbed.")
    if embed.patch_size[0] != embed.patch_size[1]:
        raise CheckpointError(
            f"The encoder takes patches of {tuple(embed.patch_size)} pixels; expected square patches."
        )


def num_heads(encoder: VisionTransformer) -> int:
    """Attention heads per block; 0 for block types that keep none of their own."""
    return int(getattr(getattr(encoder.blocks[0], "attn", None), "num_heads", 0))


def epsilon(encoder: VisionTransformer) -> float:
    """The epsilon of the blocks' norms (layer norms, or RMS norms)."""
    found: Any = (getattr(module, "eps", None) for module in encoder.blocks.modules())
    return float(next(eps for eps in found if eps is not None))


def describe(model: Any) -> dict[str, Any]:
    """The architecture of a `MaskedAutoencoder` in numbers, for its card."""
    record, decoder = model.architecture, model.decoder
    names = ["width", "depth", "num_heads", "class_token", "registers", "global_pool", "layer_norm_eps"]
    described = {name: getattr(record, name) for name in names} | {"parameters": count(model.encoder)}
    if decoder is not None:
        names = ["width", "depth", "num_heads", "layer_norm_eps"]
        described["decoder"] = {n: getattr(record.decoder, n) for n in names} | {"parameters": count(decoder)}
    return described


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
