"""Do checkpoints of other projects read alike, and what would the whole paper cost? Writes results.nc.

    python analyses/external_checkpoints/run.py            # stand-ins: one trained encoder written in each format

One encoder that ships is written under the names of several projects and must give the same numbers from each file.
Costs are core-seconds an image of ViT-B on this machine: a forward, and a step of pretraining.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import xarray as xr
from safetensors.torch import save_file

import probekit
from probekit import schema
from probekit.models import MaskedAutoencoder

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

import writing  # noqa: E402  (it lies beside this folder)

SOURCE = "shipped:quadtree-r0.75-p4-s0"
STATED = "?mean=0.485,0.456,0.406&std=0.229,0.224,0.225&num_heads=4"
DECODER = "&decoder_num_heads=4&normalised_targets=false"
COUNTS = {"train": 600, "val": 150, "test": 300}
FILES = {"mae": "mae.pth", "data parallel": "parallel.pth"}
ENCODERS = {"lightning": "lightning.ckpt", "timm": "timm.safetensors"}
CELLS = {"ViT-B/16": 16, "ViT-B/8": 8}


def stand_ins(folder: Path) -> dict[str, str]:
    """One encoder in the formats of several projects: name -> source."""
    checkpoint = probekit.load(SOURCE, device="cpu")
    weights = {}  # under facebookresearch/mae's names
    for name, tensor in checkpoint.model.state_dict().items():
        part, _, rest = name.partition(".")
        if part in ("encoder", "decoder"):
            weights[rest if part == "encoder" or rest == "mask_token" else f"decoder_{rest}"] = tensor.clone()
    encoder = {name: tensor for name, tensor in weights.items() if "decoder" not in name and name != "mask_token"}
    checkpoint.save(folder / "transformers")
    checkpoint.save(folder / "probekit", format="probekit")
    torch.save({"model": weights, "epoch": 1}, folder / "mae.pth")
    torch.save({"state_dict": {f"module.{name}": one for name, one in weights.items()}}, folder / "parallel.pth")
    torch.save({"state_dict": {f"backbone.vit.{n}": one for n, one in encoder.items()}}, folder / "lightning.ckpt")
    save_file(encoder, folder / "timm.safetensors")
    found = {name: str(folder / name) for name in ("transformers", "probekit")}
    found |= {name: f"{folder / file}{STATED}{DECODER}" for name, file in FILES.items()}
    return {"shipped": SOURCE} | found | {name: f"{folder / file}{STATED}" for name, file in ENCODERS.items()}


def core_seconds(function: Callable[[], object], images: int) -> float:
    """Processor seconds an image, the least of three calls."""
    return min(timeit.repeat(function, timer=time.process_time, number=1, repeat=3)) / images


def costs(tiny: bool) -> xr.DataArray:
    """Core-seconds an image of ViT-B: a forward without a mask, and a step of pretraining at ratio 0.75."""
    size = {"width": 768, "depth": 12, "num_heads": 12, "decoder_width": 512, "decoder_depth": 8}
    size |= {"depth": 1, "decoder_depth": 1} if tiny else {}
    found = []
    for patch in CELLS.values():
        shape = {"image_size": (224, 224), "vit_patch_size": patch, "decoder_num_heads": 16, "normalised_targets": True}
        model = MaskedAutoencoder.create(**size, **shape, seed=0)
        images, hidden = torch.randn(2, 3, 224, 224), torch.arange((224 // patch) ** 2).expand(2, -1) % 4 != 0
        forward = torch.inference_mode()(partial(model.encode, images))
        loss = partial(model.predict, images, hidden, hidden_only=True)
        found.append([core_seconds(forward, 2), core_seconds(lambda loss=loss: loss().square().mean().backward(), 2)])
    coords = {"cell": list(CELLS), "stage": ["forward", "step"]}
    return xr.DataArray(found, coords, ("cell", "stage"), attrs={"long_name": "Processor time an image", "units": "s"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "results.nc")
    parser.add_argument("--tiny", action="store_true", help="few images, a small ViT: to try it out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = stand_ins(Path(folder))
        opened = [probekit.load(source, device="cpu") for source in found.values()]
        coords = {"format": [one.verdict.format for one in opened]}
        more = {"names": list(found), "coords": coords, "counts": writing.TINY if args.tiny else COUNTS}
        ds = probekit.compare(list(found.values()), ["linear_probe", "knn"], "shapes", **more, poolings=["mean"])
    ds = writing.without_images(ds).assign(core_seconds=costs(args.tiny))
    print(schema.write(ds, args.output))


if __name__ == "__main__":
    main()
