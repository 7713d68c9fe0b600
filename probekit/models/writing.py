"""Writing checkpoints: transformers' ViTMAE layout, and our own for what that layout cannot hold.

Names are those of transformers 4, which 5 reads too; the other way round fails. A directory appears whole or not at
all, and what a format cannot hold is refused by name: nothing is dropped in silence.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file
from timm.layers import RmsNorm, SwiGLU
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from probekit.errors import CheckpointError, did_you_mean
from probekit.files import written_whole
from probekit.models.architecture import MLPS, EncoderSpec
from probekit.models.card import RECORDED, Card, file_digest
from probekit.models.checkpoint import Checkpoint
from probekit.models.formats import probekit as own_format
from probekit.models.formats.transformers_vit_mae import PILLOW, spell
from probekit.models.mae import MaskedAutoencoder

FORMATS = ("transformers", "probekit")

FILES = (
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "README.md",
    "pytorch_model.bin",
    ".gitattributes",
)
"""What a directory may hold and still be replaced as a whole."""


def write(checkpoint: Checkpoint, directory: Path, *, format: str, dtype: torch.dtype | None, card_text: str) -> Path:
    """See `Checkpoint.save`."""
    if format not in FORMATS:
        raise CheckpointError(f"Unknown format {format!r} to save in. {did_you_mean(format, FORMATS)}")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise CheckpointError(f"Weights cannot be stored as {dtype!r}; expected a torch type such as torch.float16.")
    if directory.is_file():
        raise CheckpointError(f"{directory} is a file; a checkpoint is saved as a directory. Give another path.")
    others = (
        sorted(entry.name for entry in directory.iterdir() if entry.name not in FILES) if directory.is_dir() else []
    )
    if others:
        raise CheckpointError(
            f"{directory} holds other things than a checkpoint ({', '.join(others[:4])}); saving there would delete "
            "them. Give a new directory, or one that holds a checkpoint alone."
        )
    model = checkpoint.model
    if format == "transformers":
        refuse(model)
        config, tensors = transformers_config(model, checkpoint.card, dtype), transformers_tensors(model)
    else:
        config, tensors = own_config(model, checkpoint.card), dict(model.state_dict())
    configs = {"config.json": config}
    if format == "transformers":
        configs["preprocessor_config.json"] = preprocessor_config(checkpoint.card)
    kept = "What was there before is unchanged; free the disk, or save to another folder."
    with written_whole(directory, kept=kept, also=(SafetensorError,)) as part:
        part.mkdir()
        for name, content in configs.items():
            _write_json(part / name, content)
        stored = {name: _stored(tensor, dtype) for name, tensor in tensors.items()}
        save_file(stored, part / "model.safetensors", metadata={"format": "pt"})
        shutil.copymode(part / "config.json", part / "model.safetensors")  # safetensors writes for the owner alone
        digest = file_digest([part / "model.safetensors"])
        (part / "README.md").write_text(model_card(checkpoint, format, digest, card_text))
    return directory


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor as it is written: on the CPU, with memory of its own, cast if asked."""
    tensor = tensor.detach().cpu()
    return (tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor).contiguous().clone()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def recorded(card: Card) -> dict[str, Any]:
    """The card's facts that tensors do not tell, as JSON takes them."""
    facts = {name: getattr(card, name) for name in (*RECORDED, "patch_size", "name")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}


# --- transformers -----------------------------------------------------------------------------------------------------


def refuse(model: MaskedAutoencoder) -> None:
    """Raise with the name of everything that transformers' ViTMAE cannot hold."""
    spec, (height, width) = spec_of(model.encoder), model.image_size
    other_epsilon = model.decoder is not None and model.decoder.norm.eps != spec.layer_norm_eps
    parts = {
        "no [CLS] token": not spec.class_token,
        f"{spec.registers} register tokens": spec.registers,
        "fc_norm": spec.fc_norm,
        "no final norm": not spec.final_norm,
        "no position embeddings": not spec.positions,
        "positions for patches only": spec.class_token and not spec.positions_cover_prefix,
        "a norm before the blocks": spec.pre_norm,
        "layer scale": spec.layer_scale,
        "query and key norms": spec.qk_norm,
        f"MLPs of kind {spec.mlp}": spec.mlp != "mlp",
        "RMS norms": spec.norm != "layer",
        f"{spec.activation} activations": spec.activation != "gelu",
        f"images of {height} x {width} pixels, which are not square": height != width,
        f"{spec.global_pool!r} pooling": spec.global_pool not in ("token", ""),
        "another layer-norm epsilon in the decoder than in the encoder": other_epsilon,
    }
    found = [name for name, there in parts.items() if there]
    if found:
        raise CheckpointError(
            f"transformers' ViTMAE cannot hold this model: it has {', '.join(found)}. Save it with "
            'format="probekit", which holds everything that probekit.load reads.'
        )


