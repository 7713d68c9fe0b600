"""Fine-tuning: what it writes, what stays frozen, how it is chosen, and that killing it changes no bit."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import warm
from safetensors.torch import load_file
from small_tuning import PLAIN, WHOLE, encoder, splits
from torch import nn
from typer.testing import CliRunner

import probekit
from probekit import schema
from probekit.cli import app
from probekit.collect import Counts
from probekit.data import load
from probekit.errors import DataError, ResultsError, TrainingError
from probekit.training import tuning, tuning_settings
from probekit.training.classifier import create
from probekit.training.finetuning import opened_splits, preset_of
from probekit.training.mixing import LabelledStream, Mixing
from probekit.training.tuning import Tuning
from probekit.training.tuning_settings import PRESETS, TuningSettings, resolve


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[probekit.models.Checkpoint, Path]:
    """A run of MAE's recipe without crops that would hide nothing, and its directory."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    return probekit.finetune(encoder(), splits(), output=folder, **PLAIN), folder


def state(checkpoint: probekit.models.Checkpoint) -> dict[str, torch.Tensor]:
    return {name: part for name, part in checkpoint.model.encoder.state_dict().items()}


def files(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("model.safetensors", "head.safetensors")]


def lines(folder: Path) -> list[dict[str, Any]]:
    """The log without speeds."""
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in found]


def some(**changes: Any) -> TuningSettings:
    known = {"data": "x", "data_fingerprint": "-", "images": 64, "seed": 0}
    return resolve("base", {"batch_size": 8} | changes, **known)


# --- what it writes ---------------------------------------------------------------------------------------------------


def test_the_directory_holds_an_encoder_a_head_and_the_accuracy_that_they_have(tuned) -> None:
    checkpoint, folder = tuned
    assert not checkpoint.model.has_decoder
    assert checkpoint.card.finetuned.startswith("full, on ")
    assert checkpoint.card.finetuned_from == f"model (sha256 {encoder().card.sha256})"
    assert (checkpoint.card.mask_ratio, checkpoint.card.patch_size) == (0.75, 4)
    ds = schema.read(folder / "results.nc")
    head, (images, labels) = load_file(folder / "head.safetensors"), splits()["test"]
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (checkpoint.card.mean, checkpoint.card.std))
    norm = [state(checkpoint)[f"fc_norm.{part}"] for part in ("weight", "bias")]
    with torch.no_grad():
        patches = checkpoint.model.encode((pixels - mean) / std)[:, 1:]
        pooled = nn.functional.layer_norm(patches.mean(dim=1), (16,), *norm, 1e-6)
        logits = nn.functional.linear(pooled, head["head.weight"], head["head.bias"])
    right = logits.argmax(dim=1).numpy() == labels
    assert ds.finetune_accuracy.item() == pytest.approx(right.mean())
    np.testing.assert_array_equal(ds.finetune_accuracy_image.values.ravel(), right)
    lower, upper = ds.finetune_accuracy_ci.values.ravel()
    assert lower <= ds.finetune_accuracy.item() <= upper
    assert ds.finetune_accuracy.attrs["finetuned"] == "full"
    assert str(ds.finetuned.values[0]) == checkpoint.card.finetuned
    assert str(ds.sha256.values[0]) == checkpoint.card.sha256
    assert "Step" in (folder / "README.md").read_text()


def test_it_learns_what_is_easy(tuned) -> None:
    _, folder = tuned
    assert schema.read(folder / "results.nc").finetune_accuracy.item() >= 0.9


def test_a_finished_run_is_read_and_other_settings_are_refused(tuned) -> None:
    checkpoint, folder = tuned
    again = probekit.finetune(encoder(), splits(), output=folder, **PLAIN)
    assert again.card.sha256 == checkpoint.card.sha256
    with pytest.raises(TrainingError, match=r"base_lr: 0\.03 there, 0\.1 now"):
        probekit.finetune(encoder(), splits(), output=folder, **PLAIN | {"base_lr": 0.1})
    with pytest.raises(TrainingError, match="init_tensors"):
        probekit.finetune(encoder(seed=5), splits(), output=folder, **PLAIN)


def test_frozen_probes_of_a_fine_tuned_encoder_are_marked_and_never_line_up_with_others(tuned, tmp_path) -> None:
    checkpoint, folder = tuned
    both = {"suite": "knn", "data": splits(), "cache": False}
    with pytest.raises(ResultsError, match=r"measured differently \(finetuned\)"):
        probekit.compare([encoder(), checkpoint], names=["frozen", "tuned"], **both)
    marked = probekit.compare([encoder(), checkpoint], names=["frozen", "tuned"], mixed=True, **both)
    assert "finetuned" in json.loads(marked.knn_accuracy.attrs["mixed_protocols"])
    assert marked.finetuned.values.tolist() == ["", checkpoint.card.finetuned]
    probekit.finetune(encoder(1), splits(), output=tmp_path / "second", **PLAIN)
    probekit.finetune(encoder(), splits(), output=tmp_path / "head", last_blocks=0, **PLAIN)
    runs = [folder / "results.nc", tmp_path / "second" / "results.nc"]
    assert probekit.compare([str(file) for file in runs]).sizes["checkpoint"] == 2
    with pytest.raises(ResultsError, match="finetuned"):
        probekit.compare([str(file) for file in (runs[0], tmp_path / "head" / "results.nc")])


