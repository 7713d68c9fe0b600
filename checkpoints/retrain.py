"""Train the grids of probekit, and write what ships of them here.

    python checkpoints/retrain.py runs                                             # quadtree, shapes, their variants
    python checkpoints/retrain.py runs --cifar torchvision:CIFAR10:DIR             # and CIFAR-10, or imagefolder:DIR
    python checkpoints/retrain.py runs --only quadtree --seeds 0 1 --together 8    # a part of it, side by side on a GPU
    python checkpoints/retrain.py runs --ship                                      # only write what is finished

The same command goes on after an interruption, and given several times at once shares the work among its processes. The
first seed's cells come first, so that what is finished is a usable grid at any time; cells side by side finish
together.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import probekit
from probekit import masking, models
from probekit.models.loading import describe
from probekit.training import Cell, train_grid
from probekit.training.building import create_model
from probekit.training.settings import resolve

HERE = Path(__file__).parent
RATIOS = (0.75, 0.9, 0.5, 0.25, 0.1)
UNITS = (4, 8, 16)
CIFAR = "CIFAR-10 training images, train split: 4,050 of the first 4,500 of each class; the last 500 are held out"


@dataclass(frozen=True)
class Plan:
    """A grid on one image set."""

    data: str
    seeds: tuple[int, ...]
    pairs: tuple[tuple[float, int], ...]
    """Mask ratio and mask unit of each cell; of those that hide equally many units only the nearest is trained."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of `train`, beside the preset's."""
    ships: int = 0
    """Seeds whose weights ship."""

    def cells(self) -> list[Cell]:
        """The cells, whole grids of the first seeds first."""
        seen: dict[tuple[int, float], tuple[float, int]] = {}
        for ratio, unit in sorted(self.pairs, key=lambda pair: abs(pair[0] - real_ratio(*pair))):
            seen.setdefault((unit, real_ratio(ratio, unit)), (ratio, unit))
        return [Cell(*pair, seed) for seed in self.seeds for pair in self.pairs if pair in seen.values()]


def real_ratio(ratio: float, unit: int) -> float:
    """The share of 32 x 32 pixels that is really hidden."""
    return masking.real_ratio((32 // unit) ** 2, ratio)


FACTORIAL = tuple((ratio, unit) for unit in UNITS for ratio in RATIOS)
CROSS = tuple(pair for pair in FACTORIAL if pair[0] == 0.75 or pair[1] == 4)
HALF_MILLION: dict[str, Any] = {"images": 500_000}
LARGER: dict[str, Any] = {
    "width": 128, "depth": 6, "decoder_width": 96, "decoder_depth": 2, "batch_size": 256, "base_lr": 3e-3,
    "normalise_targets": True, "augment": False, "snapshots": (),
}  # fmt: skip
"""Chosen on CIFAR-10's val split: see README.md."""
PLANS = {
    "quadtree": Plan("quadtree", (0, 1, 2, 3, 4), FACTORIAL, HALF_MILLION, ships=2),
    "shapes": Plan("shapes", (0,), CROSS[:3] + CROSS[-2:], {"images": 250_000}, ships=1),
    "no-boundary": Plan(
        "quadtree", (0, 1, 2, 3, 4), ((0.75, 4), (0.9, 4), (0.5, 4), (0.75, 8)), HALF_MILLION | {"boundary": False}
    ),
    "structure": Plan("quadtree", (0, 1, 2), ((0.9, 4), (0.75, 4)), HALF_MILLION | {"strategy": "structure"}),
    "cifar10": Plan("", (0, 1), CROSS, LARGER | {"images": 2_000_000}, ships=2),
}
"""The grids, by name; CIFAR-10's specification is the user's."""


def ship(run: Path, target: Path, data: str | None) -> None:
    """A finished run as a float16 checkpoint; `data` stands in the card for where the images lay."""
    checkpoint = probekit.load(run, device="cpu")
    story = (run / "README.md").read_text().split("## Training")[1]
    checkpoint.card.name = target.name
    loss = json.loads((run / "finished.json").read_text())["loss"]
    story += f"\nFinal loss (mean of the last steps): {loss:.4f}.\n"
    if data is not None:
        checkpoint.card.licence = "apache-2.0"
        story = story.replace(f"imagefolder ({story.split('imagefolder (')[-1].split(')')[0]})", data)
        checkpoint.card.data = data
    checkpoint.save(target, dtype=torch.float16, card_text="## Training" + story)


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


def write(runs: Path) -> None:
    """Write what is finished and ships."""
    for name, plan in PLANS.items():
        for cell in plan.cells():
            if cell.seed < plan.ships and (runs / name / cell.name / "finished.json").is_file():
                ship(runs / name / cell.name, HERE / f"{name}-{cell.name}", CIFAR if name == "cifar10" else None)
    for seed in range(PLANS["quadtree"].ships):
        ship_untrained(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("--cifar", default="", help="spec of CIFAR-10, e.g. torchvision:CIFAR10:DIR")
    parser.add_argument("--only", nargs="+", choices=PLANS, help="these grids")
    parser.add_argument("--seeds", nargs="+", type=int, help="these seeds")
    parser.add_argument("--together", type=int, default=1, help="cells that are trained at the same time")
    parser.add_argument("--ship", action="store_true", help="train nothing")
    args = parser.parse_args()
    gpu = torch.cuda.is_available()
    for name in () if args.ship else args.only or PLANS:
        plan = PLANS[name]
        precision = "float32" if not gpu else "bfloat16" if plan.options.get("width") else "tf32"
        cells = [cell for cell in plan.cells() if args.seeds is None or cell.seed in args.seeds]
        given: dict[str, Any] = {"precision": precision, "together": args.together}
        given |= {"threads": 1, "workers": 8, "log_every": 250}
        if (spec := plan.data or args.cifar) and cells:
            train_grid(spec, cells, output=args.runs / name, **given | plan.options)
    if args.only is None:
        write(args.runs)


if __name__ == "__main__":
    main()
