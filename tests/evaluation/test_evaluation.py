"""evaluate and compare, end to end on tiny models: valid datasets, caches, refusals with reasons."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
import warm
import xarray as xr
from tiny_measured import COUNTS, QUICK, SPEC, tiny

import probekit
from probekit import files, models, probes, schema
from probekit.collect import Measurements
from probekit.data import SPLITS, ArraySet
from probekit.errors import ProbeError, ProbekitError, ResultsError
from probekit.evaluation import single
from probekit.evaluation.single import Evaluation
from probekit.models import MaskedAutoencoder

FEW = ["linear_probe", "knn"]
VARIED = [*FEW, "reconstruction", "attention_distance", "level_spectrum"]


@pytest.fixture
def forwards(monkeypatch):
    """Images that went through an encoder."""
    seen = []
    trace = MaskedAutoencoder.trace

    def counted(self, images, *args, **kwargs):
        seen.append(len(images))
        return trace(self, images, *args, **kwargs)

    monkeypatch.setattr(MaskedAutoencoder, "trace", counted)
    return seen


def without_provenance(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_attrs(provenance="")


def test_a_valid_dataset_that_survives_the_disk(tmp_path) -> None:
    ds = probekit.evaluate(tiny(), VARIED, SPEC, counts=COUNTS)
    assert ds.sizes["checkpoint"] == ds.sizes["data"] == 1
    assert ds.linear_accuracy.dims == ("checkpoint", "data", "layer", "pooling")
    assert set(schema.CHECKPOINT_COORDS) <= set(ds.coords)
    assert ds.relative_depth.values.tolist() == [[0, 0.5, 1]]
    assert ds.example_reconstruction.dtype == np.uint8
    assert {"fsim", "masked_fsim", "linear_accuracy_top5", "representation_level, whitened"} <= set(
        schema.not_applicable(ds)["model"]
    )
    xr.testing.assert_identical(schema.read(schema.write(ds, tmp_path / "r.nc")), ds)
    ds.to_zarr(tmp_path / "r.zarr", consolidated=False, zarr_format=2)  # version 3 has no standard for texts yet
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "r.zarr", consolidated=False).load(), ds)


def test_a_file_is_enough_to_compute_its_accuracy_again(tmp_path) -> None:
    """With xarray and scikit-learn alone: labels and predictions stand in it."""
    from sklearn.metrics import accuracy_score

    ds = probekit.evaluate(tiny(), "linear_probe", SPEC, counts=COUNTS)
    schema.write(ds, tmp_path / "r.nc")
    with xr.open_dataset(tmp_path / "r.nc", engine="h5netcdf") as found:
        labels = found["label"].isel(data=0).values
        for layer in found.layer.values:
            for pooling in found.pooling.values:
                cell = found.sel(layer=layer, pooling=pooling).isel(checkpoint=0, data=0)
                again = accuracy_score(labels, cell["linear_prediction"])
                assert float(cell["linear_accuracy"]) == pytest.approx(again, abs=1e-6)


def test_a_second_call_makes_no_forward_and_gives_the_same(forwards) -> None:
    first = probekit.evaluate(tiny(), VARIED, SPEC, counts=COUNTS)
    assert sum(forwards) > 0
    forwards.clear()
    second = probekit.evaluate(tiny(), VARIED, SPEC, counts=COUNTS)
    assert sum(forwards) == 0
    xr.testing.assert_identical(without_provenance(first), without_provenance(second))


def test_other_weights_do_not_find_the_cache(forwards) -> None:
    probekit.evaluate(tiny(), "knn", SPEC, counts=COUNTS)
    once = sum(forwards)
    probekit.evaluate(tiny(seed=1), "knn", SPEC, counts=COUNTS)
    assert sum(forwards) == 2 * once


def test_without_a_cache_nothing_is_kept(own_cache) -> None:
    probekit.evaluate(tiny(), "knn", SPEC, counts=COUNTS, cache=False)
    assert not own_cache.exists() or not list(own_cache.rglob("*.npz"))


def test_a_cache_that_cannot_be_written_is_said_and_gone_without(tmp_path, monkeypatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("PROBEKIT_CACHE", str(blocked / "cache"))
    with pytest.warns(RuntimeWarning, match=r"cannot be written .* going on without a cache"):
        ds = probekit.evaluate(tiny(), "knn", SPEC, counts=COUNTS)
    assert "knn_accuracy" in ds


def test_results_in_a_cache_that_cannot_be_written_are_read(own_cache, forwards, monkeypatch) -> None:
    first = probekit.evaluate(tiny(), "knn", SPEC, counts=COUNTS)
    forwards.clear()

    def read_only(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(single.tempfile, "TemporaryFile", read_only)
    before = sorted(own_cache.rglob("*"))
    with pytest.warns(RuntimeWarning, match="Read-only file system"):
        again = probekit.evaluate(tiny(), ["knn", "attention_distance"], SPEC, counts=COUNTS)
    xr.testing.assert_identical(again.knn_accuracy, first.knn_accuracy)
    assert np.isfinite(again.attention_distance.sel(layer=slice(1, None))).all()
    assert sum(forwards) == COUNTS.images  # for the attention alone
    assert sorted(own_cache.rglob("*")) == before


def test_a_result_that_cannot_be_kept_is_not_lost(monkeypatch) -> None:
    def full(target, *_args, **_kwargs):
        raise files.unwritable(target, OSError(28, "No space left on device"), "")

    monkeypatch.setattr(single.results, "write_bytes", full)
    with pytest.warns(RuntimeWarning, match=r"cannot be written: the disk is full.*computes them again"):
        ds = probekit.evaluate(tiny(), "attention_distance", SPEC, counts=COUNTS)
    assert np.isfinite(ds.attention_distance).all()


def test_different_models_line_up_with_reasons_and_relative_depth() -> None:
    """An MAE beside a plain timm ViT: other patch, depth, width, image size, and no decoder."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    plain = VisionTransformer(img_size=24, patch_size=6, embed_dim=24, depth=3, num_heads=3, num_classes=0)
    external = models.load(plain, device="cpu", mean=[0.5] * 3, std=[0.5] * 3)
    ds = probekit.compare([tiny(), external], [*FEW, "attention_distance"], SPEC, counts=COUNTS, names=["mae", "timm"])
    assert ds.checkpoint.values.tolist() == ["mae", "timm"]
    assert np.isnan(ds.linear_accuracy.sel(checkpoint="mae", layer=3)).all()
    assert np.isfinite(ds.linear_accuracy.sel(checkpoint="timm", layer=3)).all()
    np.testing.assert_allclose(ds.relative_depth.sel(checkpoint="timm"), [0, 1 / 3, 2 / 3, 1])
    both = probekit.compare([tiny(), external], "low_level", SPEC, counts=COUNTS, names=["mae", "timm"])
    reasons = schema.not_applicable(both)
    assert "no decoder" in reasons["timm"]["reconstruction"]
    assert np.isnan(both.ssim.sel(checkpoint="timm")).all()
    assert np.isfinite(both.ssim.sel(checkpoint="mae")).all()
    with pytest.raises(ProbeError, match=r"reconstruction cannot run .* no decoder"):
        probekit.evaluate(external, "reconstruction", SPEC, counts=COUNTS)


