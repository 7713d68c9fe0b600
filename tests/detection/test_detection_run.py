"""Runs of detection: from a checkpoint to results, through interruptions, frozen where asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm
import xarray as xr
from safetensors.torch import load_file
from small_detection import SMALL, SOURCE, by_pycocotools
from typer.testing import CliRunner

import probekit
from probekit import schema
from probekit.cli import app
from probekit.detection import loop
from probekit.errors import DataError, ResultsError, TrainingError
from probekit.results.lining_up import lined_up


def run(output: Path, **changes: Any) -> xr.Dataset:
    fixed = {"test_images": 4, "device": "cpu", "threads": 1, "log_every": 2}
    return probekit.detect(SOURCE, "shapes:scenes?size=32", output=output, **(fixed | SMALL | changes))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset]:
    """One run of three steps."""
    output = tmp_path_factory.mktemp("detection") / "whole"
    return output, run(output)


def test_results_are_in_the_schema_and_marked(done) -> None:
    output, ds = done
    schema.validate(ds)
    xr.testing.assert_identical(schema.read(output / "results.nc"), ds)
    for kind in ("box", "mask"):
        for name in (f"{kind}_ap", f"{kind}_ap50"):
            assert ds[name].dims == ("checkpoint", "data")
            assert ds[name].attrs["finetuned"] == "full"
            low, high = ds[f"{name}_ci"].values.ravel()
            assert 0 <= low <= high <= 1
    assert json.loads(ds.box_ap.attrs["options"])["pyramid_width"] == 16
    assert ds.sizes["example"] == 4
    assert ds.example_detection.dtype == np.uint8
    assert (ds.example_truth.values != ds.example_image.values).any()
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3]
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_the_scores_are_those_of_the_written_files(done) -> None:
    output, ds = done
    if json.loads((output / "detections.json").read_text()):
        for kind in ("box", "mask"):
            expected = by_pycocotools(output / "annotations.json", str(output / "detections.json"), kind)
            assert ds[f"{kind}_ap"].item() == expected[0]
            assert ds[f"{kind}_ap50"].item() == pytest.approx(expected[1], abs=1e-12)
    assert len(json.loads((output / "annotations.json").read_text())["images"]) == 4


def test_an_interrupted_run_ends_with_the_same_bits(done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, ds = done
    plain, steps = loop.Run.train_step, []

    def dying(self: loop.Run, batch: Any) -> Any:
        steps.append(self.step)
        if len(steps) == 3:
            raise OSError("the power is gone")
        return plain(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "train_step", dying)
        with pytest.raises(OSError, match="the power is gone"):
            run(tmp_path, save_every=0.0)
    again = run(tmp_path, save_every=0.0)
    weights, expected = load_file(tmp_path / loop.WEIGHTS), load_file(output / loop.WEIGHTS)
    assert steps == [0, 1, 2]
    for name, one in expected.items():
        np.testing.assert_array_equal(weights[name], one, err_msg=name)
    for name in ("box_ap", "mask_ap", "example_detection"):
        np.testing.assert_array_equal(again[name], ds[name])
    assert (tmp_path / "log.jsonl").read_text().count('"step": 2') == 1


def killed(root: Path, *points: str) -> None:
    """Kill a run at each point, take it up again, and compare its end with that of an uninterrupted one."""
    program = Path(__file__).parent / "killed_detection.py"
    done = warm.run(program, root, *points, timeout=900)
    assert done.returncode == 0, done.stderr
    if "file:all" in points:
        files = int((root / "files").read_text())
        points = (*points[:-1], *(f"file:{call}" for call in range(1, files + 1)))
    whole = schema.read(root / "whole" / "results.nc")
    for point in points:
        ds = schema.read(root / point / "results.nc")
        for name in (loop.WEIGHTS, "annotations.json", "detections.json"):
            assert (root / point / name).read_bytes() == (root / "whole" / name).read_bytes(), (point, name)
        for name in whole.data_vars:
            np.testing.assert_array_equal(ds[name].values, whole[name].values, err_msg=f"{point}: {name}")
        lines = [(root / one / "log.jsonl").read_text().splitlines() for one in (point, "whole")]
        ours, theirs = ([json.loads(line) | {"images_per_second": 0} for line in one] for one in lines)
        assert ours == theirs, point
        assert not [file for file in (root / point).rglob("*") if file.name.endswith(".part")], point


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    killed(tmp_path, "step:2")


@pytest.mark.slow
def test_a_run_killed_before_any_file_or_in_any_step_ends_with_the_same_bits(tmp_path: Path) -> None:
    killed(tmp_path, "step:1", "step:3", "file:all")
    assert int((tmp_path / "files").read_text()) >= 7


def test_other_settings_are_refused_in_the_same_directory(done) -> None:
    output, ds = done
    with pytest.raises(TrainingError, match=r"base_lr: 0\.032 there, 0\.01 now"):
        run(output, base_lr=0.01)
    xr.testing.assert_identical(run(output), ds)


def test_a_frozen_encoder_keeps_its_weights_and_its_numbers_apart(done, tmp_path: Path) -> None:
    frozen = run(tmp_path, last_blocks=0)
    weights, encoder = load_file(tmp_path / loop.WEIGHTS), probekit.load(SOURCE).model.encoder.state_dict()
    prefix = "backbone.encoder."
    found = {name.removeprefix(prefix): one for name, one in weights.items() if name.startswith(prefix)}
    assert found.keys() == encoder.keys()
    for name, one in encoder.items():
        np.testing.assert_array_equal(found[name], one.cpu(), err_msg=name)
    moved = load_file(done[0] / loop.WEIGHTS)
    assert any((moved[prefix + name] != one.cpu()).any() for name, one in encoder.items())
    assert frozen.box_ap.attrs["finetuned"] == "head only"
    other = frozen.assign_coords(checkpoint=["frozen"])
    with pytest.raises(ResultsError, match="finetuned"):
        lined_up([done[1], other])


def test_two_detectors_are_contrasted_on_the_same_images(done, tmp_path: Path) -> None:
    other = run(tmp_path, seed=1).assign_coords(checkpoint=["other"])
    ds = lined_up([done[1], other])
    found = probekit.contrast(ds, baseline="other", variables=["box_ap", "mask_ap"])
    for name in ("box_ap", "mask_ap"):
        first, second = ds[name].values.ravel()
        assert found[f"{name}_difference"].item() == pytest.approx(first - second, abs=1e-6)


def test_what_cannot_work_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images come without objects"):
        probekit.detect(SOURCE, "shapes", output=tmp_path)
    with pytest.raises(DataError, match="is one split"):
        probekit.detect(SOURCE, probekit.data.load("shapes:scenes", count=2), output=tmp_path)
    with pytest.raises(TrainingError, match="No preset is called 'huge'"):
        run(tmp_path, preset="huge")
    with pytest.raises(TrainingError, match="detect\\(\\) has no setting 'windows'"):
        run(tmp_path, windows=3)
    half = (0.5,) * 3
    other = probekit.Encoder.wrap(
        lambda images: [images.flatten(2).transpose(1, 2)] * 2,
        patch_size=1,
        image_size=8,
        mean=half,
        std=half,
        name="x",
    )
    with pytest.raises(TrainingError, match="an encoder of another kind"):
        probekit.detect(other, output=tmp_path)
    with pytest.raises(TrainingError, match="last_blocks=-1; expected a whole number of at least 0"):
        run(tmp_path, last_blocks=-1)
    with pytest.raises(TrainingError, match="init is no setting of detect"):
        run(tmp_path, init="other")
    assert not any(tmp_path.iterdir())


def test_the_command_runs_what_the_function_runs(done) -> None:
    output, ds = done
    given = [f"--set={name}={value}" for name, value in SMALL.items()
             if name not in ("image_size", "batch_size", "images", "window")]  # fmt: skip
    given += [f"--{name.replace('_', '-')}={SMALL[name]}" for name in ("image_size", "batch_size", "images", "window")]
    told = CliRunner().invoke(app, [
        "detect", SOURCE, "-o", str(output), "--data", "shapes:scenes?size=32", "--test-images", "4", "--device", "cpu",
        "--threads", "1", *given,
    ])  # fmt: skip
    assert told.exit_code == 0, told.output
    assert f"box_ap {ds.box_ap.item():.3f} [" in told.output


@pytest.mark.slow
def test_a_short_run_finds_the_objects_of_scenes(tmp_path: Path) -> None:
    """The preset as it is, on a shipped encoder: 219 s of processor time, box AP .549 and mask AP .428 as seen."""
    ds = probekit.detect(SOURCE, output=tmp_path, test_images=100, device="cpu")
    assert ds.box_ap.item() > 0.4
    assert ds.mask_ap.item() > 0.3
