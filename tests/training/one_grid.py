"""A grid of two cells, as one of several processes trains it: a program for `test_training_processes`."""

from __future__ import annotations

import contextlib
import sys

import torch
from small_run import SIZES, some_images

from probekit.training import Cell, train_grid
from probekit.training.directory import BusyError

if __name__ == "__main__":
    grid = [Cell(0.5, 4), Cell(0.75, 4)]
    with contextlib.suppress(BusyError):
        train_grid(some_images(), grid, output=sys.argv[1], images=16, device="cpu", threads=1, **SIZES)
    torch.distributed.destroy_process_group()
