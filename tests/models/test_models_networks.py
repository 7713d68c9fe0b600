"""Names: every format under every wrapper and prefix, and several networks in one file."""

from __future__ import annotations

import argparse
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from probekit.errors import CheckpointError
from probekit.models import CheckpointWarning, MaskedAutoencoder, load
from probekit.models.formats.transformers_vit_mae import tensors_of

HEADS = {"num_heads": 4, "decoder_num_heads": 2}
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}
TORCHVISION = [
    (".norm1.", ".ln_1."), (".norm2.", ".ln_2."), (".attn.qkv.", ".self_attention.in_proj_"),
    (".attn.proj.", ".self_attention.out_proj."), (".mlp.fc1.", ".mlp.0."), (".mlp.fc2.", ".mlp.3."),
]  # fmt: skip


def mm(name: str) -> str:
    """From MAE's names to mmpretrain's."""
    for new, old in (("norm1", "ln1"), ("norm2", "ln2"), ("mlp.fc1", "ffn.layers.0.0"), ("mlp.fc2", "ffn.layers.1")):
        name = name.replace(f".{new}.", f".{old}.")
    if name.startswith(("decoder_", "mask_token")):
        return f"neck.{name.replace('decoder_norm.', 'ln1.')}"
    name = name.replace("blocks.", "layers.").replace("patch_embed.proj", "patch_embed.projection")
    return f"backbone.{re.sub('^norm', 'ln1', name)}"


def old_lightly(name: str) -> str:
    """From MAE's names to torchvision's, as lightly had them at first."""
    if name.startswith("decoder_") or name == "mask_token":
        return f"decoder.{name}"
    for ours, theirs in TORCHVISION:
        name = name.replace(ours, theirs)
    name = re.sub(r"^blocks\.(\d+)", r"encoder.layers.encoder_layer_\1", name)
    name = name.replace("patch_embed.proj", "conv_proj").replace("cls_token", "class_token")
    return "backbone." + re.sub("^norm", "encoder.ln", name).replace("pos_embed", "encoder.pos_embedding")


def lightning(backbone: str) -> Callable[[str], str]:
    return lambda name: f"decoder.{name}" if name.startswith(("decoder_", "mask_token")) else backbone + name


def renamed(change: Callable[[str], str]) -> Callable[[MaskedAutoencoder, dict[str, Tensor]], dict[str, Tensor]]:
    return lambda model, weights: {change(name): tensor for name, tensor in weights.items()}


FORMATS: dict[str, Callable[[MaskedAutoencoder, dict[str, Tensor]], dict[str, Tensor]]] = {
    "mae": lambda model, weights: weights,
    "probekit": lambda model, weights: dict(model.state_dict()),
    "transformers": lambda model, weights: tensors_of(model),
    "mmpretrain": renamed(mm),
    "lightly": renamed(lightning("backbone.vit.")),
    "solo-learn": renamed(lightning("backbone.")),
    "torchvision": renamed(old_lightly),
}
WRAPS = {
    "module.": lambda name: f"module.{name}",
    "_orig_mod.": lambda name: f"_orig_mod.{name}",
    "_forward_module.": lambda name: f"_forward_module.{name}",
    "inside": lambda name: re.sub(r"((?:blocks|layers?)\.(?:encoder_layer_)?\d+)\.", r"\1._orig_mod.", name),
    "checkpointed": lambda name: re.sub(r"(\.\d+)\.", r"\1._checkpoint_wrapped_module.", name, count=1),
    "fsdp": lambda name: f"_fsdp_wrapped_module.{name}".replace(".norm", "._fsdp_wrapped_module.norm"),
    "model.": lambda name: f"model.{name}",
    "my_net.": lambda name: f"my_net.{name}",
    "several": lambda name: f"model._orig_mod.net.module.{name}",
}


@pytest.fixture(scope="module")
def weights(tiny, mae_names) -> dict[str, Tensor]:
    return mae_names(tiny)


def written(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_under_every_wrapper(tiny, weights, images, hidden, tmp_path, format, wrap) -> None:
    state = {WRAPS[wrap](name): tensor for name, tensor in FORMATS[format](tiny, weights).items()}
    options = {} if format == "probekit" else HEADS | {"layer_norm_eps": 1e-6}
    checkpoint = load(written(tmp_path / "wrapped.pth", {"state_dict": state, "epoch": 3}), **options)
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
    assert checkpoint.verdict.left_over == ()
    assert checkpoint.verdict.networks == ()
    encoder = {n: t for n, t in state.items() if not re.search(r"decoder|mask_token|neck", n)}
    options.pop("decoder_num_heads", None)
    checkpoint = load(written(tmp_path / "encoder.pth", encoder), **options)
    assert not checkpoint.verdict.decoder
    assert torch.equal(checkpoint.model.encode(images, hidden), tiny.encode(images, hidden))


def test_our_description_is_honoured_under_any_prefix(tiny, images, hidden, tmp_path) -> None:
    state = {f"my_net.module.{name}": tensor for name, tensor in tiny.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint = load(written(tmp_path / "ours.pth", {"model": state}))
    assert checkpoint.card.architecture["num_heads"] == 4
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))


