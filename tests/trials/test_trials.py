"""A sample of the trials; the whole is `python tests/trials/run.py`."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import run
from trial import BYTES, GOOD, Trial, judged


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trials")


@pytest.fixture
def own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBEKIT_CACHE", str(folder / "cache"))
    monkeypatch.setenv("PROBEKIT_PROGRESS", "0")


SAMPLE = {
    "checkpoints": 36, "cards": 20, "images": 15, "archives": 18, "coco": 30, "masks": 18, "features": 8,
    "options": 40, "tunings": 2, "detections": 1,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "count"), SAMPLE.items())
def test_hostile_and_damaged_files(kind: str, count: int, folder: Path, own_cache: None) -> None:
    trials = run.makers()[kind](folder / kind, count)
    tried = enumerate(itertools.islice(trials, count))
    verdicts = {f"{place}: {trial.name}": judged(trial) for place, trial in tried}
    assert len(verdicts) >= 0.7 * count
    assert {name: verdict for name, verdict in verdicts.items() if verdict.outcome not in GOOD} == {}


def test_a_damaged_cache_gives_the_same_numbers(folder: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def use(place: Path) -> None:
        monkeypatch.setenv("PROBEKIT_CACHE", str(place))

    verdicts = {trial.name: judged(trial) for trial in run.kinds.caches(folder / "caches", 4, use)}
    assert {name: verdict for name, verdict in verdicts.items() if verdict.outcome != "equal"} == {}


def test_writers_that_are_killed_or_find_no_room(folder: Path, own_cache: None) -> None:
    ds = run.kinds.measured()
    verdicts = [*run.kills(folder, 6, ds), *run.full_disk(ds)]
    assert len(verdicts) >= 7
    assert [one for one in verdicts if one[1].outcome not in (*GOOD, "skipped")] == []


def hanging() -> None:
    while True:
        pass


TROUBLE = {
    "wrong": Trial("", "", lambda: 1, expected=2),
    "traceback": Trial("", "", lambda: {}["a"]),  # type: ignore[index]
    "hang": Trial("", "", hanging, seconds=0.2),
    "memory": Trial("", "", lambda: len(bytearray(b"x" * (BYTES // 2 + 10**8) * 2)), seconds=60),
}


@pytest.mark.parametrize("outcome", TROUBLE)
def test_a_trial_can_fail(outcome: str) -> None:
    assert judged(TROUBLE[outcome]).outcome == outcome
