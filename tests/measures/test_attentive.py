"""Attentive heads: each against its formula written out, and a class that sits in one random patch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from probekit.errors import ProbeError
from probekit.measures import attentive, classify


def built(kind, width=64, classes=5, **more):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return attentive.head(kind, width, classes, **more).eval()


@pytest.fixture
def tokens():
    return torch.randn(3, 9, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_ep_equals_its_formula_patch_by_patch(tokens) -> None:
    """Query m averages channels m of the values by softmax over <query, token> / sqrt(width): keys are the tokens."""
    head = built("ep", queries=8)
    pooled, attention = head.pooled(tokens)
    for image in range(3):
        for query in range(8):
            scores = [float(head.queries[query] @ tokens[image, patch]) / 8 for patch in range(9)]
            weights = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(attention[image, query].detach(), weights, atol=1e-6)
            values = (tokens[image] @ head.values.weight.T)[:, query * 8 : query * 8 + 8].detach().numpy()
            np.testing.assert_allclose(pooled[image, query * 8 : query * 8 + 8].detach(), weights @ values, atol=1e-6)
    logits = pooled / math.sqrt(1 + 1e-6) @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(tokens), logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["aim", "capi"])
def test_one_query_equals_torchs_attention(kind, tokens) -> None:
    head = built(kind, width=128)
    tokens = torch.cat([tokens, tokens.flip(1)], dim=2)
    if kind == "aim":
        head.tokens_norm.running_mean.normal_(generator=torch.Generator().manual_seed(2))
        inner = head.tokens_norm(tokens.transpose(1, 2)).transpose(1, 2)
        keys, values = head.keys(inner), head.values(inner)
    else:
        keys, values = head.keys_values(tokens)[..., :128], head.keys_values(tokens)[..., 128:]
    split = [one.reshape(3, -1, 2, 64).transpose(1, 2) for one in (head.query.expand(3, 1, -1), keys, values)]
    expected = torch.nn.functional.scaled_dot_product_attention(*split).transpose(1, 2).reshape(3, 128)
    pooled, attention = head.pooled(tokens)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, 2), rtol=0, atol=1e-6)


def one_random_patch(count, seed, patches=16, width=32, classes=4):
    """Noise but for one patch, which holds the class: in the mean over patches it is a quarter of the noise's size."""
    rng = np.random.default_rng(seed)
    prototypes = np.linalg.qr(np.random.default_rng(9).normal(size=(width, width)))[0][:classes] * 10
    tokens = rng.normal(size=(count, patches, width)) * 2
    labels = rng.integers(classes, size=count)
    tokens[np.arange(count), rng.integers(patches, size=count)] = prototypes[labels]
    blur = rng.normal(size=(count, 1, classes)) @ prototypes / 10 * 2.5  # moves all patches, so that means say little
    return torch.from_numpy(tokens + blur).float(), torch.from_numpy(labels)


def test_ep_finds_a_class_in_one_random_patch_that_the_mean_hides() -> None:
    data = {
        split: one_random_patch(n, seed)
        for seed, (split, n) in enumerate([("train", 1500), ("val", 300), ("test", 400)])
    }

    def train(steps):
        rng = np.random.default_rng(0)
        for _ in range(steps):
            rows = rng.integers(1500, size=128)
            yield data["train"][0][rows], data["train"][1][rows]

    fitted = attentive.fit("ep", train, lambda: iter([data["val"]]), width=32, classes=4, steps=300)
    tokens, labels = data["test"]
    accuracy = float((fitted.head(tokens).argmax(1) == labels).float().mean())
    assert accuracy >= 0.95
    assert fitted.accuracy[fitted.rate] == max(fitted.accuracy.values())
    means = {split: tokens.mean(1).numpy() for split, (tokens, _) in data.items()}
    linear = classify.linear_probe(
        means["train"], data["train"][1].numpy(), means["val"], data["val"][1].numpy(), means["test"], classes=4
    )
    assert accuracy > float((linear.logits.argmax(1) == labels.numpy()).mean()) + 0.2


def test_queries_divide_the_width_and_names_are_checked() -> None:
    assert attentive.queries_for(768) == 32
    assert attentive.queries_for(50) == 25
    with pytest.raises(ProbeError, match="Did you mean 'capi'"):
        attentive.head("cappi", 64, 2)
    with pytest.raises(ProbeError, match="7 queries do not divide the width 64"):
        attentive.EfficientProbe(64, 2, queries=7)