# --- several networks -------------------------------------------------------------------------------------------------


def zeros(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in weights.items()}


def under(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


SEVERAL = {
    "entries": (lambda a, b: {"model": a, "model_ema": b}, "model", "model_ema"),
    "timm's entries": (lambda a, b: {"state_dict": a, "state_dict_ema": b}, "state_dict", "state_dict_ema"),
    "nested": (lambda a, b: {"model": a, "ema": {"decay": 0.9, "shadow": b}}, "model", "ema"),
    "prefixes": (lambda a, b: {"state_dict": under("my_net.", a) | under("ema.", b)}, "my_net", "ema."),
    "teacher": (lambda a, b: {"state_dict": under("teacher.", a) | under("student.", b)}, "teacher.", "student."),
    "bare": (lambda a, b: a | under("ema_model.module.", b), "(no prefix)", "ema_model"),
    "rc-mae": (lambda a, b: {"model": a, "teacher": b}, "model", "teacher"),
}


@pytest.mark.parametrize("case", SEVERAL)
@pytest.mark.parametrize("order", [False, True], ids=["as is", "reversed"])
def test_encoder_and_decoder_come_from_one_network(tiny, weights, images, hidden, tmp_path, case, order) -> None:
    """Trap: the encoder came from one network and the decoder from the other, in silence."""
    build, taken, other = SEVERAL[case]
    content = build(weights, zeros(weights))
    if order:
        content = OrderedDict(reversed(content.items()))
        if "state_dict" in content and isinstance(content["state_dict"], dict):
            content["state_dict"] = dict(reversed(content["state_dict"].items()))
    path = written(tmp_path / "both.pth", content)
    with pytest.warns(CheckpointWarning, match=r"holds 2 networks.*To read the other one: load\(\.\.\., key="):
        checkpoint = load(path, **HEADS)
    expected = tiny.predict(images, hidden)
    assert torch.equal(checkpoint.model.predict(images, hidden), expected)
    assert checkpoint.verdict.taken.removesuffix(".") == taken.removesuffix(".")
    assert len(checkpoint.verdict.networks) == 1
    assert checkpoint.verdict.record()["networks"] == list(checkpoint.verdict.networks)
    second = load(path, **HEADS, key=other)
    assert not second.model.predict(images, hidden).any()
    assert torch.equal(load(path, **HEADS, key=taken).model.predict(images, hidden), expected)
    assert torch.equal(load(f"{path}?key={taken}", **HEADS).model.predict(images, hidden), expected)
    with pytest.raises(CheckpointError, match=r"has no network 'emma'.*Networks in the file: "):
        load(path, **HEADS, key="emma")
    with pytest.raises(CheckpointError, match="key is 5; expected the name of a network"):
        load(path, **HEADS, key=5)


BESIDE = [("", "ema."), ("", "ema_model.module."), ("model.", "model.ema."), ("net.model.", "net.momentum.module.")]


@pytest.mark.parametrize(("first", "second"), BESIDE)
@pytest.mark.parametrize("format", FORMATS)
def test_a_network_inside_the_prefix_of_another(tiny, weights, images, hidden, tmp_path, format, first, second) -> None:
    """Trap: `vit.` and `decoder.` beside `ema.vit.` and `ema.decoder.` gave one's encoder with the other's decoder."""
    state = {n: t for n, t in FORMATS[format](tiny, weights).items() if t.is_floating_point()}
    path = written(tmp_path / "both.pth", under(second, zeros(state)) | under(first, state))
    options = HEADS | {"layer_norm_eps": 1e-6}
    with pytest.warns(CheckpointWarning, match=r"holds 2 networks"):
        checkpoint = load(path, **options)
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
    assert not load(path, **options, key=second).model.predict(images, hidden).any()


@pytest.mark.parametrize("prefix", ["encoder.", "backbone.", "model.encoder."])
@pytest.mark.parametrize("format", FORMATS)
def test_a_whole_network_under_an_encoders_prefix(tiny, weights, images, hidden, tmp_path, format, prefix) -> None:
    """Trap: the prefix was taken for the encoder's own, and the decoder was lost in silence."""
    state = {n: t for n, t in FORMATS[format](tiny, weights).items() if t.is_floating_point()}
    checkpoint = load(written(tmp_path / "f.pth", under(prefix, state)), **HEADS, layer_norm_eps=1e-6)
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
    assert checkpoint.verdict.left_over == ()


def test_other_encoders_under_a_backbones_prefix(random_weights, images, tmp_path) -> None:
    """Trap: what Lightning saves under `backbone.` was read with MAE's epsilon, or called incomplete."""
    clip = random_weights(timm.create_model("vit_base_patch16_clip_224", **SMALL))
    with pytest.warns(CheckpointWarning, match="this is CLIP's family"):
        checkpoint = load(written(tmp_path / "clip.ckpt", under("backbone.", clip.state_dict())), num_heads=2)
    torch.testing.assert_close(checkpoint.model.encode(images), clip.forward_features(images), rtol=0, atol=2e-5)
    weights = random_weights(timm.create_model("vit_small_patch14_reg4_dinov2", **SMALL)).state_dict()
    weights["register_tokens"] = weights.pop("reg_token")  # dinov2's own name; its [CLS] has a position
    weights["pos_embed"] = torch.cat([torch.randn(1, 1, 32), weights["pos_embed"]], dim=1)
    expected = load(written(tmp_path / "dino.pth", weights), num_heads=2).model.encode(images)
    checkpoint = load(written(tmp_path / "dino.ckpt", under("backbone.", weights)), num_heads=2)
    assert torch.equal(checkpoint.model.encode(images), expected)


def test_a_key_may_have_the_wrapper_of_the_names(tiny, weights, images, hidden, tmp_path) -> None:
    state = under("module.net.", weights) | under("module.ema_net.module.", zeros(weights))
    path = written(tmp_path / "wrapped.pth", state)
    assert load(path, **HEADS, key="module.net.").model.predict(images, hidden).any()
    assert not load(path, **HEADS, key="module.ema_net.module").model.predict(images, hidden).any()


def test_a_lone_average_is_read(tiny, weights, images, hidden, tmp_path) -> None:
    for content in ({"ema": weights}, {"model_ema": {"module": weights}}, under("ema_model.", weights)):
        checkpoint = load(written(tmp_path / "ema.pth", content), **HEADS)
        assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
        assert checkpoint.verdict.networks == ()


def test_a_decoder_goes_with_the_network_that_was_trained_with_it(tiny, weights, images, hidden, tmp_path) -> None:
    state = {lightning("backbone.")(name): tensor for name, tensor in weights.items()}
    state |= {f"momentum_{name}": torch.zeros_like(t) for name, t in state.items() if name.startswith("backbone.")}
    checkpoint = load(written(tmp_path / "both.ckpt", {"state_dict": state}), **HEADS, layer_norm_eps=1e-6)
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
    assert checkpoint.verdict.networks == ("momentum_backbone.",)
    assert not load(tmp_path / "both.ckpt", num_heads=4, key="momentum_backbone").verdict.decoder


def test_halves_that_were_saved_side_by_side(tiny, images, hidden, tmp_path) -> None:
    halves = {"encoder": tiny.encoder.state_dict(), "decoder": tiny.decoder.state_dict(), "epoch": 3}
    checkpoint = load(written(tmp_path / "halves.pth", halves), **HEADS)
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))


