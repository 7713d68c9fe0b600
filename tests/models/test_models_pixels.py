"""Patches and back, positions, and how normalised targets are undone without leaking what is hidden."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from probekit.errors import MaskError, ProbekitError
from probekit.models import MaskedAutoencoder, pixels, positions


def test_patches_are_in_raster_order_and_pixels_row_column_channel() -> None:
    images = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).float()
    patches = pixels.patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    for row in range(2):
        for column in range(3):
            square = images[1, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert patches[1, row * 3 + column].tolist() == [
                square[c, i, j].item() for i in (0, 1) for j in (0, 1) for c in (0, 1, 2)
            ]
    assert torch.equal(pixels.unpatchify(patches, 2, (2, 3)), images)


def test_normalised_targets_are_maes(tiny, images) -> None:
    model = MaskedAutoencoder(tiny.encoder, tiny.decoder, normalised_targets=True)
    patches = tiny.targets(images).numpy()
    expected = (patches - patches.mean(-1, keepdims=True)) / np.sqrt(patches.var(-1, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(model.targets(images).numpy(), expected, atol=1e-5)


def test_sin_cos_has_the_width_half_first() -> None:
    table = positions.sin_cos((3, 5), 16)
    assert table.shape == (1, 16, 16)
    assert not table[0, 0].any()
    frequencies = [10000 ** (-i / 4) for i in range(4)]
    row, column = 2, 4
    expected = [f(p * w) for p in (column, row) for f in (math.sin, math.cos) for w in frequencies]
    np.testing.assert_allclose(table[0, 1 + row * 5 + column].numpy(), expected, atol=1e-6)


def test_sin_cos_needs_a_multiple_of_four() -> None:
    with pytest.raises(ValueError, match="multiple of 4, got 18"):
        positions.sin_cos((2, 2), 18)


def test_positions_are_resampled_in_two_dimensions() -> None:
    """Trap: transformers' decoder resamples the flattened sequence. A table that varies by column only must stay so."""
    table = torch.arange(4.0).repeat(4).reshape(1, 16, 1)
    wide = positions.resample(table, (4, 4), (4, 8), num_prefix_tokens=0, antialias=False).reshape(4, 8)
    assert torch.allclose(wide, wide[:1].expand(4, 8))
    assert (wide[0].diff() > -0.1).all()
    tall = positions.resample(table, (4, 4), (8, 4), num_prefix_tokens=0, antialias=False).reshape(8, 4)
    torch.testing.assert_close(tall, torch.arange(4.0).expand(8, 4))


def test_the_same_grid_keeps_the_very_table() -> None:
    table = torch.randn(1, 17, 8)
    assert positions.resample(table, (4, 4), (4, 4), num_prefix_tokens=1, antialias=False) is table
    moved = positions.resample(table, (4, 4), (6, 5), num_prefix_tokens=1, antialias=False)
    assert moved.shape == (1, 31, 8)
    assert torch.equal(moved[:, :1], table[:, :1])


def test_both_halves_are_resampled(tiny) -> None:
    """A larger image is seen at larger positions in encoder and decoder alike: the prediction has its size."""
    assert tiny.predict(torch.randn(1, 3, 48, 64)).shape == (1, 48, 192)


class Oracle(MaskedAutoencoder):
    """Predicts the normalised targets perfectly, so that what remains is how normalisation is undone."""

    def predict(self, images, hidden=None, *, hidden_only=False):
        return self.targets(images)


