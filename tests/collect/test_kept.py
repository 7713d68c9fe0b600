"""What is kept between passes: bounded, oldest out first, and the same numbers as drawn anew."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from tiny_measured import tiny

from probekit.collect import PassSettings, PreparedModel
from probekit.collect.kept import Kept
from probekit.collect.ladder import LadderSource
from probekit.data import load
from probekit.data.ladder_views import LadderViews
from probekit.measures.fsim import FsimReference
from probekit.measures.images import SsimReference


def test_what_was_asked_for_longest_ago_goes_first_and_what_is_too_large_is_not_kept() -> None:
    made: list[str] = []

    def get(key: str, size: int = 4) -> np.ndarray:
        return kept.get(key, lambda: made.append(key) or np.full(size, ord(key[0]), dtype=np.uint8))

    kept: Kept[np.ndarray] = Kept(10)
    assert [chr(get(key)[0]) for key in ("a", "b", "a", "c", "a", "b")] == ["a", "b", "a", "c", "a", "b"]
    assert made == ["a", "b", "c", "b"]  # c put b out, which was older than a
    get("huge", 11)
    get("huge", 11)
    assert made[4:] == ["huge", "huge"]
    get("a")
    assert made[6:] == []


@pytest.mark.parametrize("make", [SsimReference, FsimReference])
def test_a_reference_knows_how_much_it_holds(make) -> None:
    reference = make(np.random.default_rng(0).random((6, 3, 96, 96), dtype=np.float32))
    assert reference.nbytes == pytest.approx(len(pickle.dumps(reference)), rel=0.01)


def test_views_are_drawn_once_and_not_again_for_another_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, source = PreparedModel(tiny(), PassSettings()), LadderSource(load("shapes", "test", count=12), 12, 977)
    first = [batch.images for batch in source.batches(prepared, 0, 12)]
    drawn = source.views(prepared).batch(np.arange(12)).flatten(0, 1)
    np.testing.assert_array_equal(np.concatenate(first), drawn)
    monkeypatch.setattr(LadderViews, "batch", lambda *_: pytest.fail("drawn again"))
    again = LadderSource(load("shapes", "test", count=12), 12, 977)  # the same images, opened once more
    np.testing.assert_array_equal(np.concatenate([b.images for b in again.batches(prepared, 0, 12)]), drawn)
    monkeypatch.undo()
    other = next(LadderSource(again.image_set, 12, 978).batches(prepared, 0, 12))
    assert not np.array_equal(other.images, first[0])
