"""The untrained twin of a checkpoint: the same architecture with weights drawn anew, as a baseline."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch

from probekit import cache
from probekit.collect.prepared import PreparedModel
from probekit.errors import ProbeError


def untrained(prepared: PreparedModel, initialisation: int) -> PreparedModel:
    """The same architecture, initialised as MAE does it.

    Args:
        prepared: the checkpoint; it is not changed.
        initialisation: seed of the weights.

    Returns:
        A prepared model whose `facts` name the architecture and the initialisation instead of the weights.
    """
    checkpoint = prepared.checkpoint
    if reason := checkpoint.model.no_twin:
        raise ProbeError(f"{checkpoint.name} has no untrained twin: {reason}.")
    model: Any = copy.deepcopy(checkpoint.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(initialisation)
        model.cpu().initialise()
    card = copy.copy(checkpoint.card)
    card.name = f"{card.name} (untrained)"
    fresh = replace(checkpoint, model=model.to(prepared.device).eval(), card=card)
    twin = PreparedModel(fresh, prepared.settings)
    twin.facts = {**prepared.facts, "weights": f"untrained-{initialisation}", "architecture": _architecture(model)}
    return twin


def _architecture(model: torch.nn.Module) -> str:
    """What a fresh initialisation depends on: the names and shapes of all parameters, in order."""
    return cache.key(**{name: list(tensor.shape) for name, tensor in model.state_dict().items()})
