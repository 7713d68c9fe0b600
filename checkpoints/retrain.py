"""Train everything that ships, and write it here: the quadtree grid, and with `--cifar` the same grid on CIFAR-10.

    python checkpoints/retrain.py runs                                  # quadtree
    python checkpoints/retrain.py runs --cifar imagefolder:DIR          # both; or torchvision:CIFAR10:DIR
    python checkpoints/retrain.py runs --ship                           # only write what is finished into checkpoints/

The same command goes on after an interruption, and given several times at once shares the work among its processes (one
thread each). The first seed's cells come first, so that what is finished is a usable grid at any time.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import probekit
from probekit import models
from probekit.models.loading import describe
from probekit.training import Cell, train_grid
from probekit.training.loop import create_model
from probekit.training.settings import resolve

HERE = Path(__file__).parent
RATIOS = (0.75, 0.9, 0.5, 0.25, 0.1)
PATCHES = (4, 8, 16)
SEEDS = (0, 1)
IMAGES = {"quadtree": 500_000, "cifar10": 250_000}
CIFAR = "CIFAR-10 training images, train split: 4,050 of the first 4,500 of each class; the last 500 are held out"


def grid() -> list[Cell]:
    """Five ratios at the smallest mask unit, and three mask units at ratio 0.75, for each seed."""
    shapes = [(ratio, PATCHES[0]) for ratio in RATIOS] + [(0.75, patch) for patch in PATCHES[1:]]
    return [Cell(ratio, patch, seed) for seed in SEEDS for ratio, patch in shapes]


def ship(run: Path, name: str, data: str | None) -> None:
    """A finished run as a float16 checkpoint; `data` stands in the card for where the images lay."""
    checkpoint = probekit.load(run, device="cpu")
    story = (run / "README.md").read_text().split("## Training")[1]
    checkpoint.card.name = name
    loss = json.loads((run / "finished.json").read_text())["loss"]
    story += f"\nFinal loss (mean of the last steps): {loss:.4f}.\n"
    if data is not None:
        checkpoint.card.licence = "apache-2.0"
        story = story.replace(f"imagefolder ({story.split('imagefolder (')[-1].split(')')[0]})", data)
        checkpoint.card.data = data
    checkpoint.save(HERE / name, dtype=torch.float16, card_text="## Training" + story)


def ship_untrained(seed: int) -> None:
    """The initialisation that the cells of a seed start from."""
    known = {"mask_ratio": 0.75, "patch_size": 4, "data": "", "data_fingerprint": ""}
    model = create_model(resolve("tiny", {"seed": seed}, **known))
    name = f"untrained-s{seed}"
    card = models.Card(
        name=name, architecture=describe(model), vit_patch_size=4, image_size=(32, 32), normalisation_known=True,
        normalised_targets=False, images_seen=0, seed=seed, licence="apache-2.0",
    )  # fmt: skip
    text = f"The initialisation of seed {seed}, before the first step: what trained cells are held against."
    models.Checkpoint(model=model, card=card, verdict=models.Verdict("probekit", model), source=name).save(
        HERE / name, dtype=torch.float16, card_text=text
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("--cifar", help="spec of CIFAR-10, e.g. torchvision:CIFAR10:DIR")
    parser.add_argument("--ship", action="store_true", help="train nothing")
    args = parser.parse_args()
    specs = {"quadtree": "quadtree"} | ({"cifar10": args.cifar} if args.cifar else {})
    for set_name, spec in () if args.ship else specs.items():
        train_grid(spec, grid(), output=args.runs / set_name, images=IMAGES[set_name], threads=1)
    for set_name in IMAGES:
        for cell in grid():
            run = args.runs / set_name / cell.name
            if (run / "model.safetensors").is_file():
                ship(run, f"{set_name}-{cell.name}", CIFAR if set_name == "cifar10" else None)
    for seed in SEEDS:
        ship_untrained(seed)


if __name__ == "__main__":
    main()
