"""Hub ids and timm names: from the cache, without a network, and with the network's edge replaced by a folder."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
import transformers
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import save_file

from probekit import cli
from probekit.errors import CheckpointError
from probekit.models import hub, load, timm_names


@pytest.fixture
def cached(tiny, tmp_path, monkeypatch) -> Path:
    """A hub cache that holds one repository, `lab/mae-tiny`, as huggingface_hub lays it out."""
    root = tmp_path / "hub"
    snapshot = root / "models--lab--mae-tiny" / "snapshots" / ("0" * 40)
    load(tiny).save(snapshot)
    (root / "models--lab--mae-tiny" / "refs").mkdir()
    (root / "models--lab--mae-tiny" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    return snapshot


@pytest.mark.parametrize("source", ["lab/mae-tiny", "hf:lab/mae-tiny"])
def test_a_cached_repository_needs_no_network(cached, tiny, images, hidden, monkeypatch, source) -> None:
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *args, **options: pytest.fail("asked the network"))
    checkpoint = load(source)
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
    assert checkpoint.source == "lab/mae-tiny"


def put(root: Path, identity: str, folder: Path) -> Path:
    """A repository in a cache, as huggingface_hub keeps it: `refs`, `blobs`, and links to them in `snapshots`."""
    home, commit = root / f"models--{identity.replace('/', '--')}", "1" * 40
    snapshot = home / "snapshots" / commit
    for directory in (home / "refs", home / "blobs", snapshot):
        directory.mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, home / "blobs" / f"{number:040}")
        (snapshot / file.name).symlink_to(Path("..") / ".." / "blobs" / f"{number:040}")
    return snapshot


@pytest.fixture
def unconnected(tmp_path, monkeypatch) -> Path:
    """An empty cache on a machine with HF_HUB_OFFLINE=1."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_an_mae_in_transformers_format_from_the_cache(unconnected, tiny, images, hidden, tmp_path) -> None:
    put(unconnected, "lab/mae", load(tiny).save(tmp_path / "saved"))
    checkpoint = load("lab/mae")
    assert torch.equal(checkpoint.model.predict(images, hidden), tiny.predict(images, hidden))
    assert (checkpoint.source, checkpoint.verdict.format) == ("lab/mae", "transformers ViTMAE")


