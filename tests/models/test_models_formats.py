"""Every checkpoint format against a masked autoencoder written out in plain torch from the paper's description.

The formats' own libraries are not needed: a file is its names, and the names are written down here, independently of
the readers.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from probekit.errors import CheckpointError
from probekit.models import MaskedAutoencoder, load
from probekit.models.formats import formats, mae

TOLERANCE = 2e-5


def block(x: Tensor, weights: dict[str, Tensor], at: str, heads: int, eps: float) -> Tensor:
    """A pre-norm transformer block in MAE's names."""
    get = lambda name: weights[f"{at}.{name}"]  # noqa: E731
    width = x.shape[-1]
    normed = F.layer_norm(x, (width,), get("norm1.weight"), get("norm1.bias"), eps)
    query, key, value = (normed @ get("attn.qkv.weight").T + get("attn.qkv.bias")).chunk(3, dim=-1)
    split = lambda t: t.unflatten(-1, (heads, width // heads)).transpose(1, 2)  # noqa: E731
    scores = torch.einsum("bhqd,bhkd->bhqk", split(query), split(key)) / (width // heads) ** 0.5
    mixed = torch.einsum("bhqk,bhkd->bqhd", scores.softmax(-1), split(value)).flatten(2)
    x = x + mixed @ get("attn.proj.weight").T + get("attn.proj.bias")
    normed = F.layer_norm(x, (width,), get("norm2.weight"), get("norm2.bias"), eps)
    inner = F.gelu(normed @ get("mlp.fc1.weight").T + get("mlp.fc1.bias"))
    return x + inner @ get("mlp.fc2.weight").T + get("mlp.fc2.bias")


def plain_mae(
    weights: dict[str, Tensor],
    images: Tensor,
    hidden: Tensor,
    heads: tuple[int, int],
    eps: tuple[float, float] = (1e-6, 1e-6),
) -> tuple[Tensor, Tensor]:
    """(encoder tokens, prediction) as the paper describes: image by image, patch by patch."""
    size = weights["patch_embed.proj.weight"].shape[-1]
    depth = lambda part: 1 + max(int(m[1]) for n in weights if (m := re.match(rf"{part}\.(\d+)\.", n)))  # noqa: E731
    tokens, predictions = [], []
    for image, row in zip(images, hidden, strict=True):
        squares = image.unfold(1, size, size).unfold(2, size, size)  # channel, row, column, i, j
        flat = squares.permute(1, 2, 0, 3, 4).flatten(0, 1)
        x = torch.einsum("ncij,wcij->nw", flat, weights["patch_embed.proj.weight"]) + weights["patch_embed.proj.bias"]
        x = (x + weights["pos_embed"][0, 1:])[~row]
        x = torch.cat([weights["cls_token"][0] + weights["pos_embed"][0, :1], x])[None]
        for index in range(depth("blocks")):
            x = block(x, weights, f"blocks.{index}", heads[0], eps[0])
        x = F.layer_norm(x, x.shape[-1:], weights["norm.weight"], weights["norm.bias"], eps[0])
        tokens.append(x[0])
        y = x[0] @ weights["decoder_embed.weight"].T + weights["decoder_embed.bias"]
        full = weights["mask_token"][0].repeat(len(row), 1)
        full[~row] = y[1:]
        y = (torch.cat([y[:1], full]) + weights["decoder_pos_embed"][0])[None]
        for index in range(depth("decoder_blocks")):
            y = block(y, weights, f"decoder_blocks.{index}", heads[1], eps[1])
        y = F.layer_norm(y, y.shape[-1:], weights["decoder_norm.weight"], weights["decoder_norm.bias"], eps[1])
        predictions.append((y @ weights["decoder_pred.weight"].T + weights["decoder_pred.bias"])[0, 1:])
    return torch.stack(tokens), torch.stack(predictions)


@pytest.fixture(scope="module")
def weights(tiny, mae_names) -> dict[str, Tensor]:
    return mae_names(tiny)


@pytest.fixture(scope="module")
def encoder_weights(weights) -> dict[str, Tensor]:
    return {name: t for name, t in weights.items() if not name.startswith("decoder_") and name != "mask_token"}


HEADS = {"num_heads": 4, "decoder_num_heads": 2}


def assert_mae(checkpoint, weights, images, hidden, eps=(1e-6, 1e-6)) -> None:
    tokens, prediction = plain_mae(weights, images, hidden, (4, 2), eps)
    torch.testing.assert_close(checkpoint.model.encode(images, hidden), tokens, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(checkpoint.model.predict(images, hidden), prediction, rtol=0, atol=TOLERANCE)


def written(path, content):
    torch.save(content, path)
    return path


# --- facebookresearch/mae ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap", [lambda w: w, lambda w: {"model": w}, lambda w: {"model": w, "epoch": 4, "optimizer": {"state": {}}}]
)
def test_mae_files(weights, images, hidden, tmp_path, wrap) -> None:
    checkpoint = load(written(tmp_path / "mae.pth", wrap(weights)), **HEADS)
    assert_mae(checkpoint, weights, images, hidden)
    assert checkpoint.verdict.format == "facebookresearch/mae"
    assert (checkpoint.verdict.missing, checkpoint.verdict.left_over) == ((), ())
    assert (checkpoint.card.mask_ratio, checkpoint.card.patch_size, checkpoint.card.normalised_targets) == (
        None,
        None,
        None,
    )
    assert any("pixel targets" in warning for warning in checkpoint.verdict.warnings)


def test_old_pickles_are_read_too(weights, images, hidden, tmp_path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"model": weights}, path, _use_new_zipfile_serialization=False)
    assert_mae(load(path, **HEADS), weights, images, hidden)


def test_training_checkpoints_tell_their_arguments(weights, images, hidden, tmp_path) -> None:
    args = argparse.Namespace(
        mask_ratio=0.6, norm_pix_loss=True, input_size=32, data_path="imagenet", seed=3, model="mae_tiny"
    )
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))]).state_dict()
    content = {"model": weights, "optimizer": optimiser, "epoch": 7, "scaler": {"scale": 1.0}, "args": args}
    checkpoint = load(written(tmp_path / "checkpoint-7.pth", content), **HEADS)
    assert_mae(checkpoint, weights, images, hidden)
    card = checkpoint.card
    assert (card.mask_ratio, card.patch_size, card.normalised_targets) == (0.6, 8, True)
    assert (card.seed, card.data, card.epochs) == (3, "imagenet", 8)


