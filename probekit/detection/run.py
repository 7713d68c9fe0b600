"""`detect`: checks, the run's directory, training, scores."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from accelerate import Accelerator
from safetensors.torch import load_file

from probekit import data as image_sets
from probekit import progress, schema
from probekit.checks import whole
from probekit.data import ImageSet
from probekit.data.coco_masks import mask_coder
from probekit.data.duplicates import without_copies
from probekit.detection import pictures, results, scoring
from probekit.detection.detector import Detector, build
from probekit.detection.examples import Convert, Stream, instances_of
from probekit.detection.loop import WEIGHTS, Run
from probekit.detection.settings import DetectorSettings, resolve
from probekit.errors import DataError, TrainingError
from probekit.files import read_json, write_text
from probekit.models import Checkpoint, MaskedAutoencoder
from probekit.models.checkpoint import digest_of
from probekit.training import starting
from probekit.training.conducting import Conduct, carried_out, check_conduct, using_threads
from probekit.training.directory import KEPT, RunDirectory
from probekit.training.recipe import choose_precision
from probekit.training.signals import interruptible
from probekit.training.stepping import share_of
from probekit.training.tuning_settings import EVERYTHING

if TYPE_CHECKING:
    from torch import nn

TRUTH, FOUND, RESULTS = "annotations.json", "detections.json", "results.nc"
"""In the run's directory: what was scored, and the scores."""

SURE = 0.5
"""Least score of a detection that is drawn."""

PICTURES, SIDE = 6, 112
"""How many pictures are kept, and their longest side in pixels."""

BATCH = 8
"""Images at a time where nothing is trained."""


