"""Attention statistics against direct loops over every number, closed forms, and invariance to batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from probekit.errors import ProbeError
from probekit.measures import attention as measure

GRID, PATCH, PREFIX = (3, 4), 8, 2


def maps(batch: int = 3, heads: int = 2, tokens: int = 14, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(batch, heads, tokens, tokens, generator=generator)).softmax(dim=-1)


def loops(attention: np.ndarray, renormalised: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance, entropy and NMI, one number after the other."""
    batch, heads, tokens, _ = attention.shape
    n = tokens - PREFIX
    out = np.zeros((3, batch, heads))
    for b in range(batch):
        for h in range(heads):
            a = attention[b, h, PREFIX:, PREFIX:].astype(np.float64)
            if renormalised:
                a = a / a.sum(axis=1, keepdims=True)
            for q in range(n):
                for k in range(n):
                    apart = math.dist(divmod(q, GRID[1]), divmod(k, GRID[1])) * PATCH
                    out[0, b, h] += a[q, k] * apart / n
                    out[1, b, h] -= a[q, k] * math.log(a[q, k]) / n
            joint = a / a.sum()
            pq, pk = joint.sum(axis=1), joint.sum(axis=0)
            information = sum(joint[q, k] * math.log(joint[q, k] / (pq[q] * pk[k])) for q in range(n) for k in range(n))
            out[2, b, h] = information / math.sqrt((-pq * np.log(pq)).sum() * (-pk * np.log(pk)).sum())
    return out[0], out[1], out[2]


@pytest.mark.parametrize("renormalised", [True, False])
def test_statistics_are_the_quadruple_loop(renormalised: bool) -> None:
    attention = maps()
    found = measure.statistics(
        attention, measure.patch_distances(GRID, PATCH), num_prefix=PREFIX, renormalised=renormalised
    )
    for value, expected in zip(found, loops(attention.numpy(), renormalised), strict=True):
        np.testing.assert_allclose(value.numpy(), expected, rtol=2e-5)


def test_identity_has_no_distance_and_full_information() -> None:
    attention = torch.eye(12).expand(2, 3, 12, 12)
    found = measure.statistics(attention, measure.patch_distances(GRID, PATCH), num_prefix=0)
    assert torch.equal(found.distance, torch.zeros(2, 3, dtype=torch.float64))
    np.testing.assert_allclose(found.entropy.numpy(), 0, atol=1e-7)
    np.testing.assert_allclose(found.nmi.numpy(), 1, atol=1e-6)


def test_uniform_attention_has_the_closed_form() -> None:
    distances = measure.patch_distances(GRID, PATCH)
    found = measure.statistics(torch.full((2, 3, 14, 14), 1 / 14), distances, num_prefix=PREFIX)
    np.testing.assert_allclose(found.distance.numpy(), distances.double().mean().item(), rtol=1e-6)
    np.testing.assert_allclose(found.entropy.numpy(), math.log(12), rtol=1e-6)
    np.testing.assert_allclose(found.nmi.numpy(), 0, atol=1e-6)


def test_distances_are_in_pixels_between_centres() -> None:
    distances = measure.patch_distances((2, 3), 16)
    assert distances[0].tolist() == pytest.approx([0, 16, 32, 16, 16 * math.sqrt(2), 16 * math.sqrt(5)])


@pytest.mark.parametrize("block", [1, 14 * 14 * 2, 1 << 20])
def test_neither_blocks_nor_batches_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    attention, distances = maps(5), measure.patch_distances(GRID, PATCH)
    whole = measure.statistics(attention, distances, num_prefix=PREFIX)
    monkeypatch.setattr(measure, "BLOCK", block)
    apart = [measure.statistics(attention[i : i + 1], distances, num_prefix=PREFIX) for i in range(5)]
    for name in whole._fields:
        parts = torch.cat([getattr(one, name) for one in apart])
        np.testing.assert_allclose(parts.numpy(), getattr(whole, name).numpy(), rtol=1e-6)


def test_half_precision_and_rows_with_zeros_are_finite() -> None:
    attention = maps().half()
    attention[0, 0, 3, PREFIX + 1 :] = 0
    found = measure.statistics(attention, measure.patch_distances(GRID, PATCH), num_prefix=PREFIX)
    assert all(bool(torch.isfinite(x).all()) for x in found)


def test_queries_that_attend_to_prefix_tokens_alone_are_left_out() -> None:
    attention = maps(1, 2)
    attention[0, 0, PREFIX + 4] = torch.eye(14)[0]
    attention[0, 1, PREFIX:] = torch.eye(14)[0]
    distances = measure.patch_distances(GRID, PATCH)
    found = measure.statistics(attention, distances, num_prefix=PREFIX)
    kept = [q for q in range(12) if q != 4]
    rows = attention[0, 0, PREFIX:, PREFIX:].double().numpy()[kept]
    rows = rows / rows.sum(axis=1, keepdims=True)
    entropy = -(rows * np.log(rows)).sum(axis=1).mean()
    marginal = rows.mean(axis=0)
    information = -(marginal * np.log(marginal)).sum() - entropy
    nmi = information / math.sqrt(math.log(11) * -(marginal * np.log(marginal)).sum())
    expected = [(rows * distances.numpy()[kept]).sum(axis=1).mean(), entropy, nmi]
    np.testing.assert_allclose([float(x[0, 0]) for x in found], expected, rtol=2e-5)
    assert all(bool(torch.isnan(x[0, 1])) for x in found)


def test_rollout_is_the_product_of_mixed_layers() -> None:
    layers = [maps(seed=s) for s in range(3)]
    rolled = measure.Rollout()
    expected = np.eye(14)[None]
    for layer in layers:
        rolled.update(layer)
        step = 0.5 * layer.mean(dim=1).double().numpy() + 0.5 * np.eye(14)
        expected = step @ expected
    np.testing.assert_allclose(rolled.result().numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(rolled.result().sum(dim=-1).numpy(), 1, rtol=1e-5)
    plain = measure.Rollout(residual=False)
    plain.update(layers[0])
    np.testing.assert_allclose(plain.result().numpy(), layers[0].mean(dim=1).numpy(), rtol=1e-5)


def test_query_map_takes_one_row_over_patches() -> None:
    attention = maps()
    row = attention[:, :, 0, PREFIX:].mean(dim=1)
    np.testing.assert_allclose(
        measure.query_map(attention, 0, num_prefix=PREFIX).numpy(), (row / row.sum(1, keepdim=True)).numpy(), rtol=1e-5
    )
    own = measure.query_map(attention, torch.tensor([2, 5, 13]), num_prefix=PREFIX)
    np.testing.assert_allclose(own[2].numpy(), measure.query_map(attention[2:], 13, num_prefix=PREFIX)[0].numpy())


def test_errors_say_what_came() -> None:
    with pytest.raises(ProbeError, match="self-attention over all tokens"):
        measure.statistics(torch.ones(1, 1, 3, 5), torch.zeros(3, 3), num_prefix=0)
    with pytest.raises(ProbeError, match="for 12 patches"):
        measure.statistics(maps(), torch.zeros(14, 14), num_prefix=PREFIX)
    with pytest.raises(ProbeError, match=r"outside 0\.\.13"):
        measure.query_map(maps(), 14, num_prefix=PREFIX)
    with pytest.raises(ProbeError, match="no layers"):
        measure.Rollout().result()