@pytest.mark.parametrize(
    ("name", "targets"),
    [("mae_visualize_vit_large.pth", False), ("mae_pretrain_vit_base_full.pth", True), ("mine.pth", None)],
)
def test_published_names_tell_the_targets(weights, tmp_path, name, targets) -> None:
    assert load(written(tmp_path / name, {"model": weights}), **HEADS).card.normalised_targets is targets
    assert load(tmp_path / name, **HEADS, normalised_targets=True).model.normalised_targets is True


def test_a_published_file_is_known_by_its_contents(encoder_weights, tmp_path, monkeypatch) -> None:
    """Under whatever name it lies: the beginning of its MD5, as its authors publish it."""
    path = written(tmp_path / "base.pth", {"model": encoder_weights})
    assert not load(path, num_heads=4).card.normalisation_known
    monkeypatch.setattr(mae, "SHAPES", ((64, 3),))
    assert not load(path, num_heads=4).card.normalisation_known
    digest = hashlib.md5(path.read_bytes()).hexdigest()[:6]
    monkeypatch.setitem(mae.DIGESTS, digest, "mae_pretrain_vit_base")
    checkpoint = load(path, num_heads=4)
    assert checkpoint.card.normalisation_known
    assert "Published as mae_pretrain_vit_base.pth, by its MD5." in checkpoint.verdict.notes
    assert not any("normalisation" in warning for warning in checkpoint.verdict.warnings)


def test_encoder_only_files(weights, encoder_weights, images, hidden, tmp_path) -> None:
    checkpoint = load(written(tmp_path / "mae_pretrain_vit_tiny.pth", {"model": encoder_weights}), num_heads=4)
    assert not checkpoint.verdict.decoder
    assert checkpoint.verdict.format == "facebookresearch/mae"  # sin-cos positions tell it from timm's
    tokens = plain_mae(weights, images, hidden, (4, 2))[0]
    torch.testing.assert_close(checkpoint.model.encode(images, hidden), tokens, rtol=0, atol=TOLERANCE)


