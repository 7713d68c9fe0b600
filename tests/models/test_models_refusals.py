"""Every bad input gets one clear error that names the file, what was found, what was expected, and what would work."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pickle
import re

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import RmsNorm, SwiGLUPacked
from torch import nn

from probekit.errors import CheckpointError, StorageError
from probekit.models import MaskedAutoencoder, load, loading
from probekit.models.assembly import assemble
from probekit.models.files import Found
from probekit.models.formats import read
from probekit.models.formats.transformers_vit_mae import tensors_of

HEADS = {"num_heads": 4, "decoder_num_heads": 2}


@pytest.fixture
def weights(tiny, mae_names) -> dict[str, torch.Tensor]:
    return mae_names(tiny)


@pytest.fixture
def refused(tmp_path):
    """Write something, load it, and return the message; it names the file."""

    def check(content, name: str = "bad.pth", **options) -> str:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(CheckpointError) as caught:
            load(path, **options)
        assert isinstance(caught.value, ValueError)
        assert str(path) in str(caught.value)
        return str(caught.value)

    return check


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_missing_file_names_its_nearest_neighbour(tmp_path) -> None:
    (tmp_path / "mae_base.pth").write_bytes(b"x")
    with pytest.raises(
        CheckpointError, match=r"No checkpoint at .*mae_bse\.pth.*Did you mean 'mae_base.pth'\?.*timm:NAME"
    ):
        load(tmp_path / "mae_bse.pth")
    with pytest.raises(CheckpointError, match=r"There is no directory .*nowhere either"):
        load(tmp_path / "nowhere" / "mae.pth")


def test_an_empty_file(refused) -> None:
    assert "is empty (0 bytes)" in refused(b"")


@pytest.mark.parametrize("kind", ["zip", "pickle", "safetensors"])
def test_files_cut_or_altered_anywhere(weights, tmp_path, kind) -> None:
    """Whatever bytes are lost or changed: one kind of error, or (a weight changed) a model; a cut file never loads."""
    path, random = tmp_path / "bad.pth", np.random.default_rng(0)
    if kind == "safetensors":
        save_file({name: t.contiguous() for name, t in weights.items()}, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    places = [*range(1, 40), *random.integers(40, len(whole), 20), *(len(whole) - n for n in (1, 8, 22, 64, 200))]
    for place in places:
        path.write_bytes(whole[:place])
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            load(path, **HEADS)
    for _ in range(60):
        altered = bytearray(whole)
        for place in random.integers(0, 4000, 2):
            altered[place] = random.integers(256)
        path.write_bytes(altered)
        with contextlib.suppress(CheckpointError):
            assert load(path, **HEADS).verdict.decoder


@pytest.mark.parametrize("kind", ["zip", "pickle", "safetensors"])
def test_a_truncated_file(refused, weights, tmp_path, kind) -> None:
    whole = tmp_path / "whole"
    if kind == "safetensors":
        save_file({name: t.contiguous() for name, t in weights.items()}, whole)
    else:
        torch.save(weights, whole, _use_new_zipfile_serialization=kind == "zip")
    for share in (0.02, 0.5, 0.99):
        content = whole.read_bytes()
        message = refused(content[: int(share * len(content))], f"cut.{kind}")
        assert "truncated" in message
        assert "Fetch it again" in message


def test_what_is_no_checkpoint_at_all(refused) -> None:
    assert "not a checkpoint (it begins with b'hello" in refused(b"hello, this is a text")
    assert "this is a web page" in refused(b"<!DOCTYPE html><html><body>Sign in</body></html>")
    assert "git lfs pull" in refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    assert "holds no named tensors but a list" in refused([1, 2, 3])
    assert "a dict with the keys epoch, loss" in refused({"epoch": 3, "loss": 0.1})
    assert "holds no named tensors" in refused({"model": {"a": 1}})


def test_zip_archives_of_other_kinds(refused, tmp_path) -> None:
    np.savez(tmp_path / "jax.npz", a=np.zeros(3))
    assert "loads by its timm name" in refused((tmp_path / "jax.npz").read_bytes(), "jax2.npz")


def test_a_torchscript_archive_is_code(refused, tmp_path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "scripted.pt", "w") as archive:
        for name in ("model/data.pkl", "model/constants.pkl", "model/code/__torch__.py"):
            archive.writestr(name, "x")
    message = refused((tmp_path / "scripted.pt").read_bytes(), "again.pt")
    assert "TorchScript archive, which is code" in message
    assert "state_dict()" in message


class Trap:
    """What an attacker pickles: unpickling it would touch a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.path),)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old pickle"])
