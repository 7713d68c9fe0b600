"""transformers' ViTMAE: the same numbers from either naming, from files, directories and modules, and back again."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel

from probekit.errors import CheckpointError
from probekit.models import MaskedAutoencoder, load
from probekit.models.positions import sin_cos

TOLERANCE = 2e-5
TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 80,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 56,
    "image_size": 32,
    "patch_size": 8,
    "layer_norm_eps": 1e-6,
}

OLD_NAMES = [
    (".q_proj", ".attention.query"),
    (".k_proj", ".attention.key"),
    (".v_proj", ".attention.value"),
    (".o_proj", ".output.dense"),
    (".mlp.fc1", ".intermediate.dense"),
    (".mlp.fc2", ".output.dense"),
    ("vit.layers", "vit.encoder.layer"),
]
"""From version 5's names to version 4's, as the files on the hub have them."""


def original(random_weights, **options) -> ViTMAEForPreTraining:
    """A model of transformers with random weights and the position embeddings that version 5.23 leaves at zero."""
    config = ViTMAEConfig(**TINY | options)
    model = random_weights(ViTMAEForPreTraining(config))
    side = config.image_size // config.patch_size
    with torch.no_grad():
        model.vit.embeddings.position_embeddings.copy_(sin_cos((side, side), config.hidden_size))
        model.decoder.decoder_pos_embed.copy_(sin_cos((side, side), config.decoder_hidden_size))
    return model


@pytest.fixture(scope="module")
def theirs(random_weights) -> ViTMAEForPreTraining:
    return original(random_weights)


def old_names(model: ViTMAEForPreTraining) -> dict[str, torch.Tensor]:
    out = {}
    for name, tensor in model.state_dict().items():
        for new, old in OLD_NAMES:
            name = name.replace(new, old)
        out[name] = tensor.clone()
    return out


def write(folder: Path, model: ViTMAEForPreTraining, tensors: dict[str, torch.Tensor], *, binary: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    if binary:
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


@torch.no_grad()
def run(model: ViTMAEForPreTraining, images: torch.Tensor, hidden: torch.Tensor):
    """(encoder tokens, prediction) of the original for this mask; its tokens come back in the order of the noise."""
    patches = hidden.shape[1]
    noise = hidden.float() + torch.arange(patches) / (10 * patches)  # visible first, in raster order
    before = model.config.mask_ratio
    model.config.mask_ratio = 1 - (int((~hidden[0]).sum()) + 0.5) / patches  # its own rounding is downwards
    try:
        out = model.vit(images, noise=noise)
        return out.last_hidden_state, model.decoder(out.last_hidden_state, out.ids_restore).logits
    finally:
        model.config.mask_ratio = before


def assert_equal(
    model: MaskedAutoencoder, theirs: ViTMAEForPreTraining, images: torch.Tensor, hidden: torch.Tensor
) -> None:
    for mask in (hidden, torch.zeros_like(hidden)):
        tokens, prediction = run(theirs, images, mask)
        torch.testing.assert_close(model.encode(images, mask), tokens, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(model.predict(images, mask), prediction, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(
        model.encode(images), run(theirs, images, torch.zeros_like(hidden))[0], rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("naming", ["4", "5", "saved by 5"])
@pytest.mark.parametrize("binary", [False, True], ids=["safetensors", "bin"])
def test_equal_from_every_naming(theirs, images, hidden, tmp_path, naming, binary) -> None:
    tensors = old_names(theirs) if naming == "4" else {n: t.clone() for n, t in theirs.state_dict().items()}
    folder = write(tmp_path / "model", theirs, tensors, binary=binary)
    if naming == "saved by 5":
        theirs.save_pretrained(folder)
    checkpoint = load(folder)
    assert_equal(checkpoint.model, theirs, images, hidden)
    assert checkpoint.verdict.format == "transformers ViTMAE"
    assert (checkpoint.verdict.missing, checkpoint.verdict.left_over) == ((), ())
    assert checkpoint.card.mask_ratio == 0.75
    assert (checkpoint.card.patch_size, checkpoint.card.vit_patch_size, checkpoint.card.image_size) == (8, 8, (32, 32))
    assert checkpoint.card.normalised_targets is False
    assert checkpoint.card.architecture["num_heads"] == 3
    assert checkpoint.card.architecture["decoder"]["num_heads"] == 4


def test_equal_at_vit_b_size_to_transformers_and_timm(random_weights) -> None:
    big = original(
        random_weights,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        decoder_hidden_size=512,
        decoder_num_hidden_layers=8,
        decoder_num_attention_heads=16,
        decoder_intermediate_size=2048,
        image_size=224,
        patch_size=16,
    )
    mask = torch.rand(1, 196, generator=torch.Generator().manual_seed(0)).argsort(1) < 147
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens, prediction = run(big, image, mask)
        ours = load(big).model
        torch.testing.assert_close(ours.encode(image, mask), tokens, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(ours.predict(image, mask), prediction, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(
            ours.encode(image), run(big, image, torch.zeros_like(mask))[0], rtol=0, atol=TOLERANCE
        )
        timms = ours.encoder.forward_features(image)
        torch.testing.assert_close(ours.encode(image), timms, rtol=0, atol=TOLERANCE)


def test_modules_are_read_as_they_stand(theirs, images, hidden) -> None:
    assert_equal(load(theirs).model, theirs, images, hidden)
    encoder = load(theirs.vit)
    assert not encoder.verdict.decoder
    torch.testing.assert_close(
        encoder.model.encode(images, hidden), run(theirs, images, hidden)[0], rtol=0, atol=TOLERANCE
    )


def test_an_encoder_directory_is_an_encoder(theirs, images, hidden, tmp_path) -> None:
    theirs.vit.save_pretrained(tmp_path)
    checkpoint = load(tmp_path)
    assert not checkpoint.verdict.decoder
    torch.testing.assert_close(
        checkpoint.model.encode(images, hidden), run(theirs, images, hidden)[0], rtol=0, atol=TOLERANCE
    )


def test_layer_norm_epsilon_is_read(random_weights, images, hidden) -> None:
    """Trap: the library's default is 1e-12, MAE's presets use 1e-6. A large one shows whether it is used."""
    model = original(random_weights, layer_norm_eps=0.3)
    checkpoint = load(model)
    assert checkpoint.card.architecture["layer_norm_eps"] == 0.3
    assert_equal(checkpoint.model, model, images, hidden)
    silent = model.config.to_dict()
    del silent["layer_norm_eps"]
    from probekit.models.formats import transformers_vit_mae as format

    assert (format.DEFAULTS | silent)["layer_norm_eps"] == ViTMAEConfig().layer_norm_eps == 1e-12


def test_zero_positions_are_warned_of(images) -> None:
    """Trap: this version of transformers builds its model with all-zero, frozen position embeddings."""
    checkpoint = load(ViTMAEForPreTraining(ViTMAEConfig(**TINY)))
    found = [warning for warning in checkpoint.verdict.warnings if "position embeddings" in warning]
    assert len(found) == 2
    assert "encoder are all zero" in found[0]
    assert "transformers 5.23" in found[0]


def test_tokens_are_in_raster_order_where_theirs_are_shuffled(theirs, images) -> None:
    """Trap: with mask_ratio=0 the original's tokens come back in the order of its noise; ours never do."""
    before = theirs.config.mask_ratio
    theirs.config.mask_ratio = 0.0
    noise = torch.rand(3, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = theirs.vit(images, noise=noise)
    theirs.config.mask_ratio = before
    ours = load(theirs).model.encode(images)
    assert not torch.allclose(out.last_hidden_state, ours, atol=1e-2)
    back = out.ids_restore[..., None].expand(-1, -1, 48)
    torch.testing.assert_close(ours[:, 1:], out.last_hidden_state[:, 1:].gather(1, back), rtol=0, atol=TOLERANCE)


def test_other_image_sizes_encode_as_theirs(theirs) -> None:
    larger = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    before = theirs.config.mask_ratio
    theirs.config.mask_ratio = 0.0
    with torch.no_grad():
        out = theirs.vit(larger, noise=torch.arange(35.0).expand(2, 35), interpolate_pos_encoding=True)
    theirs.config.mask_ratio = before
    torch.testing.assert_close(load(theirs).model.encode(larger), out.last_hidden_state, rtol=0, atol=TOLERANCE)


def test_the_file_beside_its_configuration_is_enough(theirs, images, hidden, tmp_path) -> None:
    folder = write(tmp_path / "m", theirs, old_names(theirs))
    assert_equal(load(folder / "model.safetensors").model, theirs, images, hidden)


def test_a_lone_file_warns_of_what_it_cannot_tell(theirs, tmp_path) -> None:
    write(tmp_path, theirs, old_names(theirs))
    (tmp_path / "model.safetensors").rename(tmp_path / "lone.safetensors")
    checkpoint = load(tmp_path / "lone.safetensors", num_heads=3, decoder_num_heads=4)
    assert any("No config.json" in warning for warning in checkpoint.verdict.warnings)
    assert checkpoint.card.normalised_targets is None
    assert load(tmp_path / "lone.safetensors").card.architecture["decoder"]["num_heads"] == 1


def test_preprocessor_and_shards_are_read(theirs, images, hidden, tmp_path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in old_names(theirs).items()}
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text(json.dumps(theirs.config.to_dict()))
    seen = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "resample": 2, "do_center_crop": True}
    seen |= {"size": {"shortest_edge": 64}, "crop_size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(seen))
    checkpoint = load(tmp_path)
    assert_equal(checkpoint.model, theirs, images, hidden)
    assert checkpoint.preprocess.mean == (0.5, 0.5, 0.5)
    assert (checkpoint.preprocess.interpolation, checkpoint.preprocess.crop_fraction) == ("bilinear", 0.5)
    assert checkpoint.verdict.warnings == ()
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"\['b.safetensors'\] are missing"):
        load(tmp_path)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_what_we_write_transformers_reads_to_the_same_numbers(tiny, images, hidden, tmp_path) -> None:
    checkpoint = load(tiny, name="tiny")
    checkpoint.card.mask_ratio, checkpoint.card.patch_size, checkpoint.card.data = 0.6, 16, "quadtree"
    checkpoint.card.licence, checkpoint.card.epochs, checkpoint.card.mean = "apache-2.0", 12.5, (0.5, 0.5, 0.5)
    folder = checkpoint.save(tmp_path / "saved")
    model, told = ViTMAEForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    assert (model.config.mask_ratio, model.config.patch_size, model.config.layer_norm_eps) == (0.6, 8, 1e-6)
    assert_equal(tiny, model.eval(), images, hidden)
    again = load(folder)
    assert torch.equal(again.model.predict(images, hidden), tiny.predict(images, hidden))
    for name in (
        "name",
        "mask_ratio",
        "patch_size",
        "data",
        "licence",
        "epochs",
        "mean",
        "normalised_targets",
        "image_size",
    ):
        assert getattr(again.card, name) == getattr(checkpoint.card, name), name


