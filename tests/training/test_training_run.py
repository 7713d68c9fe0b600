"""A run's directory, and that going on after an interruption ends with the same bits."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import warm
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import ViTMAEForPreTraining

import probekit
from probekit.data import ArraySet
from probekit.errors import MaskError, StorageError, TrainingError
from probekit.training import conducting
from probekit.training import directory as directories
from probekit.training.directory import RunDirectory
from probekit.training.loop import Run

Options = Callable[..., dict[str, Any]]


def weights(path: Path) -> bytes:
    return (path / "model.safetensors").read_bytes()


def log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def facts(path: Path) -> list[tuple[int, float, float]]:
    """The log without speeds."""
    return [(line["step"], line["loss"], line["lr"]) for line in log(path)]


class Interrupting(Run):
    """A run that asks itself to stop after some step, as Ctrl-C would."""

    after = 4

    def train_step(self, images: torch.Tensor) -> torch.Tensor:
        loss = super().train_step(images)
        if self.step == self.after:
            signal.raise_signal(signal.SIGINT)
        return loss


def interrupted(monkeypatch: pytest.MonkeyPatch, images: ArraySet, options: dict[str, Any]) -> None:
    """Start a run and stop it after step 4."""
    with monkeypatch.context() as patch:
        patch.setattr("probekit.training.run.Run", Interrupting)
        with pytest.raises(KeyboardInterrupt, match="Stopped after step 4 of 10"):
            probekit.train(images, **options)


def test_a_run_directory(images: ArraySet, options: Options, tmp_path: Path) -> None:
    checkpoint = probekit.train(images, **options(snapshots=(0.5,), seed=3))
    run = tmp_path / "run"
    assert (checkpoint.card.mask_ratio, checkpoint.card.patch_size, checkpoint.card.vit_patch_size) == (0.5, 4, 4)
    assert (checkpoint.card.images_seen, checkpoint.card.seed, checkpoint.card.normalised_targets) == (80, 3, False)
    assert [line["step"] for line in log(run)] == [2, 4, 6, 8, 10]
    assert set(log(run)[0]) == {"step", "images_seen", "loss", "lr", "images_per_second"}
    assert json.loads((run / "finished.json").read_text())["loss"] == log(run)[-1]["loss"]
    assert not (run / "state").exists()
    snapshot = probekit.load(run / "snapshots" / "0.5")
    assert snapshot.card.images_seen == 40
    assert not torch.equal(snapshot.model.decoder.pred.weight, checkpoint.model.decoder.pred.weight)
    assert ViTMAEForPreTraining.from_pretrained(run).config.hidden_size == 16


def test_loss_falls(images: ArraySet, options: Options, tmp_path: Path) -> None:
    probekit.train(images, **options(images=800, base_lr=0.05, log_every=10))
    losses = [line["loss"] for line in log(tmp_path / "run")]
    assert losses[-1] < 0.9 * losses[0]


def test_equal_settings_give_equal_bits(images: ArraySet, options: Options, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        probekit.train(images, **options(name, seed=seed))
    assert weights(tmp_path / "one") == weights(tmp_path / "two") != weights(tmp_path / "other")


@pytest.mark.parametrize("extra", [{}, {"accumulate": 2, "boundary": False, "mask_ratio": 0.75, "strategy": "block"}])
def test_an_interrupted_run_ends_with_the_same_bits(
    extra: dict[str, Any], images: ArraySet, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probekit.train(images, **options("whole", **extra))
    interrupted(monkeypatch, images, options("halves", **extra))
    assert [file.name for file in (tmp_path / "halves/state").iterdir()] == ["step-000000004.pt"]
    probekit.train(images, **options("halves", **extra))
    assert weights(tmp_path / "halves") == weights(tmp_path / "whole")
    assert facts(tmp_path / "halves") == facts(tmp_path / "whole")


KILLED = """
import sys
sys.path.insert(0, {here!r})
from small_run import SIZES, some_images
import probekit
probekit.train(some_images(), mask_ratio=0.5, patch_size=4, images=800, device="cpu", threads=1, log_every=3,
               save_every=0.0, output={output!r}, **SIZES)