def transformers_config(model: MaskedAutoencoder, card: Card, dtype: torch.dtype | None) -> dict[str, Any]:
    """`config.json` of a ViTMAE; ours under `mask_patch_size` and `probekit`."""
    spec, decoder = spec_of(model.encoder), model.decoder
    config: dict[str, Any] = {
        "architectures": ["ViTMAEModel" if decoder is None else "ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "hidden_size": spec.width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.num_heads,
        "intermediate_size": spec.mlp_hidden,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": spec.layer_norm_eps,
        "qkv_bias": spec.qkv_bias,
        "image_size": spec.image_size[0],
        "patch_size": spec.vit_patch_size,
        "num_channels": 3,
        "norm_pix_loss": bool(model.normalised_targets),
        "torch_dtype": str(dtype or torch.float32).removeprefix("torch."),
        "mask_patch_size": card.patch_size,
        "probekit": recorded(card) | {"antialias": model.antialias},
    }
    if decoder is not None:
        config |= {
            "decoder_hidden_size": decoder.width, "decoder_num_hidden_layers": decoder.depth,
            "decoder_num_attention_heads": decoder.num_heads,
            "decoder_intermediate_size": decoder.blocks[0].mlp.fc1.out_features,
        }  # fmt: skip
    if card.mask_ratio is not None:
        config["mask_ratio"] = card.mask_ratio
    return config


def transformers_tensors(model: MaskedAutoencoder) -> dict[str, Tensor]:
    """The weights under version 4's names; q, k and v apart. An encoder alone has ViTMAEModel's names, without
    `vit.`."""
    out: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        theirs = spell(name)
        if model.decoder is None:
            theirs = theirs.removeprefix("vit.")
        if "{query,key,value}" in theirs:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                out[theirs.replace("{query,key,value}", part)] = third
        else:
            out[theirs] = tensor
    return out


def preprocessor_config(card: Card) -> dict[str, Any]:
    """`preprocessor_config.json` of a ViTImageProcessor; its crop is what `crop_fraction` says."""
    height, width = card.image_size
    resample = {name: number for number, name in PILLOW.items()}.get(card.interpolation)
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": resample is not None,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": 3 if resample is None else resample,
        "size": {"height": height, "width": width},
        "image_mean": list(card.mean),
        "image_std": list(card.std),
    }


# --- ours -------------------------------------------------------------------------------------------------------------


def own_config(model: MaskedAutoencoder, card: Card) -> dict[str, Any]:
    """`config.json` of our format."""
    spec = spec_of(model.encoder)
    _check_rebuilds(model, spec)
    return {"format": own_format.NAME, "version": own_format.VERSION, "encoder": spec.as_dict(), "card": recorded(card)}


