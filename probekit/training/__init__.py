"""Pretraining: one run (`train`) and grids of runs over mask ratio, patch size and seed (`train_grid`); fine-tuning.

A run meets the rest of probekit through files only: its directory holds a checkpoint that `probekit.load` and
transformers read.
"""

from probekit.training.finetuning import finetune
from probekit.training.grid import Cell, cells, train_grid
from probekit.training.run import train
from probekit.training.settings import PRESETS, Settings

__all__ = ["PRESETS", "Cell", "Settings", "cells", "finetune", "train", "train_grid"]
