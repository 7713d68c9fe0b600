"""What one of several processes does in `test_training_processes`; run as a program, or called for the only process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from small_run import SIZES, some_images

import probekit
from probekit.training.directory import RunDirectory
from probekit.training.loop import Run
from probekit.training.settings import resolve


def measure(output: Path, accumulate: int) -> None:
    """Save loss and gradients of the first batch beside `output`, then train a whole run in it."""
    options = {
        "mask_ratio": 0.75,
        "patch_size": 4,
        "images": 80,
        "seed": 0,
        "boundary": False,
        "accumulate": accumulate,
    }
    settings = resolve("tiny", SIZES, data="noise", data_fingerprint="-", **options)
    accelerator = Accelerator(cpu=True)
    run = Run(settings, some_images(), accelerator, RunDirectory(output))
    loss = accelerator.reduce(run.gradients(run.stream.batch(0)), reduction="sum")
    if accelerator.is_main_process:
        found = {name: p.grad for name, p in run.model.named_parameters() if p.grad is not None}
        torch.save((loss, found, accelerator.num_processes), f"{output}.pt")
    probekit.train(some_images(), **options, **SIZES, output=output, device="cpu", threads=1, log_every=5)


if __name__ == "__main__":
    measure(Path(sys.argv[1]), int(sys.argv[2]))
    torch.distributed.destroy_process_group()
