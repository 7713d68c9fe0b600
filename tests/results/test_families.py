"""Families of checkpoints are named by the fewest facts that tell them apart."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probekit.results.settings import families, settings_of

CIFAR = "CIFAR-10 training images, train split: 4,050 of the first 4,500 of each class; the last 500 are held out"


def named(**columns: list) -> list[str]:
    count = len(next(iter(columns.values())))
    coords = {name: ("checkpoint", np.asarray(values)) for name, values in columns.items()}
    ds = xr.Dataset(coords={"checkpoint": [f"c{i}" for i in range(count)], **coords})
    found = families(settings_of(ds))
    return [found[i] for i in range(count)]


def test_one_fact_that_tells_is_enough() -> None:
    data = [CIFAR, "shapes, train split (fingerprint 0123)", "quadtree"]
    assert named(trained_on=data, depth=[6.0, 4.0, 4.0], width=[128.0, 64.0, 96.0]) == [
        "trained on CIFAR-10 training images", "trained on shapes", "trained on quadtree",
    ]  # fmt: skip


def test_two_facts_are_named_where_one_does_not_tell() -> None:
    found = named(depth=[12.0, 12.0, 24.0], width=[384.0, 768.0, 768.0])
    assert found == ["12 blocks, width 384", "12 blocks, width 768", "24 blocks, width 768"]


def test_data_sets_alike_before_the_comma_are_told_by_another_fact() -> None:
    assert named(trained_on=["set, half", "set, all"], width=[64.0, 128.0]) == ["width 64", "width 128"]
    assert named(trained_on=["set, half", "set, all"]) == ["trained on set, half", "trained on set, all"]


def test_masking_and_seed_make_no_family() -> None:
    assert named(mask_ratio=[0.5, 0.75], patch_size=[4.0, 8.0], width=[64.0, 64.0]) == ["", ""]


def test_targets_are_named_in_words() -> None:
    assert named(normalised_targets=[1.0, 0.0]) == ["normalised targets", "plain targets"]
