"""What is said where scores are not above what is had without looking."""

from __future__ import annotations

import numpy as np
import pytest

from probekit.measures.retrieval import average_precision, random_precision
from probekit.measures.weakness import odd_features, tiny_classes, what_weakens


def test_a_margin_is_said_where_no_interval_lies_above_the_baseline() -> None:
    said = what_weakens([0.5, 0.7], [[0.4, 0.6], [0.6, 0.8]], 0.65, of="k-NN")
    assert said == {
        "k-NN, margin over the most frequent class": "the best accuracy is 0.700, and no interval lies above the 0.650 "
        "of always saying the most frequent class"
    }
    assert what_weakens([0.5, 0.7], [[0.4, 0.6], [0.66, 0.8]], 0.65) == {}
    assert what_weakens([np.nan], [[np.nan, np.nan]], 0.65) == {}
    said = what_weakens(0.3, [0.2, 0.4], 0.4, of="retrieval", score="mAP", over="chance", without="a random order")
    assert list(said.items()) == [
        (
            "retrieval, margin over chance",
            "the best mAP is 0.300, and no interval lies above the 0.400 of a random order",
        )
    ]


def test_tiny_classes_and_odd_features_are_said() -> None:
    labels = [0] * 9 + [1] * 4
    assert tiny_classes(labels, ["a", "b", "c"])["tiny classes"].startswith("1 of 3 classes have fewer than 5")
    assert tiny_classes(labels[:9], ["a", "b"]) == {}
    assert set(odd_features(np.full((3, 2), 1e18), "cls")) == {"constant features, cls", "huge features, cls"}
    assert odd_features(np.eye(3), "cls") == {}


@pytest.mark.parametrize("labels", [np.arange(60) % 5, np.r_[np.zeros(37), np.ones(3), 2], np.r_[0, 0, 1, 1]])
def test_the_precision_of_a_random_order_is_its_mean_over_orders(labels: np.ndarray) -> None:
    draw = np.random.default_rng(0)
    found = [np.nanmean(average_precision(draw.normal(size=(len(labels), 8)), labels)) for _ in range(400)]
    assert random_precision(labels) == pytest.approx(np.mean(found), abs=4 * np.std(found) / 20 + 1e-3)
    assert np.isnan(random_precision([0, 1, 2]))