@pytest.mark.parametrize("ratio", [75, -0.1, "high"])
def test_a_mask_ratio_that_is_none_is_not_recorded(tiny, tmp_path, ratio) -> None:
    folder = load(tiny).save(tmp_path / "saved")
    config = json.loads((folder / "config.json").read_text())
    del config["probekit"]  # ours wins over theirs
    (folder / "config.json").write_text(json.dumps(config | {"mask_ratio": ratio}))
    checkpoint = load(folder)
    assert checkpoint.card.mask_ratio is None
    assert any(repr(ratio) in warning and "no ratio" in warning for warning in checkpoint.verdict.warnings)


def test_it_survives_a_round_trip_through_transformers(tiny, images, hidden, tmp_path) -> None:
    checkpoint = load(tiny)
    checkpoint.card.patch_size = 16
    theirs = ViTMAEForPreTraining.from_pretrained(checkpoint.save(tmp_path / "ours"))
    theirs.save_pretrained(tmp_path / "theirs")
    again = load(tmp_path / "theirs")
    assert torch.equal(again.model.predict(images, hidden), tiny.predict(images, hidden))
    assert again.card.patch_size == 16


def test_an_encoder_alone_is_written_as_vit_mae_model(theirs, images, hidden, tmp_path) -> None:
    folder = load(theirs.vit).save(tmp_path / "encoder")
    model, told = ViTMAEModel.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert not load(folder).model.has_decoder
    torch.testing.assert_close(
        load(model).model.encode(images, hidden), run(theirs, images, hidden)[0], rtol=0, atol=TOLERANCE
    )