def test_a_file_never_runs_code(refused, weights, tmp_path, new) -> None:
    victim, path = tmp_path / "victim", tmp_path / "trap.pth"
    torch.save({"model": weights, "args": Trap(str(victim))}, path, _use_new_zipfile_serialization=new)
    message = refused(path.read_bytes(), "evil.pth")
    assert "could run code" in message
    assert "argparse.Namespace" in message
    assert "weights_only=False" in message
    assert not victim.exists()
    assert "could run code" in refused(pickle.dumps(Trap(str(victim))), "plain.pkl") or not victim.exists()


def test_a_pickled_module_is_refused_with_the_way_out(refused) -> None:
    message = refused({"model": nn.Linear(2, 2)})
    assert "needs torch.nn.modules.linear.Linear" in message
    assert "state_dict" in message


# --- what is in them --------------------------------------------------------------------------------------------------


def test_other_families(refused, weights) -> None:
    assert "look like a ResNet" in refused({"layer1.0.conv1.weight": torch.zeros(2, 2), "fc.weight": torch.zeros(2, 2)})
    assert "another family" in refused({"a.weight": torch.zeros(2)})
    assert "Expected one of the formats probekit, timm directory, transformers ViTMAE" in refused(
        {"a.weight": torch.zeros(2)}
    )
    beit = weights | {"blocks.0.attn.relative_position_bias_table": torch.zeros(9, 4)}
    assert "a table of 9 relative positions is not that of a grid of 4 x 4" in refused(beit)
    rotary = weights | {"rope.periods": torch.zeros(4)}
    assert "another family: rope.periods" in refused(rotary)
    assert "another family: dist_token" in refused(weights | {"dist_token": torch.zeros(1, 1, 64)})


