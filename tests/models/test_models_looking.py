"""Where a checkpoint looks in a plain image, and which pixels its features depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import probekit
from probekit.errors import CheckpointError, DataError, ProbekitError
from probekit.models import MaskedAutoencoder, load


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def expected_rows(model, picture, layer):
    images = load(model).preprocess.normalise(torch.from_numpy(picture).permute(2, 0, 1)[None])
    with torch.inference_mode():
        return next(one.attention[0] for one in model.trace(images, attention=True) if one.index == layer)


def test_attention_is_that_of_the_trace(tiny, picture, tmp_path) -> None:
    checkpoint = load(tiny)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    found = checkpoint.attention(tmp_path / "picture.png")
    weights = expected_rows(tiny, picture, 3)
    cls = weights[:, 0, 1:] / weights[:, 0, 1:].sum(-1, keepdim=True)
    assert (found.layer, found.query, found.heads.shape) == (3, "cls", (4, 4, 4))
    assert np.allclose(found.heads, cls.reshape(4, 4, 4), atol=1e-6)
    assert np.allclose(found.mean, cls.mean(0).reshape(4, 4), atol=1e-6)
    one = checkpoint.attention(picture, 1, head=2, query=(1, 3))
    row = expected_rows(tiny, picture, 1)[:, 1 + 4 + 3, 1:]
    assert np.allclose(one.heads, (row / row.sum(-1, keepdim=True)).reshape(4, 4, 4), atol=1e-6)
    everyone = checkpoint.attention(picture, -3, query="mean").heads
    mean = expected_rows(tiny, picture, 1)[:, 1:, 1:].mean(1)
    assert np.allclose(everyone, (mean / mean.sum(-1, keepdim=True)).reshape(4, 4, 4), atol=1e-6)
    assert [words for words, _ in found.parts()][:3] == ["image", "[CLS], layer 3, mean", "head 0"]
    assert [words for words, _ in one.parts()] == ["image", "patch (1, 3), layer 1, head 2"]
    assert found.strip().size == (6 * 160 + 5 * 6, 160 + 18)
    assert 'alt="Side by side: image, [CLS], layer 3, mean, head 0' in found._repr_html_()
    assert len(repr(found)) < 100


def test_an_overlay_is_brightest_where_attention_is_highest(tiny, picture) -> None:
    found = load(tiny).attention(np.full_like(picture, 90))
    over = found.parts()[1][1].astype(int).sum(-1)
    best = np.unravel_index(found.mean.argmax(), found.mean.shape)
    assert over.max() == over[best[0] * 8, best[1] * 8]
    assert over.shape == (32, 32)


def test_what_attention_cannot_show(tiny, picture) -> None:
    checkpoint = load(tiny)
    with pytest.raises(ProbekitError, match=r"layer=0: expected 1 to 3, or -3 to -1 .*embedding"):
        checkpoint.attention(picture, 0)
    with pytest.raises(ProbekitError, match="head"):
        checkpoint.attention(picture, head=4)
    with pytest.raises(ProbekitError, match="row of query"):
        checkpoint.attention(picture, query=(4, 0))
    with pytest.raises(ProbekitError, match=r"query='class'.*\"cls\", \"mean\""):
        checkpoint.attention(picture, query="class")
    with pytest.raises(DataError, match="The image is a list"):
        checkpoint.attention([1])


def wrapped(encode, prefix: int = 0):
    half = (0.5, 0.5, 0.5)
    return probekit.Encoder.wrap(
        encode, patch_size=8, image_size=32, mean=half, std=half, name="own", num_prefix_tokens=prefix
    )


def patches(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.unfold(images, 8, stride=8).transpose(1, 2)


def test_an_encoder_of_another_kind(picture) -> None:
    plain = wrapped(lambda images: [patches(images), patches(images).tanh()])
    with pytest.raises(CheckpointError, match="own gives no attention"):
        plain.attention(picture)
    found = plain.attribution(picture)
    assert found.what.startswith("cosine of the mean features")
    cut = wrapped(lambda images: [patches(images), patches(images).detach().tanh()])
    with pytest.raises(CheckpointError, match=r"own has no attribution: .* no gradient"):
        cut.attribution(picture)


def test_attribution_of_a_linear_encoder_is_weight_times_pixel(picture) -> None:
    """A known answer: for a linear model integrated gradients are exact, pixel by pixel."""
    checkpoint = wrapped(lambda images: [patches(images), patches(images)])
    direction = np.random.default_rng(1).normal(size=192).astype(np.float32)
    found = checkpoint.attribution(picture, direction, steps=3)
    normal = picture / 127.5 - 1
    weights = np.tile(direction.reshape(3, 8, 8).transpose(1, 2, 0), (4, 4, 1)) / 16  # mean over 16 patches
    assert np.allclose(found.values, (normal * weights).sum(-1), atol=1e-5)
    assert np.allclose(found.patches, found.values.reshape(4, 8, 4, 8).sum((1, 3)), atol=1e-5)
    assert abs(found.error) < 1e-4
    assert found.blank == pytest.approx(0, abs=1e-6)


def test_attribution_adds_up_to_the_difference(tiny, picture, tmp_path) -> None:
    checkpoint = load(tiny)
    few, many = (checkpoint.attribution(picture, steps=steps) for steps in (4, 128))
    assert many.what == "cosine of the cls features with those of the whole image"
    assert many.score == pytest.approx(1, abs=1e-5)
    assert many.values.sum() == pytest.approx(many.score - many.blank, abs=0.02)
    assert abs(many.error) < max(abs(few.error), 0.02)
    assert many.save(tmp_path / "a.png").stat().st_size > 500
    assert [words for words, _ in many.parts()] == ["image", "|sum| of each patch", "|value| of each pixel"]
    with pytest.raises(ProbekitError, match=r"direction has the shape \(3,\); expected 64 finite numbers"):
        checkpoint.attribution(picture, [1.0, 2.0, 3.0])
    with pytest.raises(ProbekitError, match="pooling"):
        checkpoint.attribution(picture, pooling="max")


def test_one_channel(picture) -> None:
    model = MaskedAutoencoder.create(
        image_size=(32, 32), vit_patch_size=8, width=32, depth=1, num_heads=2, decoder_width=16, decoder_depth=1,
        decoder_num_heads=1, channels=1, seed=0,
    )  # fmt: skip
    assert load(model).attention(picture).image.shape == (32, 32, 1)
    assert load(model).attribution(picture, steps=4).strip().mode == "RGB"