def test_fine_tuned_files_have_fc_norm_and_a_head(encoder_weights, images, tmp_path) -> None:
    tuned = {
        name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: t
        for name, t in encoder_weights.items()
    }
    tuned |= {"head.weight": torch.randn(7, 64), "head.bias": torch.randn(7)}
    checkpoint = load(written(tmp_path / "tuned.pth", {"model": tuned}), num_heads=4)
    assert checkpoint.verdict.left_over == ("head.weight", "head.bias")
    assert checkpoint.card.finetuned.startswith("yes")
    reference = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=64, depth=3, num_heads=4, num_classes=7, global_pool="avg"
    ).eval()  # fmt: skip
    reference.load_state_dict(tuned)
    tokens = checkpoint.model.encode(images)
    torch.testing.assert_close(tokens, reference.forward_features(images), rtol=0, atol=TOLERANCE)
    expected = reference.forward_head(reference.forward_features(images), pre_logits=True)
    for pooling in ("native", "mean"):
        torch.testing.assert_close(checkpoint.model.pool(tokens, pooling), expected, rtol=0, atol=TOLERANCE)


def test_long_seq_mae(weights, images, hidden, tmp_path) -> None:
    """Masks in units of several patches; biases of queries and values alone."""
    args = argparse.Namespace(mask_ratio=0.75, norm_pix_loss=True, mask_downsampling=2)
    checkpoint = load(written(tmp_path / "long.pth", {"model": weights, "args": args}), **HEADS)
    assert_mae(checkpoint, weights, images, hidden)
    assert checkpoint.verdict.format == "long_seq_mae"
    assert (checkpoint.card.patch_size, checkpoint.card.vit_patch_size, checkpoint.card.mask_ratio) == (16, 8, 0.75)
    apart, zeroed = {}, {}
    for name, tensor in weights.items():
        if name.endswith("attn.qkv.bias"):
            query, _, value = tensor.chunk(3)
            apart |= {name.replace("qkv.bias", "q_bias"): query, name.replace("qkv.bias", "v_bias"): value}
            tensor = torch.cat([query, torch.zeros_like(query), value])
        else:
            apart[name] = tensor
        zeroed[name] = tensor
    checkpoint = load(
        written(tmp_path / "apart.pth", {"model": {k: v.contiguous() for k, v in apart.items()}, "args": args}), **HEADS
    )
    assert_mae(checkpoint, zeroed, images, hidden)
    assert len(checkpoint.verdict.missing) == 3 + 2
    assert checkpoint.verdict.missing[0] == "blocks.0.attn.k_bias"


# --- other projects ---------------------------------------------------------------------------------------------------


def mm_layer(name: str) -> str:
    for new, old in (("norm1", "ln1"), ("norm2", "ln2"), ("mlp.fc1", "ffn.layers.0.0"), ("mlp.fc2", "ffn.layers.1")):
        name = name.replace(f".{new}.", f".{old}.")
    return name


def mm_name(name: str) -> str:
    """From MAE's names to mmpretrain's."""
    if name == "mask_token" or name.startswith(("decoder_embed", "decoder_pos_embed", "decoder_pred")):
        return f"neck.{name}"
    if name.startswith("decoder_norm."):
        return f"neck.ln1.{name.removeprefix('decoder_norm.')}"
    if name.startswith("decoder_blocks."):
        return f"neck.{mm_layer(name)}"
    if name.startswith("norm."):
        return f"backbone.ln1.{name.removeprefix('norm.')}"
    return (
        f"backbone.{mm_layer(name).replace('blocks.', 'layers.').replace('patch_embed.proj', 'patch_embed.projection')}"
    )


def test_mmpretrain(weights, images, hidden, tmp_path) -> None:
    state = {mm_name(name): tensor for name, tensor in weights.items()} | {"data_preprocessor.mean": torch.zeros(3)}
    cfg = "model=dict(backbone=dict(type='MAEViT', mask_ratio=0.75), head=dict(norm_pix=True))"
    checkpoint = load(written(tmp_path / "mm.pth", {"state_dict": state, "meta": {"cfg": cfg}}), **HEADS)
    assert_mae(checkpoint, weights, images, hidden)
    assert checkpoint.verdict.format == "mmpretrain"
    assert checkpoint.verdict.left_over == ("data_preprocessor.mean",)
    assert (checkpoint.card.mask_ratio, checkpoint.card.patch_size, checkpoint.card.normalised_targets) == (
        0.75,
        8,
        True,
    )


def lightning_name(name: str, backbone: str) -> str:
    return f"decoder.{name}" if name.startswith("decoder_") or name == "mask_token" else f"{backbone}{name}"


CLASSIFIER = {"classifier.weight": torch.zeros(10, 64), "classifier.bias": torch.zeros(10)}
"""What every method of solo-learn trains beside its own loss."""