# --- what is trained --------------------------------------------------------------------------------------------------


def test_the_head_alone_leaves_every_bit_of_the_encoder(tmp_path: Path) -> None:
    before = state(encoder())
    checkpoint = probekit.finetune(encoder(), splits(), last_blocks=0, output=tmp_path / "run", **WHOLE)
    after = state(checkpoint)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    head = load_file(tmp_path / "run" / "head.safetensors")
    assert {"norm.running_mean", "norm.running_var", "head.weight"} <= head.keys()
    assert head["head.weight"].abs().max() > 1e-3
    assert checkpoint.card.finetuned.startswith("head only")


def test_the_last_blocks_alone_change(tmp_path: Path) -> None:
    before = state(encoder())
    after = state(probekit.finetune(encoder(), splits(), last_blocks=1, output=tmp_path / "run", **WHOLE))
    changed = {name for name in before.keys() & after.keys() if not torch.equal(after[name], before[name])}
    assert {name.rsplit(".", 2)[0] for name in changed} >= {"blocks.2.attn", "blocks.2.mlp"}
    assert all(name.startswith("blocks.2.") for name in changed)
    attrs = schema.read(tmp_path / "run" / "results.nc").finetune_accuracy.attrs
    frozen = create(encoder().model, some(last_blocks=1), 2).frozen_digest()
    assert (attrs["finetuned"], attrs["frozen_sha256"]) == ("last 1 blocks", frozen)


def test_learning_rates_fall_by_layers_as_in_mae() -> None:
    model = create(encoder().model, some(layer_decay=0.65), 2)
    scales = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in model.groups(0.05, 0.65):
        for parameter in group["params"]:
            scales[names[id(parameter)]] = group["lr_scale"], group["weight_decay"]
    assert scales.keys() == set(names.values())
    layers = 4  # of three blocks: the embedding is 0, block i is i + 1, norm and head are 4
    for name, (scale, decay) in scales.items():
        block = name.split("blocks.")[1].split(".")[0] if "blocks." in name else ""
        layer = int(block) + 1 if block else layers if "fc_norm" in name or name.startswith("head") else 0
        assert scale == pytest.approx(0.65 ** (layers - layer)), name
        token = name.endswith(("pos_embed", "cls_token"))
        assert decay == (0 if token or name.endswith("bias") or "norm" in name else 0.05), name


def test_presets_are_mae_s() -> None:
    base, large = PRESETS["base"], PRESETS["large"]
    assert (base["epochs"], base["base_lr"], base["layer_decay"], base["batch_size"]) == (100, 5e-4, 0.65, 1024)
    assert (base["drop_path"], base["mixup"], base["cutmix"], base["smoothing"]) == (0.1, 0.8, 1.0, 0.1)
    assert (base["randaugment"], base["erasing"]) == ("rand-m9-mstd0.5-inc1", 0.25)
    assert base["warmup"] * base["epochs"] == large["warmup"] * large["epochs"] == 5
    assert (large["epochs"], large["layer_decay"]) == (50, 0.75)
    assert preset_of(encoder()) == "tiny"


def test_stochastic_depth_rises_to_the_last_block_and_spares_frozen_ones() -> None:
    def rates(blocks: int) -> list[float]:
        model = create(encoder().model, some(drop_path=0.4, last_blocks=blocks), 2).model
        return [getattr(block.drop_path1, "drop_prob", 0.0) for block in model.encoder.blocks]

    assert rates(-1) == pytest.approx([0, 0.2, 0.4])
    assert rates(1) == pytest.approx([0, 0, 0.4])
    assert rates(0) == [0, 0, 0]


# --- how it is chosen -------------------------------------------------------------------------------------------------


def test_the_best_on_val_is_reported_and_of_equal_ones_the_lower_loss(tmp_path: Path, monkeypatch) -> None:
    looks = iter([(0.5, 1.0), (0.75, 0.9), (0.75, 0.8), (0.75, 0.8)])
    asked = []

    class Scripted(Tuning):
        def outcomes(self, split: str) -> tuple[np.ndarray, float]:
            asked.append((split, self.step))
            if split == "test":
                return super().outcomes(split)
            accuracy, loss = next(looks)
            return np.arange(12) < 12 * accuracy, loss

    monkeypatch.setattr("probekit.training.finetuning.Tuning", Scripted)
    probekit.finetune(encoder(), splits(), output=tmp_path / "run", **PLAIN)
    assert asked == [("val", 3), ("val", 6), ("val", 9), ("val", 12), ("test", 12)]
    assert schema.read(tmp_path / "run" / "results.nc").finetune_accuracy.attrs["chosen_step"] == 9


