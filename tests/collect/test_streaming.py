"""Features that are read from disk in chunks give what features in memory give; stored in float16 they are rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_measured import SPEC, tiny

from probekit import models, probes
from probekit.collect import Counts, Measurements, PassSettings, PreparedModel, Splits, readings, stored
from probekit.collect.stored import Column
from probekit.errors import ProbeError, ResultsError
from probekit.evaluation import compare
from probekit.measures import linear
from probekit.probes import level_spectrum

NOTHING = 1e-9
"""GiB in which no features fit: every fit reads them in chunks."""

FITS = {
    "knn": {"ks": [5, 20]},
    "linear_probe": {"preset": "lbfgs-sweep"},
    "low_shot": {"per_class": [1], "draws": 2},
    "latent_recovery": {"landmarks": 32},
    "level_recovery": {"landmarks": 32, "untrained": False},
    "level_spectrum": {"untrained": False},
}


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 32 rows and pieces of 7: the images of a test are many chunks."""
    monkeypatch.setattr(linear, "chunk_rows", lambda dims: 32)
    monkeypatch.setattr(stored, "PIECE", 7)


@pytest.fixture(scope="module")
def many() -> Splits:
    return Splits(SPEC, Counts(train=150, val=30, test=80, images=10, pairs=70))


@pytest.mark.parametrize("name", FITS)
def test_numbers_do_not_depend_on_memory(name: str, measure, many: Splits, small_chunks: None) -> None:
    probe = probes.find(name)
    found = []
    for memory in (1.0, NOTHING):
        measurements = measure(data=many, memory=memory, layers=(1, 2))
        measurements.gather(probe.needs)
        streams = isinstance(measurements.streamed("test", 1, "mean"), Column)
        assert streams == (memory == NOTHING)
        found.append(probe.run(measurements, **{**probe.options, **FITS[name]}))
    assert found[0].keys() == found[1].keys()
    for key, array in found[0].items():
        atol = 1e-5 if array.dtype.kind == "f" else 0
        np.testing.assert_allclose(found[1][key].values, array.values, rtol=1e-4, atol=atol, err_msg=key)


@pytest.mark.parametrize("preset", ["mae-lars-90", "dinov2-grid"])
def test_stochastic_presets_read_the_same_batches(preset: str, measure, many: Splits, monkeypatch) -> None:
    monkeypatch.setattr("probekit.measures.sgd.LARS_EPOCHS", 1)
    monkeypatch.setattr("probekit.measures.sgd.DINO_STEPS", 50)
    found = []
    for memory in (1.0, NOTHING):
        measurements = measure(data=many, memory=memory, layers=(2,))
        measurements.gather(("features:train", "features:val", "features:test"))
        found.append(probes.find("linear_probe").run(measurements, preset=preset)["linear_prediction"].values)
    np.testing.assert_array_equal(*found)


def test_a_column_is_read_as_numpy_reads_it(measure) -> None:
    measurements = measure()
    measurements.gather(["features:train"])
    whole = measurements.pooled("train", 1, "mean")
    column = Column(measurements.store("features:train")["pooled"], 1, measurements.poolings.index("mean"))
    order = np.random.default_rng(0).permutation(len(whole))
    assert column.shape == whole.shape
    for key in (slice(3, 17), slice(None), slice(-4, None), order[:9], np.array([5, 5, 2]), slice(0, 0)):
        np.testing.assert_array_equal(column[key], whole[key])
        np.testing.assert_array_equal(column.chosen(order)[key], whole[order][key])
    half = column.chosen(order).chosen(np.arange(20))
    assert half.shape == (20, whole.shape[1])
    np.testing.assert_array_equal(half[:], whole[order[:20]])