def spec_of(encoder: VisionTransformer) -> EncoderSpec:
    """The specification of an encoder that exists; CheckpointError if one of its parts has no name here."""
    block = encoder.blocks[0]
    if type(block) is not Block:
        raise _no_name(type(block).__name__)
    norm, mlp = block.norm1, block.mlp
    kinds = {"Mlp": "mlp", "GluMlp": "swiglu_packed", "SwiGLU": "swiglu"}
    activations = {
        "GELU": "gelu",
        "SiLU": "silu",
        "Swish": "silu",
        "QuickGELU": "quick_gelu",
        "GELUTanh": "gelu_tanh",
        "ReLU": "relu",
    }
    kind, activation = type(mlp).__name__, type(getattr(mlp, "act", None)).__name__
    if kind not in kinds or activation not in activations:
        raise _no_name(f"{type(block).__name__} with {kind} and {activation}")
    first = mlp.fc1_g if isinstance(mlp, SwiGLU) else mlp.fc1
    return EncoderSpec(
        image_size=tuple(encoder.patch_embed.img_size),
        vit_patch_size=encoder.patch_embed.patch_size[0],
        width=encoder.embed_dim,
        depth=len(encoder.blocks),
        num_heads=block.attn.num_heads,
        mlp_hidden=first.out_features,
        mlp=kinds[kind],
        norm="rms" if isinstance(norm, RmsNorm) else "layer",
        activation=activations[activation],
        layer_norm_eps=norm.eps,
        qkv_bias=block.attn.qkv.bias is not None,
        qk_norm=not isinstance(block.attn.q_norm, nn.Identity),
        layer_scale=not isinstance(block.ls1, nn.Identity),
        class_token=encoder.cls_token is not None,
        registers=int(encoder.num_reg_tokens),
        positions=encoder.pos_embed is not None,
        positions_cover_prefix=not encoder.no_embed_class,
        pre_norm=not isinstance(encoder.norm_pre, nn.Identity),
        final_norm=not (isinstance(encoder.norm, nn.Identity) and isinstance(encoder.fc_norm, nn.Identity)),
        fc_norm=not isinstance(encoder.fc_norm, nn.Identity),
        global_pool=encoder.global_pool,
    )


def _no_name(blocks: str) -> CheckpointError:
    return CheckpointError(
        f"An encoder of {blocks} cannot be saved. Expected timm's Block with one of {', '.join(MLPS)}. Save its "
        "state_dict with torch.save, and load it as a module of its class."
    )


def _check_rebuilds(model: MaskedAutoencoder, spec: EncoderSpec) -> None:
    """Refuse a model that its specification does not build again: other keys, or another output for the same image."""
    again, state = spec.build(), model.encoder.state_dict()
    same = {name: tensor.shape for name, tensor in state.items()} == {n: t.shape for n, t in again.state_dict().items()}
    if same:
        again.load_state_dict(state, strict=True, assign=True)
        twin = (
            MaskedAutoencoder(again, None, normalised_targets=None, antialias=model.antialias)
            .to(model.mean.device)
            .eval()
        )
        training = model.training
        with torch.inference_mode():
            image = torch.linspace(-1, 1, 3 * model.image_size[0] * model.image_size[1], device=model.mean.device)
            image = image.sin().reshape(1, 3, *model.image_size)
            tokens, expected = twin.encode(image), model.eval().encode(image)
            pooled = torch.equal(twin.pool(tokens, "native"), model.pool(expected, "native"))
            same = torch.equal(tokens.nan_to_num(), expected.nan_to_num()) and (pooled or bool(expected.isnan().any()))
        model.train(training)
    if not same:
        raise CheckpointError(
            "This encoder has parts that the probekit format does not describe: built again from its description, it "
            "has other keys or gives other numbers. Save its state_dict with torch.save, and load it under its timm "
            "name."
        )


# --- the card ---------------------------------------------------------------------------------------------------------


def model_card(checkpoint: Checkpoint, format: str, digest: str, text: str) -> str:
    """README.md: YAML front matter for machines, a table and a text for people."""
    card, model = checkpoint.card, checkpoint.model
    facts = recorded(card) | {
        "vit_patch_size": card.vit_patch_size,
        "image_size": list(card.image_size),
        "sha256": digest,
        "parameters": _parameters(model),
    }
    front = {"license": card.licence or "unknown", "tags": ["masked-autoencoder", "vit_mae"], "probekit": facts}
    if format == "transformers":
        front = {"library_name": "transformers", **front}
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {'not recorded' if value is None else value} |" for name, value in facts.items()
    )
    how = (
        f"transformers.ViTMAE{'ForPreTraining' if model.has_decoder else 'Model'}.from_pretrained(DIRECTORY)  # or "
        "probekit.load(DIRECTORY)"
        if format == "transformers"
        else "probekit.load(DIRECTORY)"
    )
    body = f"# {card.name}\n\nA masked autoencoder.\n\n```python\n{how}\n```\n\n| | |\n|---|---|\n{rows}\n"
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{body}" + (
        f"\n{text.strip()}\n" if text else ""
    )


def _parameters(model: MaskedAutoencoder) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