@pytest.mark.parametrize("backbone", ["backbone.", "backbone.vit."], ids=["solo-learn", "lightly"])
def test_lightning(weights, images, hidden, tmp_path, backbone) -> None:
    state = {lightning_name(name, backbone): tensor for name, tensor in weights.items()}
    state |= CLASSIFIER if backbone == "backbone." else {"backbone.mask_token": torch.zeros(1, 1, 64)}
    content = {"state_dict": state, "epoch": 9, "pytorch-lightning_version": "2.1", "hyper_parameters": {}}
    checkpoint = load(written(tmp_path / "last.ckpt", content), **HEADS)
    eps = (1e-6, 1e-6 if backbone.endswith("vit.") else 1e-5)  # solo-learn's decoder has torch's default
    assert_mae(checkpoint, weights, images, hidden, eps)
    assert checkpoint.verdict.format == "lightning"
    assert checkpoint.card.architecture["decoder"]["layer_norm_eps"] == eps[1]
    assert set(checkpoint.verdict.left_over) == set(CLASSIFIER if backbone == "backbone." else {"backbone.mask_token"})
    assert checkpoint.card.epochs == 9


def test_an_epsilon_of_the_decoders_own(tiny, weights, images, hidden, tmp_path) -> None:
    """solo-learn's decoder has another epsilon than its encoder: read, kept by our format, refused by transformers'."""
    state = {lightning_name(name, "backbone."): tensor.clone() for name, tensor in weights.items()}
    state |= CLASSIFIER
    checkpoint = load(written(tmp_path / "solo.ckpt", {"state_dict": state}), **HEADS)
    checkpoint.model.decoder.embed.weight.data.mul_(0.01)  # small tokens: the epsilon shows
    checkpoint.model.decoder.embed.bias.data.mul_(0.01)
    checkpoint.model.decoder.mask_token.data.mul_(0.01)
    checkpoint.model.decoder.pos_embed.data.mul_(0.01)
    small = {n.removeprefix("backbone.").removeprefix("decoder."): t for n, t in state.items()}
    small |= {n: 0.01 * small[n] for n in small if n.startswith("decoder_embed")}
    small |= {n: 0.01 * small[n] for n in ("mask_token", "decoder_pos_embed")}
    _, expected = plain_mae(small, images, hidden, (4, 2), (1e-6, 1e-5))
    _, wrong = plain_mae(small, images, hidden, (4, 2), (1e-6, 1e-6))
    prediction = checkpoint.model.predict(images, hidden)
    torch.testing.assert_close(prediction, expected, rtol=0, atol=1e-4)
    assert (prediction - wrong).abs().max() > 1e-3
    with pytest.raises(CheckpointError, match="another layer-norm epsilon in the decoder"):
        checkpoint.save(tmp_path / "theirs")
    again = load(checkpoint.save(tmp_path / "ours", format="probekit"))
    assert torch.equal(again.model.predict(images, hidden), prediction)


def test_solo_learns_small_encoders_have_12_heads(random_weights, tmp_path) -> None:
    """Everywhere else a ViT-S has 6: the shapes agree, the numbers do not."""
    sizes = {"image_size": (16, 16), "vit_patch_size": 8, "width": 384, "depth": 12, "num_heads": 12, "mlp_ratio": 0.1}
    model = MaskedAutoencoder.create(
        **sizes, decoder_width=32, decoder_depth=1, decoder_num_heads=1, normalised_targets=True
    )
    state = {
        name.replace("encoder.", "backbone."): t for name, t in model.state_dict().items() if "decoder" not in name
    }
    state |= {
        f"decoder.decoder_{n.removeprefix('decoder.')}": t for n, t in model.state_dict().items() if "decoder" in n
    }
    state["decoder.mask_token"] = state.pop("decoder.decoder_mask_token")
    del state["_extra_state"]
    classifier = {"classifier.weight": torch.zeros(10, 384), "classifier.bias": torch.zeros(10)}
    checkpoint = load(written(tmp_path / "solo.ckpt", {"state_dict": state | classifier}))
    assert checkpoint.card.architecture["num_heads"] == 12
    assert any("12 heads" in warning and "num_heads=" in warning for warning in checkpoint.verdict.warnings)
    other = {name.replace("backbone.", "backbone.vit."): tensor for name, tensor in state.items()}
    assert load(written(tmp_path / "lightly.ckpt", {"state_dict": other})).card.architecture["num_heads"] == 6


# --- torchvision ------------------------------------------------------------------------------------------------------


def torchvision_vit(random_weights, hidden_dim: int = 64):
    return random_weights(
        torchvision.models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=hidden_dim, mlp_dim=96, num_classes=5
        )
    )