def test_a_metric_that_images_are_too_small_for_has_its_reason() -> None:
    ds = probekit.evaluate(tiny(), "low_level", SPEC, counts=COUNTS)
    again = probekit.evaluate(tiny(), "low_level", SPEC, counts=COUNTS)
    for one in (ds, again):
        assert "24" in schema.not_applicable(one)["model"]["fsim"]
        assert "fsim" not in one


def test_equal_names_are_made_distinct_and_files_can_stand_beside(tmp_path) -> None:
    ds = probekit.compare([tiny(0), tiny(1)], "knn", SPEC, counts=COUNTS)
    assert ds.checkpoint.values.tolist() == ["model", "model (2)"]
    file = schema.write(ds, tmp_path / "old.nc")
    more = probekit.compare([file, tiny(2)], "knn", SPEC, counts=COUNTS)
    assert more.checkpoint.values.tolist() == ["model", "model (2)", "model (3)"]
    np.testing.assert_array_equal(more.knn_accuracy[:2], ds.knn_accuracy)
    other = probekit.evaluate(tiny(3), "knn", SPEC, counts=COUNTS, options={"knn": {"temperature": 1.0}})
    with pytest.raises(ResultsError, match=r"knn_accuracy was measured differently \(options\)"):
        probekit.compare([file, other.assign_coords(checkpoint=["new"])], "knn")
    mixed = probekit.compare([file, other.assign_coords(checkpoint=["new"])], "knn", mixed=True)
    assert "options" in json.loads(mixed.knn_accuracy.attrs["mixed_protocols"])


