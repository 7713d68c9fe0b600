"""Whether weights are still those that were read."""

from __future__ import annotations

import torch
from torch import nn

from probekit.models import identity


def holding(tensor: torch.Tensor) -> nn.Module:
    module = nn.Module()
    module.register_buffer("kept", tensor)
    return module


def test_the_first_and_the_last_value_of_a_large_tensor_are_looked_at() -> None:
    for place in (0, -1):
        module = holding(torch.zeros(2000))
        before = identity.look(module).sample
        module.kept.data[place] = 1
        assert identity.look(module).sample != before


def test_views_are_looked_at_as_what_they_show() -> None:
    wide = torch.arange(20_000.0)
    assert identity.look(holding(wide[::2])).sample == identity.look(holding(wide[::2].clone())).sample
    assert identity.look(holding(torch.ones(1).expand(5000))).sample == identity.look(holding(torch.ones(5000))).sample