# --- what else a training checkpoint holds ----------------------------------------------------------------------------


def test_numbers_and_paths_among_the_arguments(tiny, weights, images, hidden, tmp_path) -> None:
    args = argparse.Namespace(
        mask_ratio=np.float64(0.6), norm_pix_loss=True, lr=np.float32(1e-3), seed=np.int64(3), flag=np.bool_(True),
        data_path=Path("/data/imagenet"), output=PureWindowsPath("C:/runs"),
    )  # fmt: skip
    content = {"model": weights, "args": args, "best": np.float64(0.5), "epoch": np.int64(7), "where": Path("x")}
    for new in (True, False):
        path = tmp_path / "run.pth"
        torch.save(content, path, _use_new_zipfile_serialization=new)
        checkpoint = load(path, **HEADS)
        assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
        assert (checkpoint.card.mask_ratio, checkpoint.card.seed, checkpoint.card.epochs) == (0.6, 3, 8)
        assert checkpoint.card.data == "/data/imagenet"


def test_what_needs_other_packages_stays_refused(weights, tmp_path) -> None:
    content = {"model": weights, "schedule": torch.optim.lr_scheduler.LambdaLR}
    with pytest.raises(CheckpointError, match=r"could run code.*numpy scalars, paths and argparse.Namespace"):
        load(written(tmp_path / "code.pth", content))


class Wrapper(nn.Module):
    """What a trainer's wrapper looks like."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.add_module(name, module)


@pytest.mark.parametrize("name", ["module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module"])
def test_live_modules_are_unwrapped(tiny, images, hidden, name) -> None:
    checkpoint = load(Wrapper(Wrapper(tiny, "module"), name))
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))


def test_blocks_of_a_live_module_are_unwrapped(tiny, images, hidden) -> None:
    wrapped = MaskedAutoencoder(tiny.encoder, tiny.decoder, normalised_targets=False)
    blocks, first = wrapped.encoder.blocks, tiny.encoder.blocks[0]
    blocks[0] = Wrapper(first, "_checkpoint_wrapped_module")
    try:
        checkpoint = load(wrapped)
    finally:
        blocks[0] = first
    assert checkpoint.model.no_attention is None
    assert checkpoint.model.encoder.blocks[0].norm1.weight is first.norm1.weight
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