def test_results_of_one_checkpoint_in_several_files_are_put_together(tmp_path) -> None:
    few = {**asdict(COUNTS), "train": 30, "images": 15}
    files = [
        schema.write(probekit.evaluate(tiny(), probes, SPEC, counts=counts), tmp_path / f"{number}.nc")
        for number, (probes, counts) in enumerate([("knn", COUNTS), ("attention_distance", few), ("knn", few)])
    ]
    both = probekit.compare([*files[:2], tiny(1)], "knn", SPEC, counts=COUNTS)
    assert both.checkpoint.values.tolist() == ["model", "model (2)"]
    for file in files[:2]:
        alone = schema.read(file)
        for name in schema.result_names(alone):
            mine = both[name].sel({dim: alone[dim] for dim in alone[name].dims if dim in alone.coords})
            np.testing.assert_array_equal(mine, alone[name])
            assert mine.attrs["protocol"] == alone[name].attrs["protocol"]
    np.testing.assert_array_equal(both.label[0], schema.read(files[0]).label[0])
    xr.testing.assert_identical(schema.read(schema.write(both, tmp_path / "both.nc")), both)
    again = probekit.compare([tmp_path / "both.nc", files[1]], "knn")
    xr.testing.assert_identical(without_provenance(again), without_provenance(both))
    with pytest.raises(ResultsError, match=r"knn_accuracy.* of model on quadtree is in more than one of the datasets"):
        probekit.compare([files[0], files[2]], "knn")
    k5, k7 = (probekit.evaluate(tiny(), "knn", SPEC, counts=COUNTS, options={"knn": {"ks": [k]}}) for k in (5, 7))
    with pytest.raises(ResultsError, match=r"knn_accuracy was measured differently \(options\)"):
        probekit.compare([k5, k7], "knn")
    mixed = probekit.compare([k5, k7], "knn", mixed=True)
    assert mixed.k.values.tolist() == [5, 7]
    assert "options" in json.loads(mixed.knn_accuracy.attrs["mixed_protocols"])
    fewer = probekit.evaluate(tiny(), "attention_distance", SPEC, counts={**few, "test": 20})
    with pytest.raises(ResultsError, match=r"data_fingerprint of model on quadtree .* differs"):
        probekit.compare([files[0], fewer], "knn")
    stranger = schema.write(probekit.evaluate(tiny(1), "attention_distance", SPEC, counts=COUNTS), tmp_path / "s.nc")
    with pytest.raises(ResultsError, match=r"checkpoint named 'model', and they are not known to be the same"):
        probekit.compare([files[0], stranger], "knn")


def test_the_untrained_twin_is_in_memory_as_long_as_a_probe_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[str, bool] = {}
    probed = Evaluation.probe

    def probe(self: Evaluation, name: str, measurements: Measurements) -> dict[str, xr.DataArray]:
        there[name] = bool(measurements._twins)
        return probed(self, name, measurements)

    monkeypatch.setattr(Evaluation, "probe", probe)
    names = ["level_spectrum", "attention_distance", "level_ladder", "knn"]
    probekit.evaluate(tiny(), names, SPEC, counts=COUNTS, cache=False)
    assert there == {"level_spectrum": False, "attention_distance": True, "level_ladder": True, "knn": False}