def test_torchvision_files_and_modules(random_weights, images, tmp_path) -> None:
    reference = torchvision_vit(random_weights)
    tokens = reference.conv_proj(images).flatten(2).transpose(1, 2)
    expected = reference.encoder(torch.cat([reference.class_token.expand(3, -1, -1), tokens], dim=1))
    old = {
        n.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): t
        for n, t in reference.state_dict().items()
    }
    for source in (
        reference,
        written(tmp_path / "new.pth", reference.state_dict()),
        written(tmp_path / "old.pth", old),
    ):
        checkpoint = load(source, num_heads=4)
        torch.testing.assert_close(checkpoint.model.encode(images), expected, rtol=0, atol=TOLERANCE)
        assert checkpoint.verdict.format == "torchvision"
        assert set(checkpoint.verdict.left_over) == {"heads.head.weight", "heads.head.bias"}
    del old["encoder.layers.encoder_layer_1.self_attention.in_proj_bias"]
    with pytest.raises(CheckpointError, match=r"encoder.layers.encoder_layer_1.self_attention.in_proj_bias"):
        load(written(tmp_path / "short.pth", old), num_heads=4)


@pytest.mark.parametrize("backbone", ["backbone.", "backbone.vit."], ids=["MAEBackbone", "MaskedVisionTransformer"])
@pytest.mark.parametrize("decoder", ["torchvision", "MAE"])
def test_lightly_before_timm(weights, images, hidden, tmp_path, backbone, decoder) -> None:
    """Its encoder, and at first its decoder, were torchvision's."""

    def layers(name: str, at: str) -> str:
        for ours, theirs in TORCHVISION:
            name = name.replace(ours, theirs)
        return re.sub(r"^(decoder_)?blocks\.(\d+)", rf"{at}layers.encoder_layer_\2", name)

    state = {"backbone.mask_token": torch.zeros(1, 1, 64), "mask_token": weights["mask_token"]}
    for name, tensor in weights.items():
        if name.startswith("decoder_") and decoder == "MAE":
            state[f"decoder.{name}"] = tensor
        elif name.startswith("decoder_"):
            old = layers(name, "").replace("decoder_pos_embed", "pos_embedding").replace("decoder_norm", "ln")
            state[f"decoder.{old.replace('decoder_pred', 'prediction_head')}"] = tensor
        elif name != "mask_token":
            old = layers(name, "encoder.").replace("patch_embed.proj", "conv_proj").replace("cls_token", "class_token")
            old = re.sub("^norm", "encoder.ln", old)
            state[backbone + old.replace("pos_embed", "encoder.pos_embedding")] = tensor
    checkpoint = load(written(tmp_path / "last.ckpt", {"state_dict": state, "epoch": 3}), **HEADS)
    assert_mae(checkpoint, weights, images, hidden)
    assert checkpoint.verdict.left_over == ("backbone.mask_token",)
    assert checkpoint.card.epochs == 3
    state = {name: tensor for name, tensor in state.items() if "encoder_layer_1" not in name or "decoder" not in name}
    state.pop("decoder.decoder_blocks.0.norm1.bias", None)
    state.pop("decoder.layers.encoder_layer_0.ln_1.bias", None)
    with pytest.raises(CheckpointError, match="keys of the decoder are missing"):
        load(written(tmp_path / "short.ckpt", {"state_dict": state}), **HEADS)


TORCHVISION = [
    (".norm1.", ".ln_1."),
    (".norm2.", ".ln_2."),
    (".attn.qkv.", ".self_attention.in_proj_"),
    (".attn.proj.", ".self_attention.out_proj."),
    (".mlp.fc1.", ".mlp.0."),
    (".mlp.fc2.", ".mlp.3."),
]


@pytest.mark.parametrize("prefix", ["module.", "encoder.", "teacher.backbone.", "model."])
def test_prefixes_are_stripped(weights, encoder_weights, images, hidden, tmp_path, prefix) -> None:
    for content in (weights, encoder_weights):
        path = written(
            tmp_path / "prefixed.pth", {"state_dict": {prefix + name: tensor for name, tensor in content.items()}}
        )
        checkpoint = load(path, **HEADS)
        assert checkpoint.verdict.decoder is (content is weights)
        tokens, prediction = plain_mae(weights, images, hidden, (4, 2))
        torch.testing.assert_close(checkpoint.model.encode(images, hidden), tokens, rtol=0, atol=TOLERANCE)
        if content is weights:
            torch.testing.assert_close(checkpoint.model.predict(images, hidden), prediction, rtol=0, atol=TOLERANCE)