def test_other_transformers_models(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    save_file({"embeddings.word_embeddings.weight": torch.zeros(3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"BertModel takes input_ids, not images; expected a vision model"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": {"AutoModel": "own.Own"}}))
    with pytest.raises(CheckpointError, match=r"no model type 'own'. Its own code is not run"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="hidden_act is 'gelu_new'; expected 'gelu'"):
        read(Found("x", "x", {}, config={"model_type": "vit_mae", "hidden_act": "gelu_new"}))


@pytest.mark.parametrize(
    "name",
    [
        "cls_token", "pos_embed", "patch_embed.proj.bias", "blocks.1.attn.qkv.weight", "blocks.0.attn.qkv.bias",
        "blocks.2.mlp.fc2.bias", "norm.bias",
    ],
)  # fmt: skip
def test_a_missing_encoder_key(refused, weights, name) -> None:
    del weights[name]
    encoder = {key: t for key, t in weights.items() if not key.startswith("decoder") and key != "mask_token"}
    for content in (weights, encoder):
        message = refused(content, **HEADS)
        if name == "cls_token":  # its row is in the position table all the same
            assert "17 position embeddings (0 of them for prefix tokens) are no square grid" in message
        else:
            assert name in message
            assert "1 keys of the encoder are missing" in message


def test_a_missing_block_and_a_missing_norm(refused, weights) -> None:
    gone = [name for name in weights if name.startswith("blocks.1.")]
    assert "12 keys of the encoder are missing" in refused({n: t for n, t in weights.items() if n not in gone}, **HEADS)
    assert "norm.weight" in refused({n: t for n, t in weights.items() if not n.startswith("norm.")}, **HEADS)


def test_any_decoder_key_makes_every_decoder_key_required(refused, weights) -> None:
    """Trap: load_state_dict(strict=False) fills the rest with noise, and reconstructions come out grey."""
    decoder = [name for name in weights if name.startswith("decoder_") or name == "mask_token"]
    encoder = {name: tensor for name, tensor in weights.items() if name not in decoder}
    assert "all or nothing" in refused(encoder | {"mask_token": weights["mask_token"]}, **HEADS)
    for name in decoder:
        without = {key: tensor for key, tensor in weights.items() if key != name}
        for content in (without, encoder | {name: weights[name]}):
            with pytest.raises(CheckpointError, match="keys of the decoder are missing") as caught:
                assemble(read(Found("a file", "a", content)), HEADS, "a file")
            assert content is not without or name in str(caught.value)


def test_a_truncated_depth_is_seen_where_the_configuration_tells_it(tiny, tmp_path) -> None:
    folder = load(tiny).save(tmp_path / "saved")
    tensors = {n: t for n, t in load_file(folder / "model.safetensors").items() if ".layer.2." not in n}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"12 keys of the encoder are missing.*vit.encoder.layer.2.layernorm_before"
    ):
        load(folder)


def test_shapes_that_contradict_each_other(refused, weights) -> None:
    weights["blocks.1.mlp.fc1.weight"] = torch.zeros(100, 64)
    message = refused(weights, **HEADS)
    assert "blocks.1.mlp.fc1.weight is (100, 64), expected (256, 64)" in message
    assert "mixes two models" in message


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"hidden_size": 128}, r"contradicts the weights: hidden_size is 128, the weights have 64"),
        ({"patch_size": 16}, r"contradicts the weights: patch_size is 16, the weights have 8"),
        ({"intermediate_size": 100}, r"intermediate_size is 100, the weights have 256"),
        ({"num_channels": 1}, r"num_channels is 1, the weights have 3"),
        ({"num_hidden_layers": 2}, r"num_hidden_layers is 2, the weights have 3"),
        (
            {"decoder_hidden_size": 64, "decoder_num_hidden_layers": 1},
            r"decoder_hidden_size is 64, .* 32; decoder_num_",
        ),
        ({"image_size": 64}, r"17 position embeddings contradict images of 64 x 64"),
        ({"num_attention_heads": 7}, r"7 heads do not divide the encoder's width of 64"),
        ({"num_attention_heads": "4"}, r"num_attention_heads in config.json is '4'; expected a whole number above 0"),
        ({"image_size": "large"}, r"image_size in config.json is 'large'; expected a whole number above 0, or two"),
        ({"layer_norm_eps": "1e-6"}, r"layer_norm_eps in config.json is '1e-6'; expected a number above 0"),
        ({"norm_pix_loss": "no"}, r"norm_pix_loss in config.json is 'no'; expected true or false"),
        ({"probekit": 3}, r"probekit in config.json is 3; expected an object"),
        ({"probekit": {"mean": [0.5], "std": [1]}}, r"mean \[0.5\] and deviation \[1\]; expected three numbers"),
    ],
)
def test_a_configuration_that_contradicts_the_weights_or_itself(tiny, tmp_path, told, message) -> None:
    folder = load(tiny).save(tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | told))
    with pytest.raises(CheckpointError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("damage", ["encoder", "version", "state"])
def test_a_damaged_directory_of_ours(tiny, tmp_path, damage) -> None:
    folder = load(tiny).save(tmp_path / "saved", format="probekit")
    config = json.loads((folder / "config.json").read_text())
    if damage == "state":
        tensors = load_file(folder / "model.safetensors")
        save_file(tensors | {"_extra_state": torch.zeros(3, dtype=torch.uint8)}, folder / "model.safetensors")
    broken = {"encoder": {"encoder": {"image_size": [32, 32], "wide": 3}}, "version": {"version": "new"}, "state": {}}
    (folder / "config.json").write_text(json.dumps(config | broken[damage]))
    expected = {"encoder": "describes no encoder", "version": "of version new", "state": "'_extra_state' is damaged"}
    with pytest.raises(CheckpointError, match=expected[damage]):
        load(folder)


def test_coarse_decoders_of_long_seq_mae(refused, weights) -> None:
    weights["decoder_downsample.weight"] = torch.zeros(32, 32, 2, 2)
    weights["decoder_pos_embed"] = torch.zeros(1, 5, 32)
    assert "works on a coarser grid than its encoder (decoder_downsample.weight)" in refused(weights, **HEADS)


def test_positions_that_fit_no_grid(refused, weights) -> None:
    weights["pos_embed"] = torch.zeros(1, 13, 64)
    assert "13 position embeddings (1 of them for prefix tokens) are no square grid" in refused(weights, **HEADS)
    assert "expected 7 (with 1 prefix tokens) or 6" in refused(weights, image_size=(16, 24), **HEADS)
    weights["patch_embed.proj.weight"] = torch.zeros(64, 3, 8, 4)
    assert "(64, 3, 8, 4); expected (width, channels, patch, patch)" in refused(weights, **HEADS)


def test_a_grid_that_is_not_square_can_be_given(weights, tmp_path) -> None:
    wide = weights | {"pos_embed": torch.randn(1, 13, 64), "decoder_pos_embed": torch.randn(1, 13, 32)}
    torch.save(wide, tmp_path / "wide.pth")
    assert load(tmp_path / "wide.pth", image_size=(24, 32), **HEADS).model.predict(torch.randn(1, 3, 24, 32)).shape == (
        1,
        12,
        192,
    )


def test_heads_that_do_not_divide(refused, weights) -> None:
    assert "5 heads do not divide the encoder's width of 64. Give another num_heads=" in refused(weights, num_heads=5)


STRANGE = {
    "no axis": torch.tensor(1.0),
    "empty": torch.zeros(0),
    "one axis": torch.zeros(5),
    "whole numbers": torch.zeros(64, dtype=torch.int64),
    "five axes": torch.zeros(1, 1, 1, 1, 1),
    "sparse": torch.eye(64).to_sparse(),
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("naming", ["MAE", "transformers"])
def test_no_tensor_of_a_strange_kind_is_taken(weights, tiny, tmp_path, kind, naming) -> None:
    """Every tensor in turn, replaced: always the one error, never a model."""
    good = weights if naming == "MAE" else {n: t.clone() for n, t in tensors_of(tiny).items()}
    for name in good:
        with pytest.raises(CheckpointError):
            assemble(read(Found("a file", "a", good | {name: STRANGE[kind]})), HEADS, "a file")


def test_parts_that_another_forward_needs(tiny) -> None:
    """A name inside a layer that is not known changes what the layer computes: it is no left-over."""
    theirs = tensors_of(tiny)
    theirs |= {"vit.encoder.layer.1.layer_scale1.lambda1": torch.ones(64)}
    with pytest.raises(CheckpointError, match=r"another family: vit.encoder.layer.1.layer_scale1.lambda1"):
        read(Found("a file", "a", theirs))


def test_quantised_weights(refused, weights) -> None:
    weights["norm.weight"] = torch.ones(64, dtype=torch.int8)
    assert "norm.weight (torch.int8, torch.strided)" in refused(weights, **HEADS)


def test_nan_is_warned_of(weights, tmp_path) -> None:
    weights["blocks.0.attn.proj.bias"][3] = torch.nan
    torch.save(weights, tmp_path / "nan.pth")
    warnings = load(tmp_path / "nan.pth", **HEADS).verdict.warnings
    assert any(
        "NaN or infinite weights in 1 of" in warning and "blocks.0.attn.proj.bias" in warning for warning in warnings
    )


def test_large_finite_weights_are_not_nan(weights, tmp_path) -> None:
    """Their sum overflows, each is finite."""
    weights["blocks.0.attn.proj.bias"][:] = 3e38
    torch.save(weights, tmp_path / "large.pth")
    assert not any("NaN" in warning for warning in load(tmp_path / "large.pth", **HEADS).verdict.warnings)


def test_zero_positions_of_a_file_are_warned_of(weights, tmp_path) -> None:
    weights["decoder_pos_embed"].zero_()
    torch.save(weights, tmp_path / "zero.pth")
    warnings = load(tmp_path / "zero.pth", **HEADS).verdict.warnings
    assert any("embeddings of the decoder are all zero" in warning and "4.57" in warning for warning in warnings)


# --- names, directories, modules --------------------------------------------------------------------------------------


def test_directories(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no model.safetensors or pytorch_model.bin.*It holds: nothing"):
        load(tmp_path)
    for name in ("a.pth", "b.pth"):
        torch.save({}, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"Name one of its files: a.pth, b.pth"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(CheckpointError, match=r"config.json is a configuration, not weights"):
        load(tmp_path / "config.json")
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"config.json is no readable JSON"):
        load(tmp_path)


def test_indices_of_shards(tmp_path) -> None:
    for table in ({}, {"weight_map": ["a"]}, {"weight_map": {}}, {"weight_map": {"a": "../../etc/passwd"}}):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(table))
        with pytest.raises(CheckpointError, match=r"is no index of weights: expected 'weight_map'"):
            load(tmp_path)


def test_paths_that_are_no_files(tmp_path) -> None:
    (tmp_path / "link.pth").symlink_to("gone.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "model.safetensors").mkdir()
    for source, message in (
        (tmp_path / "link.pth", "is a link to 'gone.pth', which is not there"),
        (tmp_path / "pipe.pth", "neither a file nor a directory but a device, pipe or socket"),
        (tmp_path / "dir", r"model.safetensors is a folder; expected a file written by torch.save"),
        ("x" * 5000, r"is no path \(File name too long\)"),
        ("~nobody-of-that-name/mae.pth", "is no path"),
        ("https://huggingface.co/facebook/vit-mae-base", r"addresses are not read.*hub id"),
        ("hf:a/b/c", "neither a file nor a hub id"),
        ("timm:vit_base_patch16_224.", r"no weights 'vit_base_patch16_224.'. Did you mean"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load(source)


def test_shipped_names(tmp_path, monkeypatch, tiny) -> None:
    monkeypatch.setattr(loading, "_shelves", lambda: [tmp_path])
    load(tiny).save(tmp_path / "quadtree-0.75")
    assert loading.shipped() == ["quadtree-0.75"]
    checkpoint = load("shipped:quadtree-0.75")
    assert (checkpoint.source, checkpoint.verdict.decoder) == ("shipped:quadtree-0.75", True)
    with pytest.raises(
        CheckpointError, match=r"No checkpoint 'quadtre-0.75' ships with probekit. Did you mean 'quadtree-0.75'\?"
    ):
        load("shipped:quadtre-0.75")
    with pytest.raises(CheckpointError, match=r"that ships with probekit: 'shipped:quadtree-0.75'"):
        load("quadtree-0.75")


def test_timm_names() -> None:
    with pytest.raises(CheckpointError, match=r"no model 'vit_bse_patch16_224'. Did you mean 'vit_base_patch16_224'\?"):
        load("timm:vit_bse_patch16_224.mae")
    with pytest.raises(
        CheckpointError, match=r"no weights 'vit_base_patch16_224.mea'. Did you mean 'vit_base_patch16_224.mae'\?"
    ):
        load("timm:vit_base_patch16_224.mea")
    with pytest.raises(CheckpointError, match=r"'timm:vit_base_patch16_224'"):
        load("vit_base_patch16_224")


def test_modules_of_other_kinds(tiny) -> None:
    with pytest.raises(CheckpointError, match=r"the Linear: these are not the weights of a vision transformer"):
        load(nn.Linear(2, 2))
    module = timm.create_model("test_vit").blocks[0]
    module.pretrained_cfg = {}
    with pytest.raises(CheckpointError, match=r"timm's \w+ has no forward_intermediates.*probekit.Encoder.wrap"):
        load(module)
    with pytest.raises(
        CheckpointError, match=r"The encoder is a torch.nn.modules.linear.Linear; expected timm's VisionTransformer"
    ):
        MaskedAutoencoder(nn.Linear(2, 2), None, normalised_targets=None)


def test_sources_of_no_kind(tmp_path) -> None:
    for source in (3, None, "", b"bytes"):
        with pytest.raises(CheckpointError, match=r"names no checkpoint\. Expected a path, a hub id"):
            load(source)


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reg_tokens": 4, "no_embed_class": True}, "4 register tokens, positions for patches only"),
        ({"global_pool": "avg"}, "fc_norm, 'avg' pooling"),
        ({"class_token": False, "global_pool": "map"}, r"no \[CLS\] token"),
        ({"img_size": (32, 48)}, "images of 32 x 48 pixels, which are not square"),
        ({"init_values": 0.1}, "layer scale"),
        ({"pre_norm": True}, "a norm before the blocks"),
        ({"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}, "MLPs of kind swiglu_packed"),
        ({"act_layer": "quick_gelu"}, "quick_gelu activations"),
        ({"norm_layer": RmsNorm, "qk_norm": True}, "query and key norms, RMS norms"),
    ],
)
def test_what_transformers_cannot_hold_ours_can(options, message, random_weights, tmp_path) -> None:
    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 0}
    encoder = random_weights(timm.models.VisionTransformer(**arguments | options))
    checkpoint = load(encoder)
    with pytest.raises(CheckpointError, match=f'cannot hold this model: it has .*{message}.*format="probekit"'):
        checkpoint.save(tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
    again = load(checkpoint.save(tmp_path / "ours", format="probekit"))
    picture = torch.randn(2, 3, *again.card.image_size)
    assert torch.equal(again.model.encode(picture), checkpoint.model.encode(picture))
    pooled = [model.pool(model.encode(picture), "native") for model in (again.model, checkpoint.model)]
    assert torch.equal(*pooled)


def test_what_neither_can_hold(random_weights, tmp_path) -> None:
    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 0}
    block = timm.models.vision_transformer.ResPostBlock
    checkpoint = load(random_weights(timm.models.VisionTransformer(**arguments, block_fn=block)))
    with pytest.raises(CheckpointError, match=r"ResPostBlock .*cannot be saved"):
        checkpoint.save(tmp_path / "ours", format="probekit")
    parallel = timm.models.vision_transformer.ParallelScalingBlock
    for format in ("transformers", "probekit"):
        with pytest.raises(CheckpointError, match=r"ParallelScalingBlock cannot be saved"):
            load(timm.models.VisionTransformer(**arguments, block_fn=parallel)).save(tmp_path / "ours", format=format)
    pooled = load(
        random_weights(
            timm.models.VisionTransformer(**arguments, reg_tokens=1, global_pool="avg", pool_include_prefix=True)
        )
    )
    with pytest.raises(CheckpointError, match="parts that the probekit format does not describe"):
        pooled.save(tmp_path / "ours", format="probekit")
    assert not (tmp_path / "ours").exists()


def test_where_and_how_saving_is_refused(tiny, tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="is a file; a checkpoint is saved as a directory"):
        load(tiny).save(tmp_path / "file")
    with pytest.raises(StorageError, match=r"file/below cannot be written: .*What was there before is unchanged"):
        load(tiny).save(tmp_path / "file" / "below")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("x")
    with pytest.raises(CheckpointError, match=r"holds other things than a checkpoint \(thesis.tex\).*new directory"):
        load(tiny).save(tmp_path / "work")
    assert (tmp_path / "work" / "thesis.tex").read_text() == "x"
    for dtype in (torch.int8, "float16"):
        with pytest.raises(CheckpointError, match=r"expected a torch type such as torch.float16"):
            load(tiny).save(tmp_path / "x", dtype=dtype)
    with pytest.raises(CheckpointError, match="Did you mean 'transformers'"):
        load(tiny).save(tmp_path / "x", format="transformer")


def test_newer_files_of_ours_are_refused(tiny, tmp_path) -> None:
    folder = load(tiny).save(tmp_path / "x", format="probekit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"version": 99}))
    with pytest.raises(CheckpointError, match="version 99 of this format; this probekit reads up to 1"):
        load(folder)