def test_every_file_of_a_saved_directory_can_be_read_by_those_who_can_read_any(tiny, tmp_path) -> None:
    folder = load(tiny).save(tmp_path / "saved")
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_a_directory_can_be_saved_over_itself(tiny, images, tmp_path) -> None:
    """Weights are mapped from the file that is being replaced."""
    checkpoint = load(load(tiny).save(tmp_path / "same"))
    checkpoint.save(tmp_path / "same")
    assert torch.equal(checkpoint.model.encode(images), tiny.encode(images))
    assert torch.equal(load(tmp_path / "same").model.encode(images), tiny.encode(images))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["same"]


def test_half_precision_is_stored_and_computed_in_float32(tiny, images, tmp_path) -> None:
    folder = load(tiny).save(tmp_path / "half", dtype=torch.bfloat16)
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    model = load(folder).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.encode(images), tiny.encode(images), rtol=0, atol=0.2)


def test_a_good_path_is_silent(theirs, tmp_path, capfd) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = write(tmp_path / "m", theirs, old_names(theirs))
        seen = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
        (folder / "preprocessor_config.json").write_text(json.dumps(seen))
        load(load(folder).save(tmp_path / "again"))
    out = capfd.readouterr()
    assert (out.out, out.err) == ("", "")


def test_an_adapter_is_refused_and_its_merged_model_is_read(random_weights, tmp_path) -> None:
    """What peft writes: an adapter alone, and a model that it was merged into."""
    peft = pytest.importorskip("peft")
    theirs = original(random_weights).eval()
    images, order = torch.randn(2, 3, 32, 32), torch.arange(16.0).repeat(2, 1)
    plain = load(theirs, device="cpu").model.encode(images)
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(theirs, lora)
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"is a LoRA adapter\. Merge it into its base model first"):
        load(tmp_path / "adapter")
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    merged.config.mask_ratio = 0.0
    expected = merged.vit(images, noise=order).last_hidden_state
    found = load(tmp_path / "merged", device="cpu").model.encode(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
    assert (found - plain).abs().max() > 0.01


@pytest.mark.parametrize("inside", ["", "base_model.model."])
def test_the_layout_of_an_adapter_is_recognised(tmp_path, inside) -> None:
    """As peft lays it out, whether or not it is installed."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    layer = f"{inside}vit.layers.0.attention.q_proj"
    save_file({f"{layer}.lora_A.weight": torch.zeros(4, 48), f"{layer}.lora_B.weight": torch.zeros(48, 4)},
              folder / "adapter_model.safetensors")  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    with pytest.raises(CheckpointError, match=r"is a LoRA adapter\. Merge it into its base model first"):
        load(folder)
