"""The theory as code: which latents a mask asks for, and whether training recovers them.

Kong et al., "Understanding Masked Autoencoders via Hierarchical Latent Variable Models", CVPR 2023 (arXiv 2306.04898).
Graphs and processes are NumPy; what draws masks or trains (`expected_levels`, `recover`) imports torch when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probekit.latents.graph import LatentGraph
from probekit.latents.nodes import GraphError
from probekit.latents.process import GeneratingProcess
from probekit.latents.samples import Draw

if TYPE_CHECKING:
    from probekit.latents.mask_levels import expected_levels
    from probekit.latents.recovery import examples, recover, recover_many

__all__ = [
    "Draw",
    "GeneratingProcess",
    "GraphError",
    "LatentGraph",
    "examples",
    "expected_levels",
    "recover",
    "recover_many",
]

_LAZY = {"expected_levels": "mask_levels", "examples": "recovery", "recover": "recovery", "recover_many": "recovery"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
