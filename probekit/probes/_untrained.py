"""The untrained encoder as a baseline: the same architecture, freshly initialised; measured once per architecture."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from probekit import cache
from probekit.collect import Measurements, PreparedModel, Store


def untrained_pairs(m: Measurements) -> Store:
    """Terms of the level spectrum of the untrained twin of the checkpoint in `m`."""
    prepared = PreparedModel(untrained(m), m.prepared.settings)
    prepared.facts = {**m.prepared.facts, "weights": "untrained-0", "architecture": architecture(m)}
    twin = Measurements(prepared, m.sets, m.root)
    twin.gather(["pairs"])
    m.forwards += twin.forwards
    return twin.store("pairs")


def architecture(m: Measurements) -> str:
    """What a fresh initialisation depends on: the names and shapes of all parameters."""
    shapes = {name: list(tensor.shape) for name, tensor in m.prepared.model.encoder.state_dict().items()}
    return cache.key(**shapes)


def untrained(m: Measurements):  # type: ignore[no-untyped-def]
    """The checkpoint with its weights drawn anew, as MAE initialises them, with seed 0."""
    checkpoint = m.prepared.checkpoint
    model = copy.deepcopy(checkpoint.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.cpu().initialise()
    card = copy.copy(checkpoint.card)
    card.name = f"{card.name} (untrained)"
    return replace(checkpoint, model=model.to(m.prepared.device).eval(), card=card)