def test_val_is_looked_at_after_every_epoch_and_not_too_often() -> None:
    settings = some(epochs=8.0)
    assert sorted(settings.checks()) == list(range(1, 9))
    long = resolve("base", {"batch_size": 8, "epochs": 100.0}, data="x", data_fingerprint="-", images=80_000, seed=0)
    assert len(long.checks()) == tuning_settings.LOOKS


# --- bits -------------------------------------------------------------------------------------------------------------


class Interrupting(Tuning):
    """A run that asks itself to stop after some step."""

    def train_step(self, batch: Any) -> torch.Tensor:
        loss = super().train_step(batch)
        if self.step == 7:
            signal.raise_signal(signal.SIGINT)
        return loss


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, monkeypatch) -> None:
    probekit.finetune(encoder(), splits(), output=tmp_path / "whole", **WHOLE)
    with monkeypatch.context() as patch:
        patch.setattr("probekit.training.finetuning.Tuning", Interrupting)
        with pytest.raises(KeyboardInterrupt, match="Stopped after step 7 of 12"):
            probekit.finetune(encoder(), splits(), output=tmp_path / "halves", **WHOLE)
    assert not (tmp_path / "halves" / "model.safetensors").exists()
    probekit.finetune(encoder(), splits(), output=tmp_path / "halves", **WHOLE)
    assert files(tmp_path / "halves") == files(tmp_path / "whole")
    assert lines(tmp_path / "halves") == lines(tmp_path / "whole")
    probekit.finetune(encoder(), splits(), output=tmp_path / "other", **WHOLE | {"seed": 2})
    assert files(tmp_path / "other") != files(tmp_path / "whole")


def test_a_killed_process_leaves_a_run_that_ends_with_the_same_bits(tmp_path: Path) -> None:
    output = tmp_path / "killed"
    process = warm.start(Path(__file__).parent / "small_tuning.py", output)
    deadline = time.monotonic() + 300
    try:
        while not any(file.name >= "step-000000012.pt" for file in (output / "state").glob("step-*.pt")):
            assert process.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (output / "finished.json").exists()
    for folder in (output, tmp_path / "whole"):
        probekit.finetune(encoder(), splits(), output=folder, **WHOLE | {"epochs": 20.0})
    assert files(output) == files(tmp_path / "whole")
    assert lines(output) == lines(tmp_path / "whole")
    ours, theirs = (schema.read(folder / "results.nc") for folder in (output, tmp_path / "whole"))
    np.testing.assert_array_equal(ours.finetune_accuracy_image.values, theirs.finetune_accuracy_image.values)


def test_micro_batches_add_up(tmp_path: Path) -> None:
    for name, parts in (("one", 1), ("four", 4)):
        probekit.finetune(encoder(), splits(), output=tmp_path / name, **PLAIN | {"accumulate": parts, "epochs": 1.0})
    one, four = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "four"))
    for name in one:
        if one[name].is_floating_point():
            torch.testing.assert_close(one[name], four[name], atol=2e-5, rtol=1e-4)


# --- augmentation -----------------------------------------------------------------------------------------------------


def numpys() -> list[int]:
    """The state of NumPy's global generator."""
    return np.random.get_state()[1].tolist()  # noqa: NPY002


def test_mixing_is_a_function_of_the_step_and_leaves_all_generators_alone() -> None:
    mixing = Mixing(some(erasing=1.0), 4, torch.device("cpu"))
    images, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 4
    kept = images.clone()
    before = random.getstate(), numpys(), torch.get_rng_state()
    first, targets = mixing(images, labels, 3, 0)
    assert random.getstate() == before[0]
    assert numpys() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.equal(images, kept)
    again, others = mixing(images, labels, 3, 0), mixing(images, labels, 4, 0)
    assert torch.equal(again[0], first)
    assert not torch.equal(others[0], first)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
    assert targets.min() >= 0.1 / 4 - 1e-6  # smoothing


