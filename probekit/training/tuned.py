"""What a fine-tuning run leaves: an encoder that `load` reads, its head, and `finetune_accuracy` as a results file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from safetensors.torch import save_file

from probekit import models, schema
from probekit.data import ImageSet
from probekit.measures import resample
from probekit.measures.weakness import tiny_classes, what_weakens
from probekit.models import Checkpoint
from probekit.models.building import carded
from probekit.models.card import file_digest
from probekit.models.card_checks import STATED
from probekit.models.facts import coordinates
from probekit.training import starting
from probekit.training.classifier import Classifier
from probekit.training.tuning_settings import TuningSettings

RESULTS, HEAD = "results.nc", "head.safetensors"

ACCURACY = schema.Variable(
    "finetune_accuracy", (), "Accuracy after fine-tuning", "1", "higher",
    "encoder and linear head trained on train by the recipe in the attribute options (AdamW, learning rate rising "
    "linearly, then half a cosine; layer-wise decay; augmentation, mixup and cutmix by timm), on the mean of the patch "
    "tokens through a fresh layer norm; the weights with the best accuracy on val, looked at after every epoch and at "
    "most 20 times; accuracy on test. Head "
    "only: the encoder as it is, batch norm without affine parameters before the head",
    "He et al. 2022 (MAE), appendix A.1",
    interval="bootstrap over test images (their groups where the image set has groups); the fit is held fixed; "
    "Wilson's interval where all outcomes agree",
)  # fmt: skip


@dataclass(frozen=True)
class Tuned:
    """A finished run.

    Attributes:
        settings: of the run.
        splits: "train", "val" and "test".
        start: the checkpoint that it began with.
        classifier: with the chosen weights.
        frozen: sha256 of the weights that were not trained; empty where all were.
        best: what was chosen: `step`, and `accuracy` and `loss` on val.
        hits: whether each test image is classified rightly, bool (n,).
    """

    settings: TuningSettings
    splits: Mapping[str, ImageSet]
    start: Checkpoint
    classifier: Classifier
    frozen: str
    best: Mapping[str, Any]
    hits: np.ndarray


def checkpoint(found: Tuned, name: str, folder: Path) -> Checkpoint:
    """The encoder as a checkpoint; its digest is that of the file in `folder`, once that is there."""
    model, old = found.classifier.model, found.start.card
    facts = {fact: getattr(old, fact) for fact in STATED} | {
        "name": name,
        "licence": starting.licence_of(old.licence, found.splits["train"].licence),
        "finetuned": found.settings.words(),
        "finetuned_from": f"{old.name} (sha256 {found.settings.init_sha256})",
    }
    digest = partial(file_digest, [folder / "model.safetensors"])
    return carded(model, models.Verdict("probekit fine-tuning", model), facts, str(folder), digest)


def write(found: Tuned, folder: Path, name: str) -> None:
    """Write encoder, card, head and results into a folder."""
    made = checkpoint(found, name, folder)
    made.save(folder, format="probekit", card_text=story(found))
    classes = json.dumps(list(found.splits["train"].classes))
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in found.classifier.head_tensors().items()}
    save_file(tensors, folder / HEAD, metadata={"classes": classes})  # two entries would come in any order
    shutil.copymode(folder / "config.json", folder / HEAD)  # safetensors writes for the owner alone
    schema.write(results(found, made), folder / RESULTS)


def story(found: Tuned) -> str:
    """How it was fine-tuned, in Markdown, for the card."""
    settings, test = found.settings, found.splits["test"]
    frozen = f" What was not trained has the sha256 {found.frozen}, before and after." if found.frozen else ""
    return f"""## Fine-tuning

Fine-tuned ({settings.trained}) by `probekit finetune` on {found.splits["train"].spec}, from {found.start.card.name}
({settings.init}, sha256 {settings.init_sha256}):
{settings.epochs:g} epochs of {len(found.splits["train"]):,} images, batches of {settings.batch_size}. Step
{found.best["step"]:,} of {settings.steps:,} was the best on val (accuracy {found.best["accuracy"]:.4f}); on the
{len(test):,} test images it reaches {found.hits.mean():.4f}.{frozen} Mask ratio, mask unit, epochs, images seen and
seed above are of pretraining. Numbers of this encoder do not stand beside those of a frozen one. The head is in
`{HEAD}`, the accuracy with its interval in `{RESULTS}`, the recipe in `settings.json`.
"""


def results(found: Tuned, made: Checkpoint) -> xr.Dataset:
    """`finetune_accuracy` of one checkpoint on one image set, in the schema of every results file."""
    settings, test = found.settings, found.splits["test"]
    hits = found.hits.astype(np.float32)
    order = np.argsort(np.argsort(test.pixel_digests(), kind="stable"))
    alone = len(hits) < 2 or (test.groups is not None and len(np.unique(test.groups)) < 2)
    interval = np.full(2, np.nan)
    if not alone:
        interval = resample.mean_interval(hits, groups=test.groups, order=order, seed=settings.seed)
    arrays = ACCURACY.arrays(hits.mean(dtype=np.float64), interval, per_image=hits)
    arrays[ACCURACY.name].attrs |= {
        "probe": "finetune",
        "finetuned": settings.trained,
        "options": settings.options(),
        "counts": json.dumps({split: len(images) for split, images in found.splits.items()}, sort_keys=True),
        "images": test.fingerprint,
        "precision": settings.precision,
        "finetune_seed": settings.seed,
        "frozen_sha256": found.frozen or "none",
        "val_accuracy": found.best["accuracy"],
        "chosen_step": found.best["step"],
    }
    said = {"intervals": "there is one test image, or one group"} if alone else {}
    train = np.bincount(found.splits["train"].known_labels, minlength=len(test.classes))
    usual = float((test.known_labels == train.argmax()).mean())
    said |= what_weakens(hits.mean(), interval, usual, of="fine-tuning") | tiny_classes(test.known_labels, test.classes)
    name, facts = made.card.name, coordinates(made.card, made.model, made.preprocess.height)
    ds = schema.of_one(arrays, checkpoint=name, data=test.name, fingerprint=test.fingerprint, coords=facts)
    label = {"long_name": "Class of the test image", "classes": list(test.classes)}
    ds["label"] = (("data", "image"), test.known_labels[None], label)
    ds.attrs = {
        "schema_version": schema.SCHEMA_VERSION,
        "not_applicable": json.dumps({name: said} if said else {}),
        "provenance": schema.stamp(
            settings=settings.record(),
            finetuned_from=made.card.finetuned_from,
            splits={split: [images.spec, images.fingerprint] for split, images in found.splits.items()},
        ),
    }
    return schema.validate(ds)
