"""A checkpoint that speaks: its short form, and pictures from a plain image in one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import probekit
from probekit.errors import CheckpointError, DataError, MaskError
from probekit.models import MaskedAutoencoder, load


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_the_same_pictures_from_a_path_an_image_and_arrays(tiny, picture, tmp_path) -> None:
    checkpoint = load(tiny)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    found = checkpoint.reconstruct(tmp_path / "picture.png", mask_ratio=0.75, seed=3)
    assert np.array_equal(found.image, picture)
    assert (found.hidden.shape, int(found.hidden.sum()), found.mask_ratio) == ((4, 4), 12, 0.75)
    others = [Image.fromarray(picture), picture, picture / 255.0, torch.from_numpy(picture).permute(2, 0, 1)]
    for other in others:
        again = checkpoint.reconstruct(other, 0.75, 3)
        assert np.array_equal(again.predicted, found.predicted)
    assert not np.array_equal(checkpoint.reconstruct(picture, seed=4).hidden, found.hidden)
    hidden = np.kron(found.hidden, np.ones((8, 8), bool))
    assert np.array_equal(found.pasted[~hidden], picture[~hidden])
    assert np.array_equal(found.pasted[hidden], found.predicted[hidden])
    assert (found.masked[hidden] == 128).all()
    assert np.array_equal(found.masked[~hidden], picture[~hidden])
    mask = torch.from_numpy(found.hidden.reshape(1, -1))
    images = checkpoint.preprocess.normalise(torch.from_numpy(picture).permute(2, 0, 1)[None])
    expected = (tiny.reconstruct(images, mask) * 255).round().to(torch.uint8)[0].permute(1, 2, 0)
    assert np.array_equal(found.predicted, expected.numpy())


def test_the_strip(tiny, picture, tmp_path) -> None:
    found = load(tiny).reconstruct(picture)
    assert found.strip().size == (4 * 160 + 3 * 6, 160 + 18)  # enlarged five times, under captions
    with Image.open(found.save(tmp_path / "strip.png")) as saved:
        assert saved.size == found.strip().size
        assert np.array_equal(np.asarray(saved)[18::5, :160:5], picture)
    assert found._repr_html_().startswith('<img src="data:image/png;base64,')
    assert "mask_ratio=0.75" in repr(found)
    assert len(repr(found)) < 100


def test_a_mask_unit_of_several_patches(tiny, picture, tmp_path) -> None:
    checkpoint = load(load(tiny).save(tmp_path / "x"))
    checkpoint.card.patch_size = 16
    hidden = checkpoint.reconstruct(picture, 0.5).hidden
    assert np.array_equal(hidden, np.kron(hidden[::2, ::2], np.ones((2, 2), bool)))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((32, 32, 3)) - 1.5, r"values from -1.5 to -1.5, which are no pixels.*not normalised"),
        (np.full((32, 32, 3), 200.0), r"values from 200 to 200, which are no pixels"),
        (np.full((32, 32, 3), np.nan), r"values from nan to nan, which are no pixels"),
        (np.zeros((32, 32, 3), np.uint16), r"of type uint16; expected uint8, or floats in \[0, 1\]"),
        (np.zeros((2, 32, 32, 3), np.uint8), r"the shape \(2, 32, 32, 3\); expected \(height, width\)"),
        ([1, 2], "The image is a list"),
        ("nowhere.png", "nowhere.png"),
        (np.zeros((32, 32, 2), np.uint8), "2 channels"),
    ],
)
def test_what_is_no_picture_is_refused(tiny, image, message) -> None:
    with pytest.raises(DataError, match=message):
        load(tiny).reconstruct(image)


def test_what_cannot_reconstruct(tiny, picture) -> None:
    encoder = MaskedAutoencoder(tiny.encoder, None, normalised_targets=None)
    with pytest.raises(CheckpointError, match="has no decoder, so it cannot reconstruct"):
        load(encoder).reconstruct(picture)
    with pytest.raises(MaskError):
        load(tiny).reconstruct(picture, mask_ratio=1.0)


def test_one_channel_sees_luminance(picture) -> None:
    model = MaskedAutoencoder.create(
        image_size=(32, 32), vit_patch_size=8, width=32, depth=1, num_heads=2, decoder_width=16, decoder_depth=1,
        decoder_num_heads=1, channels=1, seed=0,
    )  # fmt: skip
    found = load(model).reconstruct(picture)
    assert found.image.shape == (32, 32, 1)
    assert np.array_equal(found.image[..., 0], np.asarray(Image.fromarray(picture).convert("L")))
    assert found.strip().size == (4 * 160 + 3 * 6, 160 + 18)


def test_a_checkpoint_says_what_it_is_in_four_lines(tiny, mae_names, tmp_path) -> None:
    checkpoint = load(tiny, name="tiny")
    checkpoint.card.mask_ratio, checkpoint.card.patch_size = 0.75, 16
    assert repr(checkpoint).splitlines() == [
        "Checkpoint tiny",
        "  width 64, depth 3, 4 heads, decoder 32 x 2, 32 x 32 x 3 pixels in patches of 8",
        "  masking: ratio 0.75, unit 16 pixels, plain pixel targets",
        "  warnings: none",
    ]
    torch.save(mae_names(tiny), tmp_path / "<b>.pth")
    guessed = load(tmp_path / "<b>.pth")
    assert "warnings: 4: The number of heads of the encoder was guessed" in repr(guessed)
    assert "masking: ratio unknown, unit unknown" in repr(guessed)
    assert "<b>Checkpoint &lt;b&gt;</b>" in guessed._repr_html_()
    assert "Verdict" not in repr(guessed)


def test_card_and_model_cannot_disagree(tiny, tmp_path) -> None:
    """Trap: setting the card's mean left the model's."""
    checkpoint = load(load(tiny).save(tmp_path / "x"))
    checkpoint.card.mean, checkpoint.card.normalised_targets = (0.1, 0.2, 0.3), True
    assert torch.allclose(checkpoint.model.mean, torch.tensor([0.1, 0.2, 0.3]))
    assert checkpoint.model.normalised_targets is True
    assert checkpoint.preprocess.mean == (0.1, 0.2, 0.3)
    with pytest.raises(CheckpointError, match=r"The card says .*, the model uses"):
        probekit.models.Checkpoint(tiny, checkpoint.card, checkpoint.verdict, "x")


def test_a_picture_that_is_not_there_is_of_no_set(tiny, tmp_path) -> None:
    with pytest.raises(DataError, match=r"nope\.jpg.*Give the path of another picture") as caught:
        load(tiny).reconstruct(tmp_path / "nope.jpg")
    assert "on_unreadable" not in str(caught.value)