def test_of_student_and_teacher_the_teacher_is_read(encoder_weights, images, tmp_path) -> None:
    both = {f"student.{name}": torch.zeros_like(tensor) for name, tensor in encoder_weights.items()}
    both |= {f"teacher.{name}": tensor for name, tensor in encoder_weights.items()}
    checkpoint = load(written(tmp_path / "both.pth", {"state_dict": both}), num_heads=4)
    assert checkpoint.model.encode(images).abs().sum() > 0
    assert len(checkpoint.verdict.left_over) == len(encoder_weights)


def test_dinov2_with_registers(random_weights, images, tmp_path) -> None:
    """[CLS] has a position there, registers have none; its mask token is no decoder; its SwiGLU is timm's packed
    one."""
    reference = random_weights(
        VisionTransformer(
            img_size=32,
            patch_size=8,
            embed_dim=48,
            depth=2,
            num_heads=3,
            num_classes=0,
            reg_tokens=4,
            no_embed_class=True,
            init_values=0.1,
            mlp_layer=timm.layers.SwiGLUPacked,
            act_layer=torch.nn.SiLU,
        )
    )
    state = {
        n.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): t.clone()
        for n, t in reference.state_dict().items()
    }
    position = torch.randn(1, 1, 48)
    state["cls_token"] = state["cls_token"] - position
    state["pos_embed"] = torch.cat([position, state["pos_embed"]], dim=1)
    state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.zeros(1, 48)
    checkpoint = load(written(tmp_path / "dinov2_vits8_reg4_pretrain.pth", state), num_heads=3)
    torch.testing.assert_close(
        checkpoint.model.encode(images), reference.forward_features(images), rtol=0, atol=TOLERANCE
    )
    assert checkpoint.verdict.format == "facebookresearch/dinov2"
    assert checkpoint.verdict.left_over == ("mask_token",)
    assert not checkpoint.verdict.decoder
    assert checkpoint.card.architecture["registers"] == 4


# --- ours -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"model": {f"module.{n}": t for n, t in s.items()}}]
)
def test_our_state_dict_describes_itself(tiny, images, hidden, tmp_path, wrap) -> None:
    checkpoint = load(written(tmp_path / "ours.pth", wrap(tiny.state_dict())))
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
    assert checkpoint.verdict.format == "probekit"
    assert checkpoint.verdict.warnings == ()
    assert checkpoint.model.normalised_targets is False


def test_without_its_description_the_usual_rules_apply(tiny, images, hidden, tmp_path) -> None:
    state = {name: tensor for name, tensor in tiny.state_dict().items() if name != "_extra_state"}
    checkpoint = load(written(tmp_path / "ours.pth", state), **HEADS)
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))


def test_non_square_grids_come_back(images, tmp_path) -> None:
    model = MaskedAutoencoder.create(
        image_size=(16, 48), vit_patch_size=8, width=32, depth=1, num_heads=2, decoder_width=16, decoder_depth=1,
        decoder_num_heads=1, seed=0,
    ).eval()  # fmt: skip
    picture = torch.randn(1, 3, 16, 48)
    path = written(tmp_path / "wide.pth", model.state_dict())
    assert load(path).card.image_size == (16, 48)
    assert torch.equal(load(path).model.predict(picture), model.predict(picture))


def test_our_module_is_shared_and_left_as_it_was(tiny, images) -> None:
    model = MaskedAutoencoder(tiny.encoder, tiny.decoder, normalised_targets=True).train()
    checkpoint = load(model)
    assert model.training
    assert not checkpoint.model.training
    assert checkpoint.model.encoder.norm.weight is model.encoder.norm.weight
    assert len(checkpoint.card.sha256) == 64


# --- timm -------------------------------------------------------------------------------------------------------------


