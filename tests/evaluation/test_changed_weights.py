"""A checkpoint whose weights change after it was opened is measured as it is now."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_measured import COUNTS, SPEC, tiny

import probekit
from probekit import models
from probekit.models import Checkpoint, CheckpointWarning
from probekit.training.starting import opened

KNN: dict[str, Any] = {"suite": "knn", "data": SPEC, "counts": COUNTS}


def in_place(ckpt: Checkpoint) -> None:
    with torch.no_grad():
        for parameter in ckpt.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))


def one_value(ckpt: Checkpoint) -> None:
    with torch.no_grad():
        next(ckpt.model.parameters()).flatten()[-1] += 1


def behind_autograd(ckpt: Checkpoint) -> None:
    for parameter in ckpt.model.parameters():
        parameter.data.mul_(-2)


def another_model(ckpt: Checkpoint) -> None:
    model = copy.deepcopy(ckpt.model)
    for parameter in model.parameters():
        parameter.data.mul_(-2)
    ckpt.model = model


@pytest.mark.parametrize("change", [in_place, one_value, behind_autograd, another_model])
def test_changed_weights_are_measured_and_known_by_their_own_digest(change: Any) -> None:
    ckpt = tiny()
    before = probekit.evaluate(ckpt, **KNN)
    change(ckpt)
    with pytest.warns(CheckpointWarning, match="no longer those of"):
        after = probekit.evaluate(ckpt, **KNN)
    fresh = probekit.evaluate(ckpt, **KNN, cache=False)
    assert (after.sha256 != before.sha256).all()
    assert (after.sha256 == fresh.sha256).all()
    assert after.knn_accuracy.equals(fresh.knn_accuracy)


def test_training_that_begins_with_changed_weights_does_not_record_the_file() -> None:
    ckpt = tiny()
    before = ckpt.card.sha256
    in_place(ckpt)
    with pytest.warns(CheckpointWarning, match="no longer those of"):
        start = opened(ckpt)
    assert start is not None
    assert start.checkpoint.card.sha256 != before


def test_weights_that_stand_are_read_from_the_cache_in_silence() -> None:
    ckpt = tiny()
    before = probekit.evaluate(ckpt, **KNN)
    copied = pickle.loads(pickle.dumps(ckpt)), copy.deepcopy(ckpt), replace(ckpt, source="elsewhere")
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        for one in (ckpt, *copied):
            assert (probekit.evaluate(one, **KNN).sha256 == before.sha256).all()


def test_checkpoints_made_by_hand_are_known_by_their_weights() -> None:
    ckpt = tiny()
    card = models.Card(
        name="by hand", architecture=ckpt.card.architecture, vit_patch_size=ckpt.card.vit_patch_size,
        image_size=ckpt.card.image_size, normalisation_known=True, normalised_targets=True,
    )  # fmt: skip
    other = copy.deepcopy(ckpt.model)
    another_model(replace(ckpt, model=other))
    in_place(replace(ckpt, model=other))
    made = [Checkpoint(model=m, card=copy.copy(card), verdict=ckpt.verdict, source="") for m in (ckpt.model, other)]
    assert made[0].card.sha256 != made[1].card.sha256
    assert "" not in (made[0].card.sha256, made[1].card.sha256)
