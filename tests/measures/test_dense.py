"""Scores of every pixel equal independent implementations; heads on grids whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score, root_mean_squared_error

from probekit.errors import ProbeError
from probekit.measures import dense, dense_heads


def test_mean_iou_equals_scikit_learn_over_the_whole_set() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(5, size=(2, 7, 13, 11))
    truth[rng.random(truth.shape) < 0.1] = 255
    sums = sum(dense.class_counts(g, t, 6, ignore=255) for g, t in zip(guess, truth, strict=True))
    known = truth != 255
    expected = jaccard_score(truth[known], guess[known], average="macro", labels=range(5))
    assert float(dense.mean_iou(*sums)) == expected  # class 5 occurs nowhere and is left out


def test_a_class_that_is_only_predicted_counts_as_wrong() -> None:
    sums = dense.class_counts([0, 0, 1, 1], [0, 0, 0, 0], 3)
    assert float(dense.mean_iou(*sums)) == jaccard_score([0] * 4, [0, 0, 1, 1], average="macro", zero_division=0)
    assert np.isnan(dense.mean_iou([0, 0], [0, 0]))


def test_depth_errors_equal_scikit_learn_and_the_definition() -> None:
    rng = np.random.default_rng(1)
    truth, guess = rng.uniform(1, 10, size=(2, 4, 9, 8))
    truth[:, 0] = np.nan
    square, within, pixels = sum(dense.depth_sums(g, t) for g, t in zip(guess, truth, strict=True))
    true, guessed = truth[:, 1:].ravel(), guess[:, 1:].ravel()
    assert pixels == true.size
    assert np.sqrt(square / pixels) == pytest.approx(root_mean_squared_error(true, guessed), rel=1e-15)
    assert within == sum(max(a / b, b / a) < 1.25 for a, b in zip(true, guessed, strict=True))


def test_matches_equal_a_loop() -> None:
    rng = np.random.default_rng(2)
    truth = rng.uniform(0, 40, size=(50, 2))
    guess = truth + rng.normal(scale=4, size=truth.shape)
    guess[0] = truth[0] + [3, 4]
    found = dense.correct_matches(guess, truth, (40, 50), [0.05, 0.1])
    distances = [np.linalg.norm(g - t) for g, t in zip(guess, truth, strict=True)]
    assert found.tolist() == [sum(d <= 2.5 for d in distances), sum(d <= 5 for d in distances)]


def test_the_interval_of_the_mean_iou_holds_it_and_is_empty_where_images_agree() -> None:
    rng = np.random.default_rng(3)
    right = rng.integers(1, 20, size=(3, 60))
    union = right + rng.integers(0, 20, size=right.shape)
    low, high = dense.mean_iou_interval(right, union)[0]
    assert low < float(dense.mean_iou(right.sum(1), union.sum(1))) < high
    order = rng.permutation(60)
    np.testing.assert_allclose(
        dense.mean_iou_interval(right[:, order], union[:, order], order=order), [[low, high]], rtol=1e-12
    )
    same = dense.mean_iou_interval(np.ones((2, 9)), np.full((2, 9), 2))
    np.testing.assert_array_equal(same, [[0.5, 0.5]])


def test_pixels_outside_the_crop_have_no_place() -> None:
    found = dense.places((4, 8), (4, 8), (0, 2), (4, 4))
    assert found.rows.tolist() == [0, 1, 2, 3]
    assert found.columns.tolist() == [2, 3, 4, 5]
    np.testing.assert_allclose(found.x, [0.125, 0.375, 0.625, 0.875])


def test_places_are_those_of_bilinear_enlarging() -> None:
    maps = torch.randn(1, 3, 5, 2, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(
        maps.permute(0, 3, 1, 2), size=(24, 40), mode="bilinear", align_corners=False
    )[0, 1]
    seen = dense.places((24, 40), (24, 40), (0, 0), (24, 40))
    found = dense_heads.at_pixels(maps[0], seen.y, seen.x, lambda scores: scores[:, 1])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def drawn(seed: int, count: int = 16) -> dense_heads.Drawn:
    """Tokens of which one channel is the class of the left or right half of the image; the rest is noise."""
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randn(count, 16, 6, generator=rng)
    sides = (torch.rand(count, 1, 1, generator=rng) < 0.5) ^ (torch.arange(16) % 4 >= 2)[None, :, None]
    tokens[..., :1] = 5 * sides.float()
    places = torch.rand(count, 40, 2, generator=rng)
    places[..., 1] = torch.where(places[..., 1] < 0.5, places[..., 1] * 0.6, 1 - (1 - places[..., 1]) * 0.6)
    targets = torch.where(places[..., 1] < 0.5, sides[:, 0], sides[:, 3]).long()
    targets[:, 0] = dense_heads.NONE
    return tokens, places, targets


def test_the_linear_head_finds_the_channel_that_tells_and_chooses_on_val() -> None:
    statistics = dense_heads.moments(drawn(step)[0] for step in range(4))
    options = {"grid": (4, 4), "classes": 2, "steps": 60}
    head = dense_heads.fit_linear(lambda n: map(drawn, range(n)), lambda: iter([drawn(99)]), statistics, **options)
    tokens, places, targets = drawn(100)
    guess = dense_heads.at_places(head.logits(tokens).unflatten(1, (4, 4)), places).argmax(-1)
    known = targets != dense_heads.NONE
    assert (guess == targets)[known].float().mean() > 0.97
    assert head.rate in dense_heads.RATES
    nothing = (tokens, places, torch.full_like(targets, dense_heads.NONE))
    with pytest.raises(ProbeError, match="no pixel of it is known"):
        dense_heads.fit_linear(lambda n: map(drawn, range(n)), lambda: iter([nothing]), statistics, **options)


def test_neighbours_vote_by_likeness() -> None:
    bank, shares = torch.eye(4), torch.eye(3)[[0, 1, 2, 2]]
    found = dense_heads.neighbour_shares(torch.eye(4)[1:2], bank, shares, neighbours=2)
    assert found.argmax(dim=1).item() == 1
    np.testing.assert_allclose(found.sum().item(), 1, rtol=1e-6)


def test_a_shifted_image_is_matched_at_the_shift() -> None:
    tokens = torch.randn(6, 8, 16, generator=torch.Generator().manual_seed(0))
    centres_y, centres_x = (np.arange(6) + 0.5) / 6, (np.arange(8) + 0.5) / 8
    places = torch.tensor([[centres_y[2], centres_x[5]], [centres_y[4], centres_x[3]]], dtype=torch.float32)
    found = dense_heads.nearest_pixels(tokens, torch.roll(tokens, -2, dims=1), places, centres_y, centres_x)
    assert found.tolist() == [[2, 3], [4, 1]]
