"""What is kept between passes: bounded, oldest out first, and the same numbers as drawn anew."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_measured import tiny

from probekit.collect import PassSettings, PreparedModel
from probekit.collect.kept import Kept
from probekit.collect.ladder import LadderSource
from probekit.data import load
from probekit.data.ladder_views import LadderViews


def test_what_was_asked_for_longest_ago_goes_first_and_what_is_too_large_is_not_kept() -> None:
    made: list[str] = []

    def get(key: str, size: int = 4) -> str:
        return kept.get(key, size, lambda: made.append(key) or key)

    kept: Kept[str] = Kept(10)
    assert [get(key) for key in ("a", "b", "a", "c", "a", "b")] == ["a", "b", "a", "c", "a", "b"]
    assert made == ["a", "b", "c", "b"]  # c put b out, which was older than a
    get("huge", 11)
    get("huge", 11)
    assert made[4:] == ["huge", "huge"]
    get("a")
    assert made[6:] == []


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