def test_an_encoder_of_transformers_from_the_cache(unconnected, random_weights, tmp_path) -> None:
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8
    )
    module = random_weights(transformers.Dinov2Model(config))
    module.save_pretrained(tmp_path / "saved")
    put(unconnected, "lab/dino", tmp_path / "saved")
    image = torch.randn(1, 3, 32, 32)
    for source in ("lab/dino", "hf:lab/dino"):
        checkpoint = load(source)
        with torch.no_grad():
            expected = module(image).last_hidden_state
        torch.testing.assert_close(checkpoint.model.encode(image), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("source", ["lab/swin", "hf-hub:lab/swin", "hf_hub:lab/swin", "timm:hf-hub:lab/swin"])
def test_a_repository_of_timm_from_the_cache(unconnected, random_weights, tmp_path, source) -> None:
    """timm's own spelling of hub ids is read too."""
    sizes = {"img_size": 64, "window_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]}
    module = random_weights(timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, **sizes))
    folder = tmp_path / "saved"
    folder.mkdir()
    save_file({name: one.contiguous() for name, one in module.state_dict().items()}, folder / "model.safetensors")
    config = {"architecture": "swin_tiny_patch4_window7_224", "model_args": sizes, "num_classes": 0}
    config |= {"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 64, 64]}}
    (folder / "config.json").write_text(json.dumps(config))
    put(unconnected, "lab/swin", folder)
    checkpoint = load(source)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = module.forward_features(image).flatten(1, 2)
    torch.testing.assert_close(checkpoint.model.encode(image), expected, rtol=0, atol=1e-5)
    assert checkpoint.card.mean == (0.5, 0.5, 0.5)


def test_a_repositorys_own_code_is_not_run(unconnected, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "modeling_lab.py").write_text("open('ran', 'w').close()")
    told = {"model_type": "lab_vit", "auto_map": {"AutoModel": "modeling_lab.LabModel"}}
    (folder / "config.json").write_text(json.dumps(told))
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")
    put(unconnected, "lab/own", folder)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"no model type 'lab_vit'. Its own code is not run.*Encoder.wrap"):
        load("lab/own")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("source", ["lab/absent", "hf:lab/absent", "hf-hub:lab/absent"])
def test_offline_an_absent_repository_is_named(unconnected, source) -> None:
    with pytest.raises(
        CheckpointError, match=r"'lab/absent' is no file here, and the .* hub cannot be reached \(.*ffline"
    ):
        load(source)


def offline(*args: object, **options: object) -> None:
    raise HfHubHTTPError.__bases__[0]("Name or service not known")


def test_without_a_network_the_error_is_clear_and_soon(cached, monkeypatch) -> None:
    monkeypatch.setattr(hub, "get_hf_file_metadata", offline)
    start = time.monotonic()
    with pytest.raises(
        CheckpointError, match=r"'facebook/vit-mae-base' is no file here, and the .* hub cannot be reached"
    ):
        load("facebook/vit-mae-base")
    with pytest.raises(CheckpointError, match=r"timm:vit_tiny_patch16_224.* hub cannot be reached.*give its directory"):
        load("timm:vit_tiny_patch16_224.augreg_in21k")
    assert time.monotonic() - start < hub.SECONDS


def test_a_mistyped_path_is_no_hub_id(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *args, **options: pytest.fail("asked the network"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for source in ("runs/last", "elsewhere/mae.pth"):
        with pytest.raises(CheckpointError, match=r"No checkpoint at"):
            load(source)


def test_timm_names_are_loaded_by_timm(random_weights, tmp_path, monkeypatch, capfd) -> None:
    """The file comes from a folder instead of the hub; all else is as on a connected machine."""
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    reference = random_weights(timm.create_model("vit_tiny_patch16_224"))
    save_file(
        {key: tensor.contiguous() for key, tensor in reference.state_dict().items()}, tmp_path / "model.safetensors"
    )
    asked = []

    def fetch(repository: str, filename: str, *, what: str) -> Path:
        asked.append((repository, filename))
        return tmp_path / filename

    monkeypatch.setattr(hub, "fetch", fetch)
    checkpoint = load(f"timm:{name}")
    assert asked == [(f"timm/{name}", "model.safetensors")]
    image = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(checkpoint.model.encode(image), reference.forward_features(image), rtol=0, atol=2e-5)
    assert checkpoint.card.mean == (0.5, 0.5, 0.5)
    assert checkpoint.card.crop_fraction == 0.9
    assert checkpoint.card.licence == "apache-2.0"
    assert checkpoint.card.mask_ratio is None
    assert (checkpoint.name, checkpoint.verdict.warnings) == (name, ())
    assert len(checkpoint.card.sha256) == 64
    assert capfd.readouterr().err == ""


def test_timms_mae_is_known_to_be_one() -> None:
    config = timm_names.check_name("vit_base_patch16_224.mae")
    facts = timm_names.facts(config, 16)
    assert (facts["mask_ratio"], facts["patch_size"]) == (0.75, 16)
    assert timm_names.is_mae("vit_base_patch16_224.mae")
    assert not timm_names.is_mae("vit_base_patch16_224.augreg_in1k")


def test_every_vit_of_timm_can_be_built_or_is_refused_by_name() -> None:
    """One of each kind that users compare MAE with."""
    for name in (
        "vit_small_patch14_reg4_dinov2",
        "vit_base_patch16_clip_224",
        "vit_base_patch16_siglip_224",
        "deit3_small_patch16_224",
    ):
        assert len(timm_names.encoder_on_meta(name).blocks) == 12
    with pytest.raises(CheckpointError, match=r"swin_tiny_patch4_window7_224 is a SwinTransformer"):
        timm_names.encoder_on_meta("swin_tiny_patch4_window7_224")


def command_line(monkeypatch, *arguments: str) -> int:
    """Exit code of `probekit ARGUMENTS`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["probekit", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code or 0


def test_inspect_on_the_command_line(tiny, tmp_path, monkeypatch, capsys) -> None:
    folder = load(tiny, name="tiny").save(tmp_path / "tiny")
    capsys.readouterr()
    assert command_line(monkeypatch, "inspect", str(folder)) == 0
    out = capsys.readouterr()
    assert "Decoder        width 32, depth 2, 2 heads" in out.out
    assert "transformers ViTMAE" in out.out
    assert out.err == ""
    assert command_line(monkeypatch, "inspect", str(folder), "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"
    shutil.rmtree(folder)
    assert command_line(monkeypatch, "inspect", str(folder)) == 2
    assert capsys.readouterr().err.startswith("probekit: No checkpoint at")
