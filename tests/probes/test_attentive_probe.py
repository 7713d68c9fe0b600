"""The attentive probe from images to numbers: what it finds, and that the encoder stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_measured import COUNTS, tiny

import probekit
from probekit.collect import Counts, Measurements, PassSettings, PreparedModel, Splits, tokens
from probekit.models.card import tensor_digest
from probekit.probes import attentive_probe, patch_tokens

CLASSES = 3


def one_patch_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey noise; one patch of 8 x 8 pixels, anywhere, holds the class's pattern; what it adds to the mean over patches
    is taken off the others."""
    rng = np.random.default_rng(seed)
    patterns = np.sign(np.random.default_rng(99).normal(size=(CLASSES, 8, 8, 3))) * 90
    images = rng.normal(128, 15, size=(count, 32, 32, 3))
    labels = np.arange(count) % CLASSES
    for image, label in zip(images, labels, strict=True):
        image -= np.tile(patterns[label], (4, 4, 1)) / 15
        row, column = rng.integers(4, size=2) * 8
        image[row : row + 8, column : column + 8] += patterns[label] * (1 + 1 / 15)
    return images.clip(0, 255).round().astype(np.uint8), labels


def splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    sizes = {"train": 900, "val": 150, "test": 150}
    return {split: one_patch_images(size, seed) for seed, (split, size) in enumerate(sizes.items())}


def pixels() -> probekit.models.Checkpoint:
    def encode(images):
        found = torch.nn.functional.unfold(images, 8, stride=8).transpose(1, 2)
        return [found[..., :8], found]

    mean = std = (0.5, 0.5, 0.5)
    return probekit.Encoder.wrap(encode, patch_size=8, image_size=32, mean=mean, std=std, name="pixels")


def test_it_finds_a_class_that_sits_in_one_random_patch() -> None:
    counts = Counts(train=900, val=150, test=150, pictures=2)
    options = {"attentive_probe": {"steps": 250}}
    ds = probekit.evaluate(
        pixels(), ["attentive_probe", "linear_probe"], data=splits(), counts=counts, options=options, cache=False
    )
    assert ds.attentive_accuracy.sel(head_kind="ep", layer=1).item() >= 0.95
    assert abs(ds.linear_accuracy.sel(layer=1, pooling="mean").item() - 1 / CLASSES) <= 0.1
    assert ds.attentive_accuracy.attrs["learning_rates"] in (0.001, 0.003, 0.01, 0.03)
    assert ds.example_attention_probe.sizes["example"] == 2


@pytest.fixture
def measured(tmp_path):
    def make(layers=None, folder="a"):
        prepared = PreparedModel(tiny(), PassSettings(layers=layers))
        return Measurements(prepared, Splits("shapes", COUNTS), tmp_path / folder)

    return make


def test_frozen_means_frozen_and_layers_are_those_asked_for(measured) -> None:
    one = measured(layers=(0, -1))
    before = tensor_digest(one.model.state_dict())
    one.gather(attentive_probe.NEEDS)
    found = attentive_probe.run(one, heads=["ep", "capi"], queries=8, steps=5, augment=True)
    assert found["attentive_accuracy"].dims == ("layer", "head_kind")
    assert found["attentive_accuracy"].layer.values.tolist() == [0, 2]
    assert tensor_digest(one.model.state_dict()) == before
    assert not any(parameter.grad is not None for parameter in one.model.parameters())


def test_tokens_are_kept_read_in_parts_or_computed_again_to_the_same_numbers(measured, monkeypatch) -> None:
    def tokens_of(folder):
        one = measured(folder=folder)
        one.gather(attentive_probe.NEEDS)
        read = patch_tokens.Reader(one, "test", 2, 2.0)
        return read, torch.cat([batch for batch, _ in read.all()])

    held, first = tokens_of("a")
    assert held.stored is not None
    monkeypatch.setattr(patch_tokens, "HELD", 0)
    read, unheld = tokens_of("a")
    assert read._table is None
    torch.testing.assert_close(unheld, first, rtol=0, atol=0)
    for ours, theirs in zip(read.drawn(False)(5), held.drawn(False)(5), strict=True):  # in the same order
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    monkeypatch.setattr(patch_tokens, "WHOLE", 0)
    parts, second = tokens_of("a")
    assert parts._table is None
    monkeypatch.setattr(tokens, "LIMIT", 0)
    again, third = tokens_of("b")
    assert again.stored is None
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    torch.testing.assert_close(third, first, rtol=0, atol=1e-3)
    for reader in (held, read, parts, again):
        batches = list(reader.drawn(False)(3))
        assert [len(labels) for _, labels in batches] == [30, 30, 30]
