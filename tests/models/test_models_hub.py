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
