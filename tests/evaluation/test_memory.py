"""Peak memory of probes on images of 448 x 448 pixels: it does not grow with how many images there are."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
import probekit
from probekit.models import MaskedAutoencoder
name, data, images = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = MaskedAutoencoder.create(
    image_size=(448, 448), vit_patch_size=32, width=32, depth=2, num_heads=2, decoder_width=32, decoder_depth=1,
    decoder_num_heads=2, seed=0,
)
counts = dict.fromkeys(("train", "val", "test", "images", "pairs", "ladder"), images) | {"gradients": 2, "pictures": 2}
options = {name: {"untrained": False}} if name in ("level_spectrum", "level_ladder") else None
probekit.evaluate(probekit.load(model), [name], data, counts=counts, cache=False, options=options)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""

IMAGES = 40, 140
GROWTH = 150_000
"""kB that 100 more images may take: less than their pixels in float32 (240 MB), which a probe may not hold."""


def peak(name: str, data: str, images: int) -> int:
    """Peak resident memory, in kB, of a process that runs a probe."""
    command = [sys.executable, "-c", CODE, name, data, str(images)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(run.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("level_spectrum", "quadtree"), ("low_level", "shapes"), ("object_focus", "shapes"), ("label_free", "shapes"),
        ("level_ladder", "shapes"), ("reconstruction", "shapes"),
    ],
)  # fmt: skip
def test_peak_memory_does_not_grow_with_the_number_of_large_images(name: str, data: str) -> None:
    few, many = (peak(name, data, images) for images in IMAGES)
    assert many - few < GROWTH