def detect(
    checkpoint: str | os.PathLike[str] | nn.Module | Checkpoint,
    data: Any = "shapes:scenes",
    *,
    output: str | os.PathLike[str],
    last_blocks: int | None = None,
    preset: str = "tiny",
    images: int | None = None,
    test_images: int | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 0,
    save_every: float = 60.0,
    log_every: int = 20,
    tracker: str | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Fine-tune a detector on a checkpoint's ViT, and score boxes and masks: the transfer that Table 3 measures.

    The detector is torchvision's Mask R-CNN on ViTDet's simple feature pyramid. It is trained on the train split and
    scored on the test split by pycocotools; the last weights count, so nothing is selected. The same call goes on with
    a run that was interrupted, and ends with the same bits; of a finished run it returns the results.

    Args:
        checkpoint: a plain ViT of any format: a checkpoint, or what `probekit.load` takes.
        data: images with objects: `shapes:scenes`, `coco:DIR`, an image set, or a dict split -> either.
        output: the run's directory. It gets the detector's weights, `results.nc`, and what was scored in COCO's format:
            `annotations.json` and `detections.json`.
        last_blocks: how many of the ViT's last blocks are trained; None = the whole ViT, 0 = none of it.
        preset: sizes and defaults, one of `PRESETS`: "tiny", or ViTDet's "base".
        images: training images in all, counting repetition; None: as the preset has it.
        test_images: how many test images are scored; None = all.
        seed: of fresh weights, order, augmentation, sampled regions and intervals.
        device: "auto" (what accelerate finds) or "cpu".
        threads: of this process; None leaves torch's setting. It can change the last bits of a sum.
        workers: processes that decode images.
        save_every: seconds between states. Results do not depend on it.
        log_every: steps between lines of `log.jsonl`.
        tracker: "tensorboard" or "wandb", through accelerate.
        settings: any other field of `DetectorSettings`, e.g. `image_size=512, window=14, base_lr=1e-3`.

    Returns:
        A results dataset with `box_ap`, `box_ap50`, `mask_ap` and `mask_ap50`, each with an interval over test images,
        and pictures. Their attribute `finetuned` keeps them from standing beside numbers of another kind.

    Raises:
        TrainingError, DataError: before the first step for whatever is known then; later for a loss that is not finite
            or a disk that is full.
        CheckpointError: the checkpoint cannot be read.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once a state was saved.

    Example:
        >>> found = detect("shipped:cifar10-r0.75-p8-s0", output="scenes")  # doctest: +SKIP
        >>> float(found.box_ap.squeeze())  # doctest: +SKIP
        0.549
    """
    check_conduct(output, device, threads, workers, save_every, log_every, tracker)
    mask_coder()
    start, model = opened(checkpoint)
    train, test = splits(data, test_images)
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", log_with=tracker, project_dir=str(output))
    directory = RunDirectory(output, earlier={})
    given = settings | {"images": images, "last_blocks": last_blocks}
    chosen = prepared(start, model, train, accelerator, directory, preset, seed, given)
    conduct = Conduct(workers=workers, save_every=save_every, log_every=log_every, tracker=tracker)
    convert, classes = start.preprocess.convert, len(instances_of(train).classes)

    def make() -> Run:
        stream = Stream(train, chosen, convert, rank=accelerator.process_index, world=accelerator.num_processes)
        return Run(chosen, build(model, chosen, classes), stream, accelerator, directory, workers=workers)

    total = chosen.steps * chosen.batch_size
    with (
        using_threads(threads),
        interruptible() as stop,
        progress.bar(f"{directory.path.name}: training", total) as bar,
    ):
        for _ in carried_out(make, chosen, accelerator, directory, replace(conduct, stop=stop, advance=bar)):
            pass
    if accelerator.is_main_process:
        with using_threads(threads):
            detector = trained(directory, model, chosen, classes).to(accelerator.device)
            score(directory, start, chosen, detector, test, convert)
    accelerator.wait_for_everyone()
    return schema.read(directory.path / RESULTS)


def opened(source: Any) -> tuple[Checkpoint, MaskedAutoencoder]:
    """The checkpoint, and its model.

    Raises:
        TrainingError: an encoder of another kind, which has no blocks to cut into windows.
    """
    found = starting.checkpoint_of(source, "checkpoint")
    if not isinstance(found.model, MaskedAutoencoder):
        raise TrainingError(
            f"{found.source}: an encoder of another kind ({type(found.model).__name__}). Detection is fine-tuned on a "
            "plain ViT: a masked autoencoder, or any ViT that is read as timm's VisionTransformer."
        )
    return found, found.model


def splits(data: Any, test_images: int | None) -> tuple[ImageSet, ImageSet]:
    """Train and test images with the same classes of objects; train without what is in test.

    Raises:
        DataError: one has no objects, or they have other classes.
    """
    if isinstance(data, ImageSet):
        raise DataError(f"{data!r} is one split. Give a spec, or a dict with the keys train and test.")
    if test_images is not None:
        test_images = whole("test_images", test_images, least=1, error=DataError)
    train, test = image_sets.load(data, "train"), image_sets.load(data, "test", count=test_images)
    ours, theirs = instances_of(train).classes, instances_of(test).classes
    if ours != theirs:
        odd = sorted(set(ours) ^ set(theirs))[:3] or "their order"
        raise DataError(f"The classes of {train.spec} and {test.spec} differ, for instance in {odd}.")
    return without_copies(train, [test]), test


def prepared(
    start: Checkpoint,
    model: MaskedAutoencoder,
    train: ImageSet,
    accelerator: Accelerator,
    directory: RunDirectory,
    preset: str,
    seed: int,
    given: Mapping[str, Any],
) -> DetectorSettings:
    """Checked settings of a run; one that is in the directory already goes on with its own precision and name of the
    weights."""
    start.preprocess.announce(train)
    recorded, told, last = directory.recorded(), dict(given), given["last_blocks"]
    for name in DetectorSettings.not_compared:
        if name in told:
            raise TrainingError(f"{name} is no setting of detect(): it is recorded, or an argument of its own.")
    told["last_blocks"] = EVERYTHING if last is None else whole("last_blocks", last, least=0, error=TrainingError)
    if told.get("precision") in (None, "auto"):
        told["precision"] = recorded.get("precision")
    identity = starting.identity(start, digest_of(model), recorded)
    settings = resolve(preset, told, model, data=train.spec, data_fingerprint=train.fingerprint, seed=seed, **identity)
    share_of(settings, accelerator.num_processes)
    return replace(settings, precision=choose_precision(settings.precision, model.width, accelerator.device))


def trained(directory: RunDirectory, model: MaskedAutoencoder, settings: DetectorSettings, classes: int) -> Detector:
    """The detector of a finished run."""
    file = directory.path / WEIGHTS
    if not file.is_file():
        raise TrainingError(f"{directory.path} is finished, but has no {WEIGHTS}. Name a new directory to train again.")
    detector = build(model, settings, classes)
    detector.load_state_dict(load_file(file))
    detector.eval()
    return detector


def score(
    directory: RunDirectory,
    start: Checkpoint,
    settings: DetectorSettings,
    detector: Detector,
    test: ImageSet,
    convert: Convert,
) -> None:
    """Detect in the test images, write what was found and its scores; results of the same images stay."""
    file = directory.path / RESULTS
    if file.is_file():
        before = schema.read(file)
        if before.data_fingerprint.item() == test.fingerprint and before.checkpoint.item() == start.name:
            return
    device = next(detector.parameters()).device
    truth = scoring.truth_of(test)
    found = scoring.detections(detector, test, convert, device, batch_size=BATCH)
    for name, content in ((TRUTH, truth), (FOUND, found)):
        write_text(directory.path / name, json.dumps(content), kept=KEPT)
    scores = {kind: scoring.matched(truth, found, kind) for kind in scoring.KINDS}
    shown = examples(detector, test, convert, device)
    facts = read_json(directory.path / "finished.json", error=TrainingError)
    schema.write(results.dataset(start, settings, test, scores, shown, facts), file)


def examples(detector: Detector, test: ImageSet, convert: Convert, device: torch.device) -> dict[str, np.ndarray]:
    """Pictures of the first test images: as they are, with their objects, and with what is found."""
    out: dict[str, list[np.ndarray]] = {name: [] for name in results.PICTURES}
    for index in range(min(PICTURES, len(test))):
        pixels, objects = test.read(index), instances_of(test)[index]
        found = scoring.detect_in(detector, [convert(pixels)], device)[0]
        sure = found["scores"] >= SURE
        out["example_image"].append(pixels[..., :3])
        out["example_truth"].append(pictures.drawn(pixels, objects.boxes, objects.labels, objects.masks))
        out["example_detection"].append(
            pictures.drawn(pixels, *(found[key][sure] for key in ("boxes", "labels", "masks")))
        )
    return {name: pictures.kept(shown, SIDE) for name, shown in out.items()}
