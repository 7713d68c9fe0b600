"""The theory as code: which latents a mask asks for, and whether training recovers them.

Kong et al., "Understanding Masked Autoencoders via Hierarchical Latent Variable Models", CVPR 2023 (arXiv 2306.04898).
"""

from __future__ import annotations

from probekit.latents.draws import Draw
from probekit.latents.graph import GraphError, LatentGraph
from probekit.latents.process import GeneratingProcess

__all__ = ["Draw", "GeneratingProcess", "GraphError", "LatentGraph"]