def test_probes_asked_for_by_name_that_cannot_run_are_errors_and_the_rest_is_kept() -> None:
    with pytest.raises(
        ProbeError, match=r"object_focus cannot run on quadtree: the image set has no object masks"
    ) as caught:
        probekit.evaluate(tiny(), ["knn", "object_focus"], SPEC, counts=COUNTS)
    assert "knn_accuracy" in caught.value.results


def image_set(split: str, labels) -> ArraySet:
    rng = np.random.default_rng(len(split))
    images = rng.integers(0, 256, (len(labels), 16, 16, 3), dtype=np.uint8)
    return ArraySet(
        images, name="own", spec="own", split=split, classes=["a", "b", "c"], labels=np.asarray(labels),
        origin="stored", facts={"split": split},
    )  # fmt: skip


def test_one_class_only_is_refused_by_name() -> None:
    data = {split: image_set(split, [1] * 10) for split in ("train", "val", "test")}
    with pytest.raises(ProbeError, match="one class only"):
        probekit.evaluate(tiny(), "linear_probe", data, counts=COUNTS)


def test_fewer_images_than_classes_is_refused() -> None:
    data = {
        "train": image_set("train", [0, 1]),
        "val": image_set("val", [0, 1]),
        "test": image_set("test", [0, 1, 2, 1]),
    }
    with pytest.raises(ProbeError, match=r"2 .*3 classes|3 classes.*2 "):
        probekit.evaluate(tiny(), "linear_probe", data, counts=COUNTS)


def test_a_split_that_is_missing_is_named() -> None:
    with pytest.raises(ProbeError, match="no train and no val split"):
        probekit.evaluate(tiny(), "linear_probe", image_set("test", [0, 1, 2, 1]), counts=COUNTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": "hihg_level"}, "Did you mean 'high_level'"),
        ({"suite": ["knn"], "options": {"knn": {"t": 1}}}, "no option 't'"),
        ({"suite": ["knn"], "options": {"linear_probe": {}}}, "not among the probes to run"),
        ({"suite": ["knn"], "options": {"knn": 5}}, "expected a dict of its options"),
        ({"suite": ["knn"], "counts": {"trian": 5}}, "Did you mean 'train'"),
        ({"suite": ["knn"], "counts": {"train": "5"}}, "expected a whole number of at least 1"),
        ({"suite": ["knn"], "counts": {"train": 0}}, "expected a whole number of at least 1"),
        ({"suite": ["knn"], "counts": {"views": 1}}, "views=1; expected a whole number of at least 2"),
        ({"suite": ["knn"], "counts": 5}, "expected a dict"),
        ({"suite": ["knn"], "precision": "float61"}, "Did you mean 'float16'"),
        ({"suite": ["knn"], "precision": None}, "precision=None is unknown"),
        ({"suite": ["knn"], "seed": -1}, "seed=-1; expected a whole number of at least 0"),
        ({"suite": ["knn"], "seed": None}, "seed=None"),
        ({"suite": ["knn"], "seed": 2**32}, "at most 4294967295"),
        ({"suite": ["knn"], "data": [SPEC, SPEC]}, "is given twice"),
        ({"suite": ["knn"], "batch_size": "64"}, "batch_size='64'; expected a whole number of at least 1"),
        ({"suite": ["knn"], "workers": -1}, "workers=-1"),
        ({"suite": ["knn"], "options": 5}, "options=5; expected a dict"),
        ({"suite": None}, "suite=None: expected a suite"),
        ({"suite": [5]}, "No probe is called 5"),
        ({"suite": [["knn"]]}, r"No probe is called \['knn'\]"),
        ({"suite": ["high_level"]}, "'high_level' is a suite, and goes alone"),
        ({"suite": ["knn"], "data": []}, "data is an empty list"),
        ({"suite": ["knn"], "data": [SPEC, "quadtree"]}, "Two of the image sets are called 'quadtree'"),
        ({"suite": ["knn"], "data": {"train": 5}}, "int is no image set: a spec"),
        ({"suite": ["knn"], "data": {}}, "an empty dict was given"),
        ({"suite": ["knn"], "data": ["own", SPEC]}, "data='own' goes alone"),
        ({"suite": ["knn"], "counts": {"test": 10**12}}, "1000000000000 images of .* do not fit in memory"),
    ],
)
def test_wrong_arguments_are_named(arguments, message) -> None:
    with pytest.raises(ProbekitError, match=message):
        probekit.evaluate(tiny(), **{"data": SPEC, **arguments})


