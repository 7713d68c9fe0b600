"""The same images in another order, or decoded by processes, give the same numbers for every probe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tiny_measured import COUNTS, QUICK, SPEC, coloured, tiny

from probekit import probes
from probekit.collect import Measurements, PassSettings, PreparedModel, Splits
from probekit.data import SPLITS, ImageSet
from probekit.measures import sgd

EVERY_IMAGE = replace(COUNTS, images=30, pairs=30, ladder=30, masked=30, objects=30, views=2, gradients=30)
"""Counts that leave no image out, since fewer are the first ones of a set."""

BY_ROW = ("latents", "noise", "object_masks", "groups", "targets")
MAPS = ("segmentation", "depth")

pytestmark = pytest.mark.filterwarnings("ignore:arrays: ")


class Reordered(ImageSet):
    """Another set's images in another order; read one by one, so that workers have something to do."""

    def __init__(self, base: ImageSet, order: np.ndarray) -> None:
        labels = None if base.labels is None else base.labels[order]
        super().__init__(
            name=base.name, spec=base.spec, split=base.split, classes=base.classes, labels=labels, size=len(order),
            origin=base.origin, facts={**base.facts, "order": order.tolist()},
        )  # fmt: skip
        self.base, self.order = base, order
        self.height, self.shifts, self.conflict = base.height, base.shifts, base.conflict
        self.patch_size, self.colour_baseline = base.patch_size, base.colour_baseline
        self.target_kind, self.target_names = base.target_kind, base.target_names
        for name in BY_ROW:
            known = getattr(base, name)
            if isinstance(known, dict):
                setattr(self, name, {level: array[order] for level, array in known.items()})
            elif known is not None:
                setattr(self, name, known[order])
        for name in MAPS:
            known = getattr(base, name)
            setattr(self, name, None if known is None else known.take(order))
        if hasattr(base, "correspondences"):
            self.right, self.correspondences = (self._of(one) for one in (base.right, base.correspondences))

    def _of(self, read: Callable[[int], Any]) -> Callable[[int], Any]:
        return lambda index: read(int(self.order[index]))

    def read(self, index: int) -> np.ndarray:
        return self.base.read(int(self.order[index]))

    def content(self) -> str:
        return self.base.content()

    def partners(self, h: int, *, seed: int) -> ImageSet:
        return Reordered(self.base.partners(h, seed=seed), self.order)


@pytest.fixture(scope="module")
def orders():
    rng = np.random.default_rng(5)
    return {split: rng.permutation(EVERY_IMAGE.split(split)) for split in SPLITS}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, orders):
    """(probe, shuffled, workers) -> arrays; a pass is shared by the probes."""
    root, checkpoint, opened = tmp_path_factory.mktemp("measurements"), tiny(), {}
    checkpoint.card.mask_ratio, checkpoint.card.patch_size = 0.75, 4

    def run(name: str, shuffled: bool, workers: int = 0, **options):
        requires = probes.find(name).requires
        spec = SPEC if "latents" in requires else "photos" if "colour_baseline" in requires else "shapes"
        spec = next((kind for kind in ("multilabel", "regression") if kind in requires), spec)
        spec = "stereo_motorcycle" if {"depth", "matches"} & set(requires) else spec
        if (spec, shuffled) not in opened:
            plain = Splits(coloured(spec) if spec in ("multilabel", "regression") else spec, EVERY_IMAGE)
            places = {split: orders[split] if shuffled else np.arange(len(orders[split])) for split in SPLITS}
            reordered = {split: Reordered(plain[split], places[split]) for split in SPLITS}
            opened[spec, shuffled] = Splits(reordered, EVERY_IMAGE)
        prepared = PreparedModel(checkpoint, PassSettings(batch_size=7, picture_side=16, workers=workers))
        measurements = Measurements(prepared, opened[spec, shuffled], root / str(workers))
        probe = probes.find(name)
        assert probe.lacking(prepared, measurements.sets) is None
        measurements.gather(probe.needs)
        return probe.run(measurements, **{**probe.options, **QUICK.get(name, {}), **options})

    return run


def agree(name: str, first, other, order: np.ndarray) -> None:
    compared = 0
    for variable in probes.find(name).variables:
        # One image of thirty may tip where two classes are as good as equal; real sets have a thousand.
        loose = 1.01 / 30 if "accuracy" in variable.name or variable.name == "shape_bias" else 1e-6
        loose = 1e-6 if variable.name == "correspondence_accuracy" else loose  # nothing is fitted
        for key in (variable.name, f"{variable.name}_ci"):
            if key in first:
                np.testing.assert_allclose(other[key].values, first[key].values, rtol=1e-5, atol=loose, err_msg=key)
                compared += 1
        key = f"{variable.name}_image"
        if key in first and loose < 1e-5 and first[key].sizes["image"] == len(order):
            mine, theirs = first[key].values[..., order], other[key].values
            scale = np.nanmax(np.abs(mine), initial=0)
            np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-5 * scale, err_msg=key)
    assert compared


@pytest.mark.parametrize("name", probes.names())
def test_shuffled_images_give_the_same_numbers_and_intervals(runs, orders, name) -> None:
    agree(name, runs(name, shuffled=False), runs(name, shuffled=True), orders["test"])


def test_decoding_processes_do_not_change_numbers(runs, orders) -> None:
    for name in ("knn", "reconstruction", "attention_distance"):
        agree(name, runs(name, shuffled=False), runs(name, shuffled=False, workers=2), np.arange(30))


@pytest.mark.parametrize("preset", ["mae-lars-90", "dinov2-grid"])
def test_stochastic_heads_draw_the_same_batches_from_shuffled_images(runs, orders, preset, monkeypatch) -> None:
    monkeypatch.setattr(sgd, "LARS_EPOCHS", 2)
    monkeypatch.setattr(sgd, "DINO_STEPS", 60)
    first, other = (runs("linear_probe", shuffled=shuffled, preset=preset) for shuffled in (False, True))
    agree("linear_probe", first, other, orders["test"])
    right = first["linear_accuracy_image"].values
    assert (right[..., orders["test"]] == other["linear_accuracy_image"].values).mean() > 0.99
