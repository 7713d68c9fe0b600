"""What an adapter costs beside its library's own forward: the ratio, both measured in turns in one run.

    python benchmarks/bench_adapters.py [images]

The peer is `model(images, output_hidden_states=True)` of transformers, `model.forward_intermediates(images)` of timm.
Weights are random: the time does not depend on them. Printed: median over turns of adapter / library.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
import transformers as hf

from probekit import load

TURNS = 15


def transformers_models() -> dict[str, Any]:
    small = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
    return {
        "DINOv2-S/14": hf.Dinov2Model(hf.Dinov2Config(**small, image_size=224, patch_size=14)),
        "CLIP-S/16": hf.CLIPVisionModel(hf.CLIPVisionConfig(**small, patch_size=16)),
        "Swin-T": hf.SwinModel(hf.SwinConfig()),
    }


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(adapter: Callable[[], Any], library: Callable[[], Any]) -> float:
    """Median over turns; which goes first changes from turn to turn."""
    adapter()
    library()
    found = []
    for turn in range(TURNS):
        if turn % 2:
            ours, theirs = timed(adapter), timed(library)
        else:
            theirs, ours = timed(library), timed(adapter)
        found.append(ours / theirs)
    return statistics.median(found)


def walk(model: Any, batch: torch.Tensor) -> None:
    """Every layer, each let go before the next."""
    for _ in model.trace(batch):
        pass


@torch.inference_mode()
def main(images: int) -> None:
    torch.manual_seed(0)
    for name, module in transformers_models().items():
        model = load(module.eval(), image_size=(224, 224)).model
        batch = torch.randn(images, 3, 224, 224)
        cost = ratio(partial(walk, model, batch), partial(module, batch, output_hidden_states=True))
        print(f"transformers {name}: {cost:.3f} of the library's own forward", flush=True)
    for name in ("eva02_tiny_patch14_224", "swin_tiny_patch4_window7_224", "convnext_nano", "vit_small_patch16_dinov3"):
        module = timm.create_model(name).eval()
        model = load(module).model
        batch = torch.randn(images, 3, *model.image_size)
        cost = ratio(partial(walk, model, batch), partial(module.forward_intermediates, batch))
        print(f"timm {name}: {cost:.3f} of the library's own forward", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