@pytest.mark.parametrize(
    ("probe", "options", "message"),
    [
        ("knn", {"ks": 5}, r"ks=5; expected a list of different whole numbers, such as \[10"),
        ("knn", {"ks": ["a"]}, "whole numbers"),
        ("knn", {"ks": [5, 5]}, "different whole numbers"),
        ("knn", {"ks": []}, "whole numbers"),
        ("knn", {"ks": [True]}, "whole numbers"),
        ("knn", {"temperature": 0}, "temperature=0; expected a number above 0"),
        ("linear_probe", {"preset": "mae-lars"}, "Did you mean 'mae-lars-90'"),
        ("linear_probe", {"preset": None}, "preset=None is unknown"),
        ("latent_recovery", {"nonlinear_layers": "lats"}, "Did you mean 'last'"),
        ("latent_recovery", {"landmarks": 2.5}, "a whole number of at least 1"),
        ("embedding", {"perplexity": -1}, "a number above 0"),
        ("level_spectrum", {"untrained": "no"}, "expected True or False"),
        ("robustness", {"shifts": -1}, "a list of different texts"),
        ("shape_bias", {"conflict": ["x"]}, "expected a text"),
    ],
)
def test_options_of_another_kind_are_refused_before_anything_is_measured(probe, options, message, forwards) -> None:
    with pytest.raises(ProbeError, match=f"The probe {probe}: .*{message}"):
        probekit.evaluate(tiny(), probe, SPEC, counts=COUNTS, options={probe: options})
    assert not forwards


def test_options_may_be_numpys_and_a_text_stands_for_a_list_of_one() -> None:
    probe = probes.find("knn")
    assert probe.settings({"ks": np.array([3, 5])})["ks"] == [3, 5]
    assert probe.settings({"ks": (3,), "temperature": 1})["ks"] == [3]
    assert probe.settings({"ks": list(np.arange(3, 5))})["ks"] == [3, 4]
    assert probes.find("robustness").settings({"shifts": "photos"})["shifts"] == ["photos"]
    assert probes.find("robustness").settings({"shifts": []})["shifts"] == []


@pytest.mark.filterwarnings("ignore:.*weights are no longer those of")
@pytest.mark.parametrize("part", ["all", "some"])
def test_a_decoder_that_gives_no_numbers_is_named(part) -> None:
    broken = tiny()
    if part == "all":
        broken.model.decoder.pred.bias.data[:] = torch.nan
    else:  # only where an image lights this up
        trace = broken.model.decoder.forward
        broken.model.decoder.forward = lambda tokens, *rest: trace(tokens, *rest).masked_fill(
            (tokens.mean(dim=(1, 2)) > 0)[:, None, None], torch.nan
        )
    with pytest.raises(ProbeError, match=r"The probe reconstruction on quadtree: .* of 25 images hold NaN"):
        probekit.evaluate(broken, "reconstruction", SPEC, counts=COUNTS, cache=False)


def test_shifted_sets_are_told_apart_and_resampled_by_themselves() -> None:
    splits = {name: probekit.data.load("shapes", name, count=getattr(COUNTS, name)) for name in SPLITS}
    splits["test"].groups = np.arange(30) // 3
    options = {"robustness": {"shifts": ["shapes?seed=3", "shapes?seed=4"]}}
    more = {**asdict(COUNTS), "shifted": 60}
    found = probekit.evaluate(tiny(), "robustness", splits, counts=more, options=options, cache=False)
    assert {"shapes?seed=3", "shapes?seed=4"} <= set(found["shift"].values.tolist())
    plain = {**splits, "test": probekit.data.load("shapes", "test", count=30)}
    other = probekit.evaluate(tiny(), "robustness", plain, counts=more, options=options, cache=False)
    np.testing.assert_array_equal(found.robust_accuracy_ci, other.robust_accuracy_ci)