def test_timm_files_and_directories(random_weights, images, tmp_path) -> None:
    """Trap: a mask token makes timm take a file for DINOv2. Here a lone one as wide as the tokens is merely left
    over."""
    reference = random_weights(timm.create_model("test_vit", img_size=32, patch_size=8, num_classes=4))
    state = {name: tensor.contiguous() for name, tensor in reference.state_dict().items()}
    save_file(state | {"mask_token": torch.zeros(1, 64)}, tmp_path / "vit.safetensors")
    checkpoint = load(tmp_path / "vit.safetensors", num_heads=reference.blocks[0].attn.num_heads)
    assert checkpoint.verdict.format == "timm"
    assert set(checkpoint.verdict.left_over) == {"head.weight", "head.bias", "mask_token"}
    torch.testing.assert_close(
        checkpoint.model.encode(images), reference.forward_features(images), rtol=0, atol=TOLERANCE
    )

    folder = tmp_path / "directory"
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    config = {"architecture": "test_vit", "model_args": {"img_size": 32, "patch_size": 8}, "num_classes": 4}
    config["pretrained_cfg"] = {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 0.9,
        "interpolation": "bilinear",
    }
    (folder / "config.json").write_text(json.dumps(config))
    checkpoint = load(folder)
    torch.testing.assert_close(
        checkpoint.model.encode(images), reference.forward_features(images), rtol=0, atol=TOLERANCE
    )
    assert checkpoint.card.mean == (0.5, 0.5, 0.5)
    assert (checkpoint.card.interpolation, checkpoint.card.crop_fraction) == ("bilinear", 0.9)
    assert checkpoint.verdict.warnings == ()


def timm_directory(folder, name: str, model, arguments: dict):
    """What timm's `save_for_hf` writes."""
    folder.mkdir()
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / "model.safetensors")
    config = {"architecture": name, "num_classes": 0, "model_args": arguments, "pretrained_cfg": model.pretrained_cfg}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"global_pool": "avg"}),
        ("vit_small_patch14_reg4_dinov2", {}),
        ("vit_base_patch32_clip_quickgelu_224", {}),
        ("vit_base_patch16_siglip_224", {}),
        ("vit_medium_patch16_reg4_gap_256", {}),
        ("vit_base_patch16_rpn_224", {}),
    ],
)
def test_the_architecture_that_a_directory_names_is_built(name, options, random_weights, tmp_path) -> None:
    """Names of tensors are shared by families whose arithmetic differs; timm's configuration tells them apart."""
    arguments = options | {"depth": 1, "img_size": 32, "patch_size": 16, "embed_dim": 96, "num_heads": 6}
    reference = random_weights(timm.create_model(name, num_classes=0, **arguments))
    image = torch.randn(1, 3, 32, 32)
    checkpoint = load(timm_directory(tmp_path / "timm", name, reference, arguments))
    assert checkpoint.verdict.format == "timm directory"
    assert checkpoint.card.architecture["num_heads"] == 6
    assert checkpoint.verdict.warnings == ()
    tokens = checkpoint.model.encode(image)
    torch.testing.assert_close(tokens, reference.forward_features(image), rtol=1e-5, atol=TOLERANCE)
    expected = reference.forward_head(reference.forward_features(image), pre_logits=True)
    torch.testing.assert_close(checkpoint.model.pool(tokens, "native"), expected, rtol=0, atol=TOLERANCE)


def test_eva_is_adapted_from_a_directory_and_refused_from_a_file(random_weights, tmp_path) -> None:
    """Its rotary positions leave no tensor behind; its names are those of a ViT without key biases."""
    arguments = {"depth": 1, "img_size": 28}
    reference = random_weights(timm.create_model("eva02_tiny_patch14_224", num_classes=0, **arguments))
    folder = timm_directory(tmp_path / "eva", "eva02_tiny_patch14_224", reference, arguments)
    images = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    ours = load(folder).model.encode(images)
    torch.testing.assert_close(ours, reference.forward_features(images), rtol=0, atol=TOLERANCE)
    with pytest.raises(CheckpointError, match=r"have no place in it: .*q_bias"):
        load((folder / "model.safetensors").rename(tmp_path / "eva.safetensors"))


def test_a_bare_clip_has_torchs_epsilon_and_a_warning(random_weights, images, tmp_path) -> None:
    arguments = {"depth": 2, "img_size": 32, "patch_size": 8, "embed_dim": 96, "num_heads": 6, "num_classes": 0}
    reference = random_weights(timm.create_model("vit_base_patch32_clip_224", **arguments))
    checkpoint = load(written(tmp_path / "clip.pth", reference.state_dict()), num_heads=6)
    torch.testing.assert_close(
        checkpoint.model.encode(images), reference.forward_features(images), rtol=0, atol=TOLERANCE
    )
    assert any("quick GELU" in warning for warning in checkpoint.verdict.warnings)


