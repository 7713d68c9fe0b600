"""Do the defaults of `quadtree` leave room to learn? Untrained, supervised and masked encoders. Writes results.nc.

python analyses/calibration/run.py                   # the shipped checkpoints at ratio 0.75, 4 px
python analyses/calibration/run.py runs/quadtree     # the runs of a folder at ratio 0.75, 4 px
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

import probekit
from probekit import data, schema
from probekit.constants import IMAGENET_MEAN, IMAGENET_STD
from probekit.models import Checkpoint
from probekit.training.building import create_model
from probekit.training.settings import resolve

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SUITE = ["latent_recovery"]
COUNTS = {"train": 2000, "val": 500, "test": 1000}
TINY = {"train": 100, "val": 50, "test": 50}
SPEC = "quadtree"


def drawn(seed: int) -> torch.nn.Module:
    """The architecture of the `tiny` preset, its weights drawn anew."""
    known = {"mask_ratio": 0.75, "patch_size": 4, "data": "", "data_fingerprint": ""}
    return create_model(resolve("tiny", {"seed": seed}, **known))


def checkpoint(model: torch.nn.Module, name: str, seed: int, images: int) -> Checkpoint:
    """A module as a checkpoint of known normalisation, seed and images."""
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    found = probekit.load(model.eval(), mean=mean, std=std, normalised_targets=False, name=name, device="cpu")
    found.card.seed, found.card.images_seen = seed, images
    return found


def supervised(seed: int, count: int) -> torch.nn.Module:
    """Encoder and a linear head on its mean-pooled tokens, trained to predict the root."""
    model, batch_size = drawn(seed).train(), 64
    images = data.load(f"{SPEC}?count={count}", "train")
    assert images.latents is not None
    targets = torch.from_numpy(np.asarray(images.latents[max(images.latents)][:, 0], dtype=np.float32))
    targets = (targets - targets.mean(0)) / targets.std(0)
    torch.manual_seed(seed)
    head = torch.nn.Linear(64, targets.shape[1])
    encoder = [weight for name, weight in model.named_parameters() if not name.startswith("decoder")]
    optimizer = torch.optim.AdamW([*encoder, *head.parameters()], lr=2e-3, weight_decay=0.05)
    steps = count // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    for rows in np.arange(steps * batch_size).reshape(steps, batch_size):
        pixels = torch.from_numpy(images.pixels(rows)).permute(0, 3, 1, 2) / 255
        predicted = head(model.pool(model.encode((pixels - mean) / std), "mean"))
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(predicted, targets[torch.from_numpy(rows)]).backward()
        optimizer.step()
        schedule.step()
    return model


def masked(folders: list[str]) -> list[str]:
    """Runs at ratio 0.75 and 4 px: those of the folders, or those that ship."""
    found = [run for folder in folders for run in writing.runs_in(folder) if "cifar" not in run]
    return [run for run in found or writing.shipped("quadtree", untrained=False) if "r0.75-p4-" in run]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", help="folders of runs, instead of what ships")
    parser.add_argument("--output", type=Path, default=HERE / "results.nc")
    parser.add_argument("--images", type=int, default=50_000, help="of supervised training")
    parser.add_argument("--seeds", type=int, default=2, help="of supervised training; 0: none")
    parser.add_argument("--tiny", action="store_true", help="few images: to try it out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seeds, images = (1, 128) if args.tiny else (args.seeds, args.images)
    kinds = {
        "untrained": [checkpoint(drawn(s), f"untrained-s{s}", s, 0) for s in range(1 if args.tiny else 5)],
        "supervised": [checkpoint(supervised(s, images), f"supervised-s{s}", s, images) for s in range(seeds)],
        "masked": masked(args.checkpoints)[: 1 if args.tiny else None],
    }
    recipe = [kind for kind, sources in kinds.items() for _ in sources]
    sources = [source for each in kinds.values() for source in each]
    more = {"layers": [-1], "poolings": ["mean"], "counts": TINY if args.tiny else COUNTS, "coords": {"recipe": recipe}}
    print(schema.write(writing.without_images(probekit.compare(sources, SUITE, SPEC, **more)), args.output))


if __name__ == "__main__":
    main()
