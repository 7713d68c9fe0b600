"""A probe that fails takes its own numbers alone; faults of the machine end the call."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
from tiny_measured import tiny

import probekit
from probekit import probes
from probekit.probes import knn
from probekit.schema import Variable

COUNTS = {"train": 40, "val": 20, "test": 24}


def broken(error: Exception) -> ModuleType:
    """A probe module whose `run` raises."""
    module = ModuleType("broken_probe")
    module.__doc__ = "A probe that always fails, to see what its failure takes along."
    module.VARIABLES = (Variable("broken_number", (), "Broken number", "1", "none", "none", "-", no_interval="none"),)
    module.NEEDS, module.REQUIRES, module.OPTIONS = ("features:test",), ("test",), {}

    def run(measurements):
        raise error

    module.run = run
    return module


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_registered", {})


def test_any_exception_of_a_probe_leaves_the_numbers_of_the_others(registered, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path))
    probes.register(broken(ValueError("four is no colour")))
    with pytest.raises(probekit.ProbekitError, match="raised ValueError: four is no colour") as raised:
        probekit.evaluate(tiny(), ["broken_probe", "knn"], data="shapes", counts=COUNTS)
    kept = raised.value.results
    assert knn.VARIABLES[0].name in kept
    assert (
        "four is no colour" in json.loads(kept.attrs["not_applicable"])[str(kept.checkpoint.values[0])]["broken_probe"]
    )


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError("no room")])
def test_faults_of_the_machine_are_no_missing_numbers(registered, error) -> None:
    probes.register(broken(error))
    with pytest.raises(Exception, match=r"disk is full|no room") as raised:
        probekit.evaluate(tiny(), "broken_probe", data="shapes", counts=COUNTS, cache=False)
    assert getattr(raised.value, "results", None) is None or "broken_number" not in raised.value.results


def test_outcomes_that_all_agree_have_an_interval() -> None:
    """Black against white: every image is right, and 24 images are not proof of 1."""
    import numpy as np

    labels = np.arange(84) % 2
    images = np.random.default_rng(0).integers(0, 30, (84, 16, 16, 3), dtype=np.uint8)
    images[labels == 1] += 200
    data = {
        "train": (images[:40], labels[:40]),
        "val": (images[40:60], labels[40:60]),
        "test": (images[60:], labels[60:]),
    }
    ds = probekit.evaluate(tiny(), "linear_probe", data=data, counts=COUNTS, cache=False)
    last = ds.isel(layer=-1, checkpoint=0, data=0).sel(pooling="mean")
    assert last.balanced_accuracy.item() == pytest.approx(1)
    assert last.balanced_accuracy_ci.sel(bound="lower").item() < 0.95
    assert last.balanced_accuracy_ci.values == pytest.approx(last.linear_accuracy_ci.values)