def test_a_checkpoint_is_known_by_its_weights_whatever_it_is_called() -> None:
    first, second = (probekit.evaluate(tiny(seed), "knn", SPEC, counts=COUNTS) for seed in (0, 1))
    both = probekit.compare([second.assign_coords(checkpoint=["other"]), first], "knn")
    more = [probekit.evaluate(tiny(seed), "attention_distance", SPEC, counts=COUNTS) for seed in (0, 1)]
    found = probekit.compare([both, more[0]], "knn")
    np.testing.assert_array_equal(
        found.attention_distance.sel(checkpoint="model", layer=more[0].layer), more[0].attention_distance[0]
    )
    assert np.isnan(found.attention_distance.sel(checkpoint="other")).all()
    with pytest.raises(ResultsError, match="not known to be the same"):
        probekit.compare([both, more[1]], "knn")


def test_pictures_of_different_size_do_not_keep_results_apart() -> None:
    small, large = tiny(), tiny(image_size=(32, 32))
    drawn = probekit.compare([small, large], "reconstruction", SPEC, counts=COUNTS, names=["small", "large"])
    maps = probekit.compare([large], "attention_maps", SPEC, counts=COUNTS, names=["large"])
    found = probekit.compare([drawn, maps], "knn")
    assert found.checkpoint.values.tolist() == ["small", "large"]
    assert "attention_peak" in found


def test_options_reach_the_image_sets_as_they_were_checked() -> None:
    counts = {**asdict(COUNTS), "shifted": 10}
    for shifts in ("shapes:sketch", np.array(["shapes:sketch", "shapes:rendition"])):
        ds = probekit.evaluate(
            tiny(), "robustness", "shapes", counts=counts, options={"robustness": {"shifts": shifts}}
        )
        assert "shapes:sketch" in ds["shift"].values
    plain = probekit.evaluate(tiny(), "robustness", "shapes", counts=counts, options={"robustness": {"shifts": None}})
    assert json.loads(plain.robust_accuracy.attrs["options"]) == {}


def test_results_on_other_shifted_images_are_not_lined_up() -> None:
    counts = {**asdict(COUNTS), "shifted": 10}
    splits = {name: probekit.data.load("shapes", name, count=getattr(COUNTS, name)) for name in SPLITS}
    measured = []
    for seed in (0, 1):
        splits["test"].conflict = f"shapes:conflict?seed={seed}"  # the set's own, so that no option tells
        measured.append(probekit.evaluate(tiny(seed), "shape_bias", splits, counts=counts))
    measured[1] = measured[1].assign_coords(checkpoint=["other"])
    with pytest.raises(ResultsError, match=r"shape_bias was measured differently \(images\)"):
        probekit.compare(measured, "knn")


def test_files_alone_open_no_image_set(tmp_path) -> None:
    ds = probekit.evaluate(tiny(), "knn", SPEC, counts=COUNTS)
    file = schema.write(ds, tmp_path / "a.nc")
    other = ds.assign_coords(checkpoint=["other"])
    xr.testing.assert_equal(
        probekit.compare([file, other], "knn", ["imagefolder:/nowhere", SPEC]).isel(checkpoint=[0]), ds
    )