"""


def killed_once(output: Path) -> int:
    """Start a run that saves every step, kill it once it has saved; the number of the last whole state."""
    code = KILLED.format(here=str(Path(__file__).parent), output=str(output))
    process = warm.start("-c", code)
    states = output / "state"
    deadline = time.monotonic() + 300
    try:
        while not (states.is_dir() and any(file.name >= "step-000000012.pt" for file in states.glob("step-*.pt"))):
            assert process.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    return max(int(file.stem[5:]) for file in states.glob("step-*.pt"))


def test_a_killed_process_leaves_a_run_that_ends_with_the_same_bits(
    images: ArraySet, options: Options, tmp_path: Path
) -> None:
    step = killed_once(tmp_path / "killed")
    assert 12 <= step < 100
    for name in ("killed", "whole"):
        probekit.train(images, **options(name, images=800, log_every=3))
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert facts(tmp_path / "killed") == facts(tmp_path / "whole")


def test_a_broken_state_is_left_out(
    images: ArraySet, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probekit.train(images, **options("whole"))
    interrupted(monkeypatch, images, options("broken"))
    states = tmp_path / "broken/state"
    good = (states / "step-000000004.pt").read_bytes()
    (states / "step-000000006.pt").write_bytes(good[: len(good) // 2])
    (states / ".step-000000008.pt.part").mkdir()
    with (tmp_path / "broken/log.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 1.0}\n{"step": 8, "lo')
    with pytest.warns(UserWarning, match=r"step-000000006\.pt cannot be read .* left out"):
        probekit.train(images, **options("broken"))
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert facts(tmp_path / "broken") == facts(tmp_path / "whole")


def test_a_finished_run_is_not_trained_again(images: ArraySet, options: Options, tmp_path: Path) -> None:
    first = probekit.train(images, **options())
    before = (tmp_path / "run/model.safetensors").stat().st_mtime_ns
    again = probekit.train(images, **options())
    assert (tmp_path / "run/model.safetensors").stat().st_mtime_ns == before
    assert torch.equal(first.model.decoder.pred.weight, again.model.decoder.pred.weight)


def test_other_settings_in_the_same_directory_are_refused(images: ArraySet, options: Options) -> None:
    probekit.train(images, **options())
    with pytest.raises(TrainingError, match=r"\(base_lr: 0\.\d+ there, 0\.1 now; seed: 0 there, 5 now\)"):
        probekit.train(images, **options(seed=5, base_lr=0.1))


def test_a_run_from_before_attention_was_a_setting_goes_on_with_fused_attention(
    images: ArraySet, options: Options, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    probekit.train(images, **options("whole", attention="fused"))
    interrupted(monkeypatch, images, options("older", attention="fused"))
    file = tmp_path / "older/settings.json"
    record = json.loads(file.read_text())
    assert record["settings"].pop("attention") == "fused"
    file.write_text(json.dumps(record))
    probekit.train(images, **options("older"))
    assert weights(tmp_path / "older") == weights(tmp_path / "whole")
    with pytest.raises(TrainingError, match=r"attention: 'fused' there, 'product' now"):
        probekit.train(images, **options("older", attention="product"))


def test_a_directory_that_is_no_run_is_refused(images: ArraySet, options: Options, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.tex").write_text("")
    with pytest.raises(TrainingError, match="not empty and holds no settings"):
        probekit.train(images, **options())


def test_two_processes_cannot_train_in_one_directory(images: ArraySet, options: Options, tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run").locked(), pytest.raises(TrainingError, match="Another process is training"):
        probekit.train(images, **options())


def test_another_number_of_threads_is_said(images: ArraySet, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, images, options())
    with pytest.warns(UserWarning, match="threads was 1 and is 2, so the weights may differ"):
        probekit.train(images, **options(threads=2))


@pytest.mark.parametrize("save_every", [0.0, 1e9])
def test_nan_stops_with_the_step_and_the_last_good_state(
    save_every: float, images: ArraySet, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = Run.train_step

    def poisoned(run: Run, batch: torch.Tensor) -> torch.Tensor:
        return train_step(run, batch * (float("nan") if run.step == 6 else 1.0))

    monkeypatch.setattr(Run, "train_step", poisoned)
    with pytest.raises(TrainingError, match=r"nan at step 7 of 10\. The last good state, after step 6, is kept"):
        probekit.train(images, **options(save_every=save_every))
    state = torch.load(tmp_path / "run/state/step-000000006.pt", weights_only=True)
    assert all(value.isfinite().all() for value in state["model"].values())


def test_a_diverged_weight_is_never_saved(images: ArraySet, options: Options, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"(is no longer finite|loss became)"):
        probekit.train(images, **options(base_lr=1e38, warmup=0.0, save_every=0.0))
    for file in (tmp_path / "run").glob("state/*.pt"):
        assert all(value.isfinite().all() for value in torch.load(file, weights_only=True)["model"].values())


def test_a_full_disk_keeps_the_last_state(
    images: ArraySet, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probekit.train(images, **options("whole"))
    save = torch.save

    def full(state: dict[str, Any], path: Path) -> None:
        if state["step"] > 3:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(state, path)

    with monkeypatch.context() as patch:
        patch.setattr(directories.torch, "save", full)
        with pytest.raises(StorageError, match=r"the disk is full.*last good state is kept: make room"):
            probekit.train(images, **options("full", save_every=0.0))
    names = sorted(file.name for file in (tmp_path / "full/state").iterdir())
    assert names == ["step-000000002.pt", "step-000000003.pt"]
    probekit.train(images, **options("full"))
    assert weights(tmp_path / "full") == weights(tmp_path / "whole")


def test_a_full_disk_at_the_checkpoint(
    images: ArraySet, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("probekit.models.writing.save_file", full)
        with pytest.raises(StorageError, match=r"No space left on device.*What was there before is unchanged"):
            probekit.train(images, **options())
    assert probekit.train(images, **options()).verdict.decoder


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mask_ratio": 1.0}, MaskError, "between 0 and 1"),
        ({"mask_ratio": 0.0}, MaskError, "between 0 and 1"),
        ({"patch_size": 6}, MaskError, "no whole multiple of vit_patch_size=4"),
        ({"patch_size": 16}, MaskError, r"1 unit\(s\) cannot be split"),
        ({"image_size": 18}, TrainingError, "18 x 18 pixels are no whole number of ViT patches"),
        ({"batch_size": 48}, TrainingError, "24 training images, fewer than one batch"),
        ({"images": 4}, TrainingError, "less than one batch"),
        ({"accumulate": 3}, TrainingError, "Expected a multiple of 3"),
        ({"strategy": "blocks"}, MaskError, "Did you mean 'block'"),
        ({"preset": "tinny"}, TrainingError, "Did you mean 'tiny'"),
        ({"batchsize": 4}, TrainingError, "Did you mean 'batch_size'"),
        ({"precision": "bf16"}, TrainingError, "bfloat16"),
        ({"tracker": "tensorbord"}, TrainingError, "Did you mean 'tensorboard'"),
        ({"device": "gpu"}, TrainingError, "expected 'auto' or 'cpu'"),
        ({"num_heads": 3}, TrainingError, "multiple of the heads"),
        ({"warmup": 1.0}, TrainingError, "share of training"),
        ({"snapshots": (1.0,)}, TrainingError, "between 0 and 1"),
        ({"boundary": False, "mask_ratio": 0.1}, MaskError, "leaves nothing to learn from"),
        ({"mask_ratio": [0.5, 0.75]}, TrainingError, "train_grid"),
        ({"mask_ratio": "0.5"}, TrainingError, "mask_ratio='0.5': expected a number"),
        ({"mask_ratio": float("nan")}, MaskError, "between 0 and 1"),
        ({"patch_size": 4.5}, TrainingError, "patch_size=4.5: expected a whole number"),
        ({"image_size": "16"}, TrainingError, "image_size='16': expected a whole number"),
        ({"image_size": (16, 16, 3)}, TrainingError, "expected 2 numbers"),
        ({"image_size": 0}, TrainingError, "no whole number of ViT patches"),
        ({"batch_size": True}, TrainingError, "expected a whole number"),
        ({"boundary": "no"}, TrainingError, "boundary='no': expected True or False"),
        ({"seed": 1.5}, TrainingError, "seed=1.5: expected a whole number"),
        ({"seed": -1}, TrainingError, "from 0 to"),
        ({"base_lr": float("nan")}, TrainingError, "base_lr=nan: expected a finite number above 0"),
        ({"weight_decay": -1}, TrainingError, "0 or more"),
        ({"betas": (0.9, 1.0)}, TrainingError, r"numbers in \[0, 1\)"),
        ({"std": (0, 1, 1)}, TrainingError, "above 0"),
        ({"width": 0}, TrainingError, "width=0: expected at least 1"),
        ({"threads": 0}, TrainingError, "threads=0: expected at least 1"),
        ({"log_every": 0}, TrainingError, "log_every=0: expected at least 1"),
        ({"save_every": float("nan")}, TrainingError, "save_every=nan"),
        ({"output": ""}, TrainingError, "expected the path"),
        ({"preset": None}, TrainingError, "Known: base, large, small, tiny"),
    ],
)
def test_what_cannot_work_fails_before_the_first_step(
    changes: dict[str, Any], error: type[Exception], message: str, images: ArraySet, options: Options, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        probekit.train(images, **options(**({"images": 80} | changes)))
    assert not (tmp_path / "run").exists()


def test_a_directory_that_cannot_be_made_is_said(images: ArraySet, options: Options, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written: a part of its path is a file"):
        probekit.train(images, **options(output=tmp_path / "file/run"))


def test_a_tracker_that_is_not_installed_is_said(
    images: ArraySet, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(conducting.TRACKERS, "wandb", lambda: False)
    with pytest.raises(TrainingError, match="pip install wandb"):
        probekit.train(images, **options(tracker="wandb"))


def test_arrays_are_trained_on(options: Options) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    checkpoint = probekit.train((pixels, np.arange(40) % 2), **options(images=np.int64(16), batch_size=8.0))
    assert checkpoint.card.images_seen == 16


def test_tensorboard(images: ArraySet, options: Options, tmp_path: Path) -> None:
    probekit.train(images, **options(images=16, tracker="tensorboard"))
    assert list((tmp_path / "run").glob("probekit/**/events.out.*"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default:The .grad attribute")  # torch's compiler hides it itself, but not from "error"
def test_compiled_blocks_give_the_same_training(images: ArraySet, options: Options, tmp_path: Path) -> None:
    for name, compiled in (("plain", False), ("compiled", True)):
        probekit.train(images, **options(name, compile=compiled))
    plain, other = (torch.tensor([line[1] for line in facts(tmp_path / name)]) for name in ("plain", "compiled"))
    torch.testing.assert_close(other, plain, rtol=1e-4, atol=1e-5)
    names = [load_file(tmp_path / name / "model.safetensors").keys() for name in ("plain", "compiled")]
    assert names[0] == names[1]
