"""Encoders of every kind through every probe: each works, or says why it is not applicable."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch
import transformers
from timm.models.vision_transformer import VisionTransformer
from tiny_measured import QUICK

import probekit
from probekit import probes
from probekit.collect import Counts
from probekit.errors import ProbeError
from probekit.evaluation import SUITES

COUNTS = Counts(train=40, val=20, test=24, images=12, pairs=8, objects=8, views=2, shifted=12, gradients=2, pictures=1)
CLASS_LESS = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


pytestmark = pytest.mark.filterwarnings("ignore::probekit.models.card.CheckpointWarning")
"""The normalisation of these models is assumed; that this is a warning is tested where it is the subject."""


@pytest.fixture(scope="module")
def vit():
    """Of seed 1: with seed 0 one shifted image lies nearer to the border of two classes than the heads' solver goes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=0).eval()


def layers_of(vit):
    def encode(images):
        final, states = vit.forward_intermediates(images, output_fmt="NLC", return_prefix_tokens=True)
        embedding = vit.norm_pre(vit._pos_embed(vit.patch_embed(images)))
        return [embedding, *[torch.cat([prefix, patches], 1) for patches, prefix in states[:-1]], final]

    return encode


def checkpoints(vit):
    """The ViT directly and wrapped, a hierarchical model, one without [CLS], and one without places or gradients."""
    direct = probekit.load(vit, name="direct")
    card = direct.card
    same = probekit.Encoder.wrap(
        layers_of(vit), patch_size=8, image_size=32, mean=card.mean, std=card.std, num_prefix_tokens=1, name="wrapped"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        windows = {"img_size": 64, "window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)}
        swin = probekit.load(timm.create_model("swin_tiny_patch4_window7_224", **windows), name="hierarchical")
        without = transformers.IJepaModel(transformers.IJepaConfig(**CLASS_LESS))
    return [direct, same, swin, probekit.load(without, name="class-less"), bare()]


def bare():
    """Five tokens that lie nowhere, of a function that returns arrays."""

    def encode(images):
        pixels = images.flatten(1).numpy()
        return [np.stack([pixels[:, start : start + width] for start in range(5)], axis=1) for width in (7, 9)]

    mean = std = (0.5, 0.5, 0.5)
    return probekit.Encoder.wrap(encode, patch_size=16, image_size=64, mean=mean, std=std, name="bare")


@pytest.fixture(scope="module")
def found(vit):
    return {
        data: probekit.compare(checkpoints(vit), suite="all", data=data, counts=COUNTS, options=QUICK, cache=False)
        for data in ("shapes", "quadtree")
    }


@pytest.mark.parametrize("data", ["shapes", "quadtree"])
@pytest.mark.parametrize("name", ["direct", "wrapped", "hierarchical", "class-less", "bare"])
def test_every_probe_gives_numbers_or_a_reason(found, data, name) -> None:
    ds = found[data].sel(checkpoint=name)
    reasons = json.loads(ds.attrs["not_applicable"]).get(name, {})
    for probe in map(probes.find, SUITES["all"].probes):
        for variable in probe.variables:
            known = variable.name in ds and np.isfinite(ds[variable.name].values.astype(float)).any()
            assert known or probe.name in reasons or variable.name in reasons, f"{variable.name}: neither"
    assert not any("Error" in reason for reason in reasons.values())


@pytest.mark.parametrize("data", ["shapes", "quadtree"])
def test_a_wrapped_vit_has_the_numbers_of_the_same_vit(found, data) -> None:
    ds = found[data]
    compared = 0
    for name in ds.data_vars:
        if "checkpoint" in ds[name].dims and ds[name].dtype.kind == "f" and name != "embedding_xy":
            direct, wrapped = (ds[name].sel(checkpoint=one).values for one in ("direct", "wrapped"))
            if np.isfinite(wrapped).any():
                np.testing.assert_allclose(wrapped, direct, rtol=1e-4, atol=1e-4, err_msg=str(name))
                compared += 1
    assert compared > 20


def test_reasons_are_of_what_lacks(found) -> None:
    shapes = json.loads(found["shapes"].attrs["not_applicable"])
    assert "the wrapped function gives no attention" in shapes["wrapped"]["attention_distance"]
    assert "different grids of patches (16 x 16, 8 x 8)" in shapes["hierarchical"]["fourier_amplitude"]
    assert "no [CLS] token" in shapes["class-less"]["object_focus"]
    assert "form no grid" in shapes["bare"]["fourier_amplitude"]
    quadtree = json.loads(found["quadtree"].attrs["not_applicable"])
    assert "form no grid" in quadtree["bare"]["latent_recovery"]
    assert "no untrained twin" in quadtree["wrapped"]["representation_level_untrained"]


def test_a_probe_that_is_asked_for_by_name_raises_its_reason(vit) -> None:
    with pytest.raises(ProbeError, match="gives no attention"):
        probekit.evaluate(checkpoints(vit)[1], "attention_distance", data="shapes", counts=COUNTS, cache=False)


def test_the_ladder_lacks_the_untrained_twin_alone(vit) -> None:
    ds = probekit.evaluate(checkpoints(vit)[2], "level_ladder", data="shapes", counts=COUNTS, cache=False)
    assert np.isfinite(ds.ladder_level.sel(pooling="mean")).any()
    reasons = json.loads(ds.attrs["not_applicable"])["hierarchical"]
    assert "no untrained twin" in reasons["ladder_level_untrained"]


def test_448_pixels(vit) -> None:
    """A model that was built for less, and one of 448: features of 56 x 56 patches."""
    dino = transformers.Dinov2Model(transformers.Dinov2Config(**CLASS_LESS))
    large = probekit.load(dino, image_size=(448, 448))
    assert large.model.shapes(448, 448)[-1].grid == (56, 56)
    few = Counts(train=24, val=8, test=4, images=2, pairs=2, objects=2, views=2, shifted=2, gradients=1, pictures=1)
    ds = probekit.evaluate(large, "knn", data="shapes", counts=few, cache=False)
    assert np.isfinite(ds.knn_accuracy).all()


def test_a_function_that_changes_is_measured_again(tmp_path, monkeypatch) -> None:
    """A stale cache would give the first numbers again."""
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path))
    factor = [1.0]

    def encode(images):
        tokens = torch.nn.functional.unfold(images, 16, stride=16).transpose(1, 2)[..., :12]
        return [tokens, tokens.relu() if factor[0] == 1 else -tokens.abs()]

    def measured():
        mean = std = (0.5, 0.5, 0.5)
        one = probekit.Encoder.wrap(encode, patch_size=16, image_size=64, mean=mean, std=std, name="f")
        ds = probekit.evaluate(one, "label_free", data="shapes", counts=COUNTS)
        return ds.rankme.sel(layer=1).item(), json.loads(ds.attrs["provenance"])["records"][0]["forwards"]

    first, forwards = measured()
    assert forwards > 0
    assert measured() == (first, 0)
    factor[0] = 2.0
    second, forwards = measured()
    assert second != first
    assert forwards > 0
