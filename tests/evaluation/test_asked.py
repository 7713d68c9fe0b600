"""What callers ask for besides probes and images: layers, poolings, how images go in, own coordinates."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from tiny_measured import COUNTS, SPEC, tiny
from typer.testing import CliRunner

import probekit
from probekit import schema
from probekit.cli import app
from probekit.errors import DataError, ProbeError, ResultsError

KNN: dict[str, Any] = {"suite": "knn", "data": SPEC, "counts": COUNTS}
WIDE = ["knn", "level_spectrum", "attention_distance", "label_free", "embedding"]


def test_layers_that_are_asked_for_have_the_numbers_they_have_among_all() -> None:
    ckpt = tiny()
    everything = probekit.evaluate(ckpt, WIDE, SPEC, counts=COUNTS)
    some = probekit.evaluate(ckpt, WIDE, SPEC, counts=COUNTS, layers=[-1, 1], poolings=["mean"])
    assert some.layer.values.tolist() == [1, 2]
    assert some.pooling.values.tolist() == ["mean", "token"]
    for name in schema.result_names(everything):
        labels = {
            dim: some[name][dim].values for dim in some[name].dims if dim in everything.coords and dim in some.coords
        }
        xr.testing.assert_allclose(some[name], everything[name].sel(labels))
    assert json.loads(some.attrs["provenance"])["records"][0]["settings"]["layers"] == [-1, 1]


def test_only_layers_that_are_asked_for_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    from probekit.measures import knn as measure
    from probekit.probes import knn as probe

    fitted = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        fitted.append(1)
        return measure.knn(*args, **kwargs)

    monkeypatch.setattr(probe, "knn", counted)
    probekit.evaluate(tiny(), **KNN, layers=[-1], poolings=["cls"])
    assert len(fitted) == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layers": [7]}, "has the layers 0 .* to 2"),
        ({"layers": []}, "empty list"),
        ({"layers": [0.5]}, "whole number"),
        ({"layers": "last"}, "list of layer numbers"),
        ({"poolings": ["average"]}, "no pooling is called 'average'"),
        ({"poolings": "mean"}, "expected a list"),
        ({"image_size": "big"}, "number of pixels"),
        ({"image_size": (16, 0)}, "number of pixels"),
        ({"image_size": 16.5}, "number of pixels"),
        ({"image_size": True}, "number of pixels"),
        ({"coords": "loss"}, "expected a dict"),
        ({"coords": {"loss": None}}, "numbers or texts"),
        ({"coords": {"loss": [1, 2]}}, "2 values for one checkpoint"),
        ({"coords": {"layer": 1}}, "probekit's own"),
        ({"coords": {"my loss": 1}}, "is no name"),
        ({"coords": {"loss": object()}}, "numbers or texts"),
        ({"coords": {"loss": 10**400}}, "more than 308 digits"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        probekit.evaluate(tiny(), **KNN, **asked)


def test_images_go_in_as_asked_and_the_protocol_says_so() -> None:
    ckpt = tiny()
    card = probekit.evaluate(ckpt, **KNN)
    larger = probekit.evaluate(ckpt, **KNN, image_size=24, interpolation="bilinear")
    assert float(larger.image_height[0]) == 24
    assert json.loads(larger.knn_accuracy.attrs["preparation"]) == {"image_size": [24, 24], "interpolation": "bilinear"}
    assert "preparation" not in card.knn_accuracy.attrs
    with pytest.raises(ResultsError, match="preparation"):
        probekit.compare([card, larger.assign_coords(checkpoint=["larger"])])
    with pytest.raises(DataError, match="crop_fraction"):
        probekit.evaluate(ckpt, **KNN, crop_fraction=1.5)
    with pytest.raises(DataError, match="crop_fraction is 'half'"):
        probekit.evaluate(ckpt, **KNN, crop_fraction="half")
    with pytest.raises(DataError, match="Unknown interpolation"):
        probekit.evaluate(ckpt, **KNN, interpolation=["bicubic"])
    with pytest.raises(DataError, match="do not divide"):
        probekit.evaluate(ckpt, **KNN, image_size=18)


def test_own_coordinates_stay_through_files_and_comparisons(tmp_path: Path) -> None:
    ds = probekit.compare([tiny(), tiny(seed=1)], **KNN, coords={"loss": [0.3, np.float32(0.5)], "recipe": ["a", 2]})
    assert ds.loss.dims == ("checkpoint",)
    assert ds.recipe.values.tolist() == ["a", "2"]
    schema.write(ds, tmp_path / "two.nc")
    one = probekit.evaluate(tiny(seed=2), **KNN, coords={"loss": 0.1}).assign_coords(checkpoint=["third"])
    whole = probekit.compare([tmp_path / "two.nc", one])
    assert whole.loss.values.tolist() == [pytest.approx(0.3), pytest.approx(0.5), pytest.approx(0.1)]
    assert whole.recipe.values.tolist() == ["a", "2", ""]


def test_the_command_line_asks_the_same(tmp_path: Path) -> None:
    tiny().save(tmp_path / "ckpt")
    output = tmp_path / "r.nc"
    counts = json.dumps(asdict(COUNTS))
    command = ["evaluate", str(tmp_path / "ckpt"), "--suite", "knn", "--data", SPEC, "--counts", counts]
    command += ["--layers", "-1", "0", "--poolings", "mean", "--image-size", "24"]
    command += ["--coord", "loss=0.31", "recipe=long"]
    done = CliRunner().invoke(app, [*command, "-o", str(output)])
    assert done.exit_code == 0, done.output
    ds = schema.read(output)
    assert ds.layer.values.tolist() == [0, 2]
    assert (float(ds.loss[0]), str(ds.recipe.values[0]), float(ds.image_height[0])) == (0.31, "long", 24)


def test_many_checkpoints_take_the_memory_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any time at most one model that `compare` opened is alive."""
    import gc
    import weakref

    from probekit import models

    alive: list[weakref.ref[Any]] = []
    most = []
    load = models.load

    def counted(*args: Any, **kwargs: Any) -> Any:
        gc.collect()
        most.append(sum(one() is not None for one in alive))
        checkpoint = load(*args, **kwargs)
        alive.append(weakref.ref(checkpoint.model))
        return checkpoint

    for seed in range(4):
        tiny(seed=seed).save(tmp_path / f"c{seed}")
    monkeypatch.setattr(models, "load", counted)
    probekit.compare([str(tmp_path / f"c{seed}") for seed in range(4)], **KNN)
    assert len(most) == 8
    assert max(most) == 0