def test_randaugment_is_the_same_for_any_number_of_processes() -> None:
    images = load(splits()["train"], "train", name="noise", whole=True)
    options = {"augment": True, "seed": 3, "randaugment": "rand-m9-mstd0.5-inc1"}
    preprocess = encoder().preprocess
    whole = LabelledStream(images, 8, preprocess, **options)
    halves = [LabelledStream(images, 4, preprocess, rank=rank, world=2, **options) for rank in range(2)]
    assert torch.equal(torch.cat([half.batch(1) for half in halves]), whole.batch(1))
    assert torch.equal(torch.cat([half.labels(1) for half in halves]), whole.labels(1))
    plain = LabelledStream(images, 8, preprocess, **options | {"randaugment": ""})
    assert not torch.allclose(plain.batch(1), whole.batch(1), atol=0.05)
    np.testing.assert_array_equal(whole.labels(1).numpy(), images.labels[whole.indices(1)])


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"last_blocks": 4}, "the encoder has 3 blocks"),
        ({"last_blocks": -1}, "expected 0"),
        ({"preset": "bse"}, "Did you mean 'base'"),
        ({"mix_up": 1}, "has no setting 'mix_up'. Did you mean 'mixup'"),
        ({"batch_size": 5}, "a micro-batch has 5"),
        ({"batch_size": 64}, "has 24 training images, fewer than one batch"),
        ({"randaugment": "rend-m9"}, "is no policy of timm"),
        ({"layer_decay": 1.5}, "above 0 and at most 1"),
        ({"scale": (0.5, 0.1)}, "smallest <= largest"),
        ({"epochs": 0.0}, "epochs=0"),
        ({"images": 100}, "is no setting of finetune"),
    ],
)
def test_impossible_settings_are_named(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=text):
        probekit.finetune(encoder(), splits(), output=tmp_path / "run", **WHOLE | changes)
    assert not (tmp_path / "run").exists()


def test_encoders_and_data_that_cannot_be_tuned_are_named() -> None:
    other = probekit.Encoder.wrap(
        lambda images: [images.flatten(2).transpose(1, 2)], patch_size=1, image_size=(4, 4), mean=(0.5,) * 3,
        std=(0.5,) * 3, name="pixels",
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"is no plain ViT.*attentive_probe"):
        probekit.finetune(other, splits())
    with pytest.raises(DataError, match="one image set is one split"):
        probekit.finetune(encoder(), load("shapes", "train", count=8))
    with pytest.raises(DataError, match="no class labels"):
        probekit.finetune(encoder(), {split: images for split, (images, _) in splits().items()})


def test_copies_across_splits_leave_the_fitting_side_and_endless_sets_are_cut() -> None:
    given = splits()
    given["train"] = tuple(np.concatenate([a, b]) for a, b in zip(given["train"], given["test"], strict=True))
    with pytest.warns(UserWarning, match="12 of 36 train images are in test too"):
        found = opened_splits(given)
    assert [len(found[split]) for split in ("train", "val", "test")] == [24, 12, 12]
    shapes = opened_splits("shapes")["train"]
    assert not shapes.endless
    assert len(shapes) == len(shapes.labels)


def test_the_loss_is_mae_s_soft_cross_entropy() -> None:
    from timm.loss import SoftTargetCrossEntropy

    logits, targets = torch.randn(6, 4), torch.rand(6, 4).softmax(dim=1)
    ours = tuning.objective.soft_cross_entropy(logits, targets, 6)
    torch.testing.assert_close(ours, SoftTargetCrossEntropy()(logits, targets))


def test_the_command_line_writes_the_directory_and_says_where(tmp_path: Path) -> None:
    saved = encoder().save(tmp_path / "encoder")
    given = ["finetune", str(saved), "--data", "shapes?count=16", "-o", str(tmp_path / "run"), "--epochs", "1"]
    given += ["--batch-size", "8", "--last-blocks", "1", "--device", "cpu", "--set", "scale=[0.5, 1.0]"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(tmp_path / "run")
    recorded = json.loads((tmp_path / "run" / "settings.json").read_text())["settings"]
    assert (recorded["last_blocks"], recorded["scale"], recorded["images"]) == (1, [0.5, 1.0], 16)
    assert schema.read(tmp_path / "run" / "results.nc").finetune_accuracy.attrs["finetuned"] == "last 1 blocks"
    refused = CliRunner().invoke(app, [*given[:-2], "--set", "data=1"])
    assert isinstance(refused.exception, TrainingError)


@pytest.mark.slow
def test_the_preset_tiny_is_no_worse_than_a_linear_head_on_frozen_features(tmp_path: Path) -> None:
    """800 images of shapes; 330 s of processor time."""
    source, data = "shipped:cifar10-r0.75-p4-s0", "shapes?count=800"
    probekit.finetune(source, data, output=tmp_path / "run", device="cpu", threads=1, seed=3)
    counts = Counts(train=800, val=800, test=800)
    frozen = probekit.evaluate(source, ["linear_probe"], data=data, counts=counts, layers=[-1], cache=False)
    tuned = schema.read(tmp_path / "run" / "results.nc")
    assert tuned.finetune_accuracy.item() > frozen.linear_accuracy.max().item()
