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
    return _named(prepared, model.to(prepared.device).eval(), initialisation)


def outlined(prepared: PreparedModel, initialisation: int) -> PreparedModel:
    """What `untrained` gives, with the checkpoint's own weights: to ask what is stored of it, never to measure it."""
    return _named(prepared, prepared.checkpoint.model, initialisation)


def _named(prepared: PreparedModel, model: Any, initialisation: int) -> PreparedModel:
    card = copy.copy(prepared.checkpoint.card)
    card.name = f"{card.name} (untrained)"
    twin = PreparedModel(replace(prepared.checkpoint, model=model, card=card), prepared.settings)
    twin.facts = {**prepared.facts, "weights": f"untrained-{initialisation}", "architecture": _architecture(model)}
    return twin


def _architecture(model: torch.nn.Module) -> str:
    """What a fresh initialisation depends on: the names and shapes of all parameters, in order."""
    return cache.key(**{name: list(tensor.shape) for name, tensor in model.state_dict().items()})