@pytest.fixture
def oracle(tiny) -> Oracle:
    return Oracle(tiny.encoder, tiny.decoder, normalised_targets=True, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def normalised(oracle, pictures):
    return (pictures - oracle.mean[:, None, None]) / oracle.std[:, None, None]


def test_target_statistics_undo_exactly(oracle, hidden) -> None:
    pictures = torch.rand(3, 3, 32, 32)
    out = oracle.reconstruct(normalised(oracle, pictures), hidden, statistics="target")
    torch.testing.assert_close(out, pictures, rtol=0, atol=1e-5)


def test_image_statistics_are_of_all_visible_pixels(oracle, hidden) -> None:
    images = normalised(oracle, torch.rand(3, 3, 32, 32))
    out = oracle.reconstruct(images, hidden)
    patches = pixels.patchify(images, 8)
    for row in range(3):
        seen = patches[row][~hidden[row]]
        flat = pixels.normalise(patches[row]) * (seen.var() + 1e-6).sqrt() + seen.mean()
        expected = pixels.unpatchify(flat[None], 8, (4, 4))[0] * oracle.std[:, None, None] + oracle.mean[:, None, None]
        torch.testing.assert_close(out[row], expected.clamp(0, 1), rtol=0, atol=1e-5)


def test_neighbours_interpolate_and_keep_visible_patches(oracle, hidden) -> None:
    """Brightness that rises with the column: interpolated means rise too, and every visible patch comes back
    exactly."""
    pictures = torch.linspace(0.1, 0.9, 32).expand(3, 3, 32, 32) + torch.rand(3, 3, 32, 32) * 0.05
    out = oracle.reconstruct(normalised(oracle, pictures), hidden, statistics="neighbours")
    visible = ~hidden.reshape(3, 1, 4, 1, 4, 1).expand(3, 3, 4, 8, 4, 8).reshape(out.shape)
    torch.testing.assert_close(out[visible], pictures[visible], rtol=0, atol=1e-3)
    assert (out - pictures)[~visible].abs().mean() < (
        oracle.reconstruct(normalised(oracle, pictures), hidden) - pictures
    )[~visible].abs().mean()


@pytest.mark.parametrize("statistics", ["image", "neighbours"])
def test_hidden_pixels_never_leak(tiny, hidden, statistics) -> None:
    """Trap: the target's own mean and variance give the answer away. Other hidden pixels, the same reconstruction."""
    model = MaskedAutoencoder(tiny.encoder, tiny.decoder, normalised_targets=True)
    images = torch.randn(3, 3, 32, 32)
    inside = hidden.reshape(3, 1, 4, 1, 4, 1).expand(3, 3, 4, 8, 4, 8).reshape(images.shape)
    first = model.reconstruct(images, hidden, statistics=statistics)
    assert torch.equal(model.reconstruct(torch.where(inside, 7.0, images), hidden, statistics=statistics), first)
    assert torch.equal(model.reconstruct(torch.where(inside, torch.nan, images), hidden, statistics=statistics), first)


def test_plain_targets_are_only_denormalised(tiny, images, hidden) -> None:
    out = tiny.reconstruct(images, hidden)
    plain = pixels.unpatchify(tiny.predict(images, hidden), 8, (4, 4))
    torch.testing.assert_close(out, (plain * tiny.std[:, None, None] + tiny.mean[:, None, None]).clamp(0, 1))
    assert torch.equal(tiny.reconstruct(images, hidden, statistics="target"), out)
    assert out.min() >= 0
    assert out.max() <= 1


def test_pasting_shows_visible_patches(tiny, images, hidden) -> None:
    out = tiny.reconstruct(images, hidden, paste_visible=True)
    visible = ~hidden.reshape(3, 1, 4, 1, 4, 1).expand(3, 3, 4, 8, 4, 8).reshape(out.shape)
    shown = (images * tiny.std[:, None, None] + tiny.mean[:, None, None]).clamp(0, 1)
    torch.testing.assert_close(out[visible], shown[visible])
    assert torch.equal(out[~visible], tiny.reconstruct(images, hidden)[~visible])


def test_what_reconstruct_refuses(tiny, images, hidden) -> None:
    with pytest.raises(MaskError, match=r"neighbours.*needs a mask.*statistics='image'"):
        tiny.reconstruct(images, statistics="neighbours")
    with pytest.raises(MaskError, match="would return the images themselves"):
        tiny.reconstruct(images, paste_visible=True)
    with pytest.raises(ProbekitError, match="Did you mean 'image'"):
        tiny.reconstruct(images, hidden, statistics="imge")