def test_a_pair_may_have_its_labels_as_a_list() -> None:
    images = np.random.default_rng(0).integers(255, size=(60, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(60) % 3
    pairs = ((images, labels), (images, labels.tolist()), [images, labels])
    first, *others = (probekit.evaluate(tiny(), "knn", pair, counts=COUNTS) for pair in pairs)
    for other in others:
        xr.testing.assert_identical(first.knn_accuracy, other.knn_accuracy)


def test_a_device_that_is_not_there_is_named_with_those_that_are() -> None:
    for given in (tiny(), tiny().model):
        with pytest.raises(ProbeError, match=r"device='hpu' cannot be used here .* This machine has: cpu"):
            probekit.evaluate(given, "knn", SPEC, counts=COUNTS, device="hpu")


@pytest.mark.filterwarnings("ignore:.*weights are no longer those of")
def test_what_was_computed_before_an_error_comes_with_it() -> None:
    broken = tiny()
    with torch.no_grad():
        broken.model.encoder.blocks[1].mlp.fc2.bias.fill_(float("nan"))
    with pytest.raises(ProbeError, match="layer 2 of 2 are NaN") as caught:
        probekit.compare([tiny(), broken], "knn", SPEC, counts=COUNTS, names=["whole", "broken"], cache=False)
    assert np.isfinite(caught.value.results.knn_accuracy.sel(checkpoint="whole")).any()


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        probekit.evaluate(tiny(), "knn", SPEC, counts=COUNTS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_every_variable_and_coordinate_says_what_it_is_and_zarrs_standard_format_holds_it(tmp_path) -> None:
    """A model without [CLS]: its attributes that are lists have one entry, which netCDF gives back bare."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    plain = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=24, depth=1, num_heads=3, num_classes=0, class_token=False,
        global_pool="avg",
    )  # fmt: skip
    ds = probekit.evaluate(
        models.load(plain, device="cpu", mean=[0.5] * 3, std=[0.5] * 3), "all", "shapes", counts=COUNTS, options=QUICK
    )
    assert [name for name, array in ds.variables.items() if "long_name" not in array.attrs] == []
    xr.testing.assert_identical(schema.read(schema.write(ds, tmp_path / "r.nc")), ds)
    ds.to_zarr(tmp_path / "r.zarr", consolidated=False)
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "r.zarr", consolidated=False).load(), ds)


@pytest.mark.parametrize("names", ["xy", ["x"], ["", "y"], [1, None]])
def test_names_are_texts_one_for_each(names) -> None:
    with pytest.raises(ProbeError, match="names"):
        probekit.compare([tiny(), tiny(1)], "knn", SPEC, counts=COUNTS, names=names)


def test_compare_needs_a_list() -> None:
    with pytest.raises(ProbeError, match="list of checkpoints"):
        probekit.compare("model")
    with pytest.raises(ProbeError, match="no checkpoint"):
        probekit.compare([])


def test_theory_stands_beside_what_was_measured() -> None:
    checkpoint = tiny()
    checkpoint.card.mask_ratio, checkpoint.card.patch_size = 0.75, 4
    ds = probekit.evaluate(checkpoint, "knn", SPEC, counts=COUNTS)
    assert ds.expected_level_share.sum() == pytest.approx(1.0)
    assert 1 <= float(ds.expected_binding_level.squeeze()) <= 3
    assert "expected_level_share" not in probekit.evaluate(tiny(), "knn", SPEC, counts=COUNTS)


def test_the_sets_that_fit_the_training_data_are_chosen() -> None:
    checkpoint = tiny()
    checkpoint.card.data = f"{SPEC}, train split"
    ds = probekit.compare(
        [checkpoint], "latents", "own", counts=COUNTS, options={"level_spectrum": {"untrained": False}}
    )
    assert ds.data.values.tolist() == ["quadtree"]
    assert json.loads(ds.attrs["provenance"])["records"][0]["data"]["spec"] == SPEC


def test_the_command_line_says_the_same_names(tmp_path) -> None:
    tiny().save(tmp_path / "a", format="probekit")
    command = ["-m", "probekit.cli", "evaluate", str(tmp_path / "a")]
    env = {**os.environ, "PROBEKIT_CACHE": str(tmp_path / "cache"), "PROBEKIT_PROGRESS": "0"}
    counts = json.dumps({"train": 20, "val": 10, "test": 10})
    asked = ["--suite", "knn", "--data", SPEC, "--counts", counts, "-o", str(tmp_path / "r.nc")]
    run = subprocess.run([sys.executable, *command, *asked], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert "knn_accuracy" in schema.read(tmp_path / "r.nc")
    run = warm.run(*command, "--suite", "knnn", env=env)
    assert run.returncode == 2
    assert run.stderr.startswith("probekit: No suite or probe is called 'knnn'. Did you mean 'knn'?")