def test_timm_modules(random_weights, images) -> None:
    reference = random_weights(timm.create_model("test_vit", img_size=32, patch_size=8, num_classes=4))
    checkpoint = load(reference)
    torch.testing.assert_close(
        checkpoint.model.encode(images), reference.forward_features(images), rtol=0, atol=TOLERANCE
    )
    assert reference.num_classes == 4
    assert reference(images).shape == (3, 4)  # its head is still there
    assert checkpoint.verdict.left_over == ("head.weight", "head.bias")


# --- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "depth", "part", "heads", "guessed"),
    [
        (768, 12, "encoder", 12, False),
        (1024, 24, "encoder", 16, False),
        (1280, 32, "encoder", 16, False),
        (640, 7, "encoder", 10, True),
        (512, 8, "decoder", 16, True),
        (96, 2, "encoder", 2, True),
        (48, 1, "decoder", 2, True),
    ],
)
def test_the_rule_for_heads(width, depth, part, heads, guessed) -> None:
    from probekit.models.inference import guess_heads

    found, how, is_guess = guess_heads(width, depth, 64 if part == "encoder" else 32, part)
    assert (found, is_guess) == (heads, guessed)
    assert str(heads) in how


def test_guessed_heads_are_warned_of_and_overridden(weights, tmp_path) -> None:
    path = written(tmp_path / "mae.pth", weights)
    checkpoint = load(path)
    assert checkpoint.card.architecture["num_heads"] == 1
    assert any(
        "heads of the encoder was guessed: 1" in warning and "num_heads=" in warning
        for warning in checkpoint.verdict.warnings
    )
    assert any("heads of the decoder was guessed: 1" in warning for warning in checkpoint.verdict.warnings)
    assert not any("guessed" in warning for warning in load(path, **HEADS).verdict.warnings)


def test_every_format_is_a_file_with_the_same_four_parts() -> None:
    ranks = [module.RANK for module in formats()]
    assert ranks == sorted(set(ranks))
    assert len(ranks) >= 9
    for module in formats():
        assert isinstance(module.NAME, str)
        assert callable(module.matches)
        assert callable(module.read)
        assert module.__doc__


class Foreign(torch.nn.Module):
    """A module of another project with MAE's names, such as facebookresearch/mae's own class."""

    def __init__(self, model: MaskedAutoencoder) -> None:
        super().__init__()
        encoder, decoder = model.encoder, model.decoder
        self.cls_token, self.pos_embed, self.patch_embed = encoder.cls_token, encoder.pos_embed, encoder.patch_embed
        self.blocks, self.norm = encoder.blocks, encoder.norm
        self.decoder_embed, self.mask_token = decoder.embed, decoder.mask_token
        self.decoder_pos_embed = decoder.pos_embed
        self.decoder_blocks, self.decoder_norm, self.decoder_pred = decoder.blocks, decoder.norm, decoder.pred


def test_modules_of_other_projects_tell_their_epsilons_and_targets(tiny, weights, images, hidden) -> None:
    """A model built without MAE's presets has torch's epsilon; another one for a decoder is kept apart."""
    foreign = Foreign(copy.deepcopy(tiny))
    foreign.norm_pix_loss = True
    for name, part in foreign.named_modules():
        if isinstance(part, torch.nn.LayerNorm):
            part.eps = 1e-2 if "decoder" in name else 1e-3
    checkpoint = load(foreign)
    assert_mae(checkpoint, weights, images, hidden, (1e-3, 1e-2))
    assert checkpoint.card.normalised_targets is True
    assert not any("epsilon" in note for note in checkpoint.verdict.notes)


def test_an_epsilon_can_be_given(weights, images, hidden, tmp_path) -> None:
    path = written(tmp_path / "mae.pth", weights)
    assert any("layer-norm epsilon 1e-6" in note for note in load(path, **HEADS).verdict.notes)
    checkpoint = load(path, **HEADS, layer_norm_eps=1e-3)
    assert_mae(checkpoint, weights, images, hidden, (1e-3, 1e-3))
    assert not any("epsilon" in note for note in checkpoint.verdict.notes)


def test_modules_of_other_projects_tell_their_heads(tiny, weights, images, hidden) -> None:
    checkpoint = load(Foreign(tiny))
    assert_mae(checkpoint, weights, images, hidden)
    assert not any("guessed" in warning for warning in checkpoint.verdict.warnings)


def test_the_readme_table_is_made_from_the_formats() -> None:
    from probekit.models.formats import _table

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert _table.replaced(readme) == readme  # else: python -m probekit.models.formats._table README.md
    for module in formats():
        assert module.NAME in readme
        assert module.READS
        assert module.SAY
