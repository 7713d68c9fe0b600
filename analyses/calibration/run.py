"""How the defaults of `quadtree` leave room to learn: R² of the root latent, read linearly from mean-pooled features.

    python analyses/calibration/run.py untrained               # seconds
    python analyses/calibration/run.py supervised              # some minutes of one core
    python analyses/calibration/run.py checkpoint CKPT ...     # of trained checkpoints, e.g. the snapshots of a run

Options: --data SPEC (default quadtree), --images N (supervised: training images), --seeds N (untrained).
Ridge regression on 8,000 training images, its strength chosen on 2,000 validation images, R² on 2,000 test images.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import probekit
from probekit import data as image_sets
from probekit.data import ImageSet
from probekit.measures import regress
from probekit.models import MaskedAutoencoder
from probekit.training.loop import create_model, preprocess
from probekit.training.settings import Settings, resolve

COUNTS = {"train": 8000, "val": 2000, "test": 2000}


def sets_of(spec: str) -> dict[str, ImageSet]:
    joined = "&" if "?" in spec else "?"
    return {split: image_sets.load(f"{spec}{joined}count={count}", split) for split, count in COUNTS.items()}


def root(images: ImageSet) -> np.ndarray:
    """(images, dimensions of the root), float64."""
    assert images.latents is not None
    return images.latents[max(images.latents)][:, 0].astype(np.float64)


def batch(images: ImageSet, rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.pixels(rows)).permute(0, 3, 1, 2)


@torch.inference_mode()
def features(model: MaskedAutoencoder, images: ImageSet, settings: Settings) -> np.ndarray:
    """Mean over the patch tokens of the last layer: (images, width)."""
    normalise = preprocess(settings).normalise
    rows = np.split(np.arange(len(images)), len(images) // 250)
    parts = [model.pool(model.encode(normalise(batch(images, part))), "mean") for part in rows]
    return torch.cat(parts).double().numpy()


def root_r2(model: MaskedAutoencoder, sets: dict[str, ImageSet], settings: Settings) -> float:
    found = {split: (features(model.eval(), images, settings), root(images)) for split, images in sets.items()}
    fit = regress.ridge(*found["train"], *found["val"])
    residual, total = regress.r2_terms(found["test"][1], fit.predict(found["test"][0]))
    return float(1 - residual.sum() / total.sum())


def supervised(model: MaskedAutoencoder, spec: str, settings: Settings) -> None:
    """Train the encoder, and a linear head on its mean-pooled tokens, to predict the root."""
    count = settings.images
    joined = "&" if "?" in spec else "?"
    images = image_sets.load(f"{spec}{joined}count={count}", "train")
    targets = torch.from_numpy(root(images)).float()
    targets = (targets - targets.mean(0)) / targets.std(0)
    head = torch.nn.Linear(settings.width, targets.shape[1])
    encoder = [weight for name, weight in model.named_parameters() if not name.startswith("decoder")]
    optimizer = torch.optim.AdamW([*encoder, *head.parameters()], lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=count // settings.batch_size)
    normalise = preprocess(settings).normalise
    for step in range(count // settings.batch_size):
        rows = np.arange(step * settings.batch_size, (step + 1) * settings.batch_size)
        predicted = head(model.pool(model.encode(normalise(batch(images, rows))), "mean"))
        loss = torch.nn.functional.mse_loss(predicted, targets[torch.from_numpy(rows)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"  {rows[-1] + 1:>7,} images: loss {loss.item():.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("untrained", "supervised", "checkpoint"))
    parser.add_argument("checkpoints", nargs="*")
    parser.add_argument("--data", default="quadtree")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    sets = sets_of(args.data)
    known = {"data": args.data, "data_fingerprint": "", "mask_ratio": 0.75, "patch_size": 4}
    if args.what == "untrained":
        for seed in range(args.seeds):
            settings = resolve("tiny", {"seed": seed}, **known)
            print(f"untrained, seed {seed}: R² {root_r2(create_model(settings), sets, settings):.3f}")
    elif args.what == "supervised":
        settings = resolve("tiny", {"seed": 0, "images": args.images}, **known)
        model = create_model(settings)
        supervised(model, args.data, settings)
        print(f"supervised, {args.images:,} images: R² {root_r2(model, sets, settings):.3f}")
    for name in args.checkpoints:
        settings = resolve("tiny", {"seed": 0}, **known)
        print(f"{name}: R² {root_r2(probekit.load(name, device='cpu').model, sets, settings):.3f}", flush=True)


if __name__ == "__main__":
    main()