def test_float16_halves_the_bytes_and_rounds(measure) -> None:
    exact, rounded = measure(), measure(features_dtype="float16")
    planned = [m.planned(["features:test"])[0].bytes for m in (exact, rounded)]
    assert planned[0] == 2 * planned[1] > 0
    for m in (exact, rounded):
        m.gather(["features:test"])
    assert rounded.forwards == exact.forwards == 30  # other names in the cache
    np.testing.assert_array_equal(
        rounded.pooled("test", 2, "mean"), exact.pooled("test", 2, "mean").astype(np.float16).astype(np.float32)
    )
    assert rounded.store("features:test")["pooled"].nbytes == planned[1]


def test_float16_is_part_of_the_protocol() -> None:
    counts, name = {"train": 40, "val": 20, "test": 20}, "knn"
    exact, rounded = (
        compare([tiny(seed)], name, SPEC, names=[dtype], counts=counts, features_dtype=dtype)
        for seed, dtype in enumerate(("float32", "float16"))
    )
    assert "features_dtype" not in exact.knn_accuracy.attrs
    assert rounded.knn_accuracy.attrs["features_dtype"] == "float16"
    with pytest.raises(ResultsError, match="features_dtype"):
        compare([exact, rounded])
    beside = compare([rounded, tiny(2)])  # a new one is measured as the others were
    assert beside.knn_accuracy.attrs["features_dtype"] == "float16"


def test_features_beyond_float16_are_refused(measure) -> None:
    checkpoint = tiny()
    with torch.no_grad():
        checkpoint.model.encoder.norm.weight.fill_(1e6)
    model = models.load(checkpoint.model, device="cpu")
    with pytest.raises(ProbeError, match=r"layer 2 exceed the range of float16"):
        measure(given=model, features_dtype="float16").gather(["features:test"])


@pytest.mark.parametrize(
    ("asked", "message"), [({"features_dtype": "float64"}, "float16"), ({"memory": 0}, "number of GiB above 0")]
)
def test_what_cannot_be_is_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        PassSettings(**asked)


def test_memory_is_no_part_of_a_key(checkpoint, sets, tmp_path) -> None:
    facts = [
        Measurements(PreparedModel(checkpoint, PassSettings(memory=memory)), sets, tmp_path).prepared.facts
        for memory in (1.0, 2.0)
    ]
    assert facts[0] == facts[1]


def test_pixels_of_large_images_go_in_parts(measure, many: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    measurements, found = measure(data=many), []
    for numbers in (1 << 23, 2 * 3 * 16 * 16 * 9):  # 9 pairs at a time
        monkeypatch.setattr(level_spectrum, "PIXELS", numbers)
        found.append(level_spectrum.terms_of_pixels(measurements))
    (pixels, simple), (in_parts, simple_in_parts) = found
    np.testing.assert_allclose(in_parts, pixels, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(simple_in_parts, simple, rtol=1e-10, atol=1e-12)


def test_tables_of_features_are_kept_while_there_is_room(measure, monkeypatch: pytest.MonkeyPatch) -> None:
    measurements = measure()
    measurements.gather(["features:train", "features:test"])
    expected = [measurements.pooled(split, 1, "mean") for split in ("train", "test")]
    size = measurements.store("features:train")["pooled"].nbytes
    for room, held in ((0, 0), (size, 1), (10 * size, 2)):
        monkeypatch.setattr(readings, "IN_MEMORY", room)
        measurements._tables.clear()
        for split, features in zip(("train", "test"), expected, strict=True):
            np.testing.assert_array_equal(measurements.pooled(split, 1, "mean"), features)
        assert len(measurements._tables) == held


def test_a_plan_knows_what_is_stored_of_the_untrained_twin_without_making_it(measure) -> None:
    measurements = measure()
    needs = ["untrained:features:test", "untrained-1:features:test"]
    assert [one.missing for one in measurements.planned(needs)] == [30, 30]
    assert not measurements._twins
    measurements.untrained(1).gather(["features:test"])
    assert [one.missing for one in measurements.planned(needs)] == [30, 0]
