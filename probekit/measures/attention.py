"""What attention maps say in a few numbers per image and head: distance, entropy, NMI, rollout, maps of one query.

These functions run on the model's device, on one layer's attention at a time, and reduce it at once: all layers of a
batch never exist together. They are written to be limited by one reading of the attention: work goes in blocks of a few
heads that stay in the processor's cache, and each quantity is a product with something small (row sums, the distance
matrix) rather than a new array of the attention's size. NMI costs almost nothing beside the entropy: with uniform
queries I(q; k) = H(mean over q of p(k|q)) - mean over q of H(p(k|q)).

Default protocol: patch queries and patch keys only (prefix tokens such as [CLS] dropped), rows renormalised to sum 1.
`renormalised=False` takes the rows as the softmax left them, as other code does: a smaller number, since
attention to prefix tokens counts as none. A query that attends to prefix tokens alone is left out of renormalised
statistics; a head whose queries all do so has none (NaN).

Sources: attention distance, Dosovitskiy et al. (2021), figure 7; NMI, Park et al., "What do self-supervised vision
transformers learn?" (2023); rollout, Abnar & Zuidema (2020).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probekit.errors import ProbeError

BLOCK = 1 << 20
"""Attention values that are worked on at a time on a CPU: 4 MB in float32, so that a block stays in cache."""


class AttentionStatistics(NamedTuple):
    """Statistics of one layer, each float64 (batch, heads)."""

    distance: Tensor
    """Mean distance between query and key patch centres, in pixels."""
    entropy: Tensor
    """Mean entropy of the rows, in nats; at most log(patches)."""
    nmi: Tensor
    """Normalised mutual information of query and key, in [0, 1]: 0 if every query attends alike."""


def patch_distances(grid: tuple[int, int], patch_size: float, device: torch.device | str | None = None) -> Tensor:
    """Euclidean distances in pixels between patch centres: float32 (patches, patches), raster order.

    Args:
        grid: rows and columns of patches.
        patch_size: side of a ViT patch in pixels.
    """
    rows, columns = grid
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centres = torch.stack([y.flatten(), x.flatten()], dim=1).double() * patch_size
    differences = centres[:, None] - centres[None]
    distances: Tensor = torch.linalg.vector_norm(differences, dim=-1).float().to(device)
    return distances


def checked(attention: Tensor, num_prefix: int) -> None:
    """Raise a `ProbeError` unless `attention` is (batch, heads, tokens, tokens) with patches after the prefix."""
    shape = tuple(attention.shape)
    if len(shape) != 4 or shape[2] != shape[3] or shape[3] <= num_prefix:
        raise ProbeError(
            f"Attention of shape {shape} with {num_prefix} prefix tokens, expected (batch, heads, tokens, tokens) with "
            "patches after the prefix: self-attention over all tokens."
        )


def statistics(
    attention: Tensor, distances: Tensor, *, num_prefix: int, renormalised: bool = True
) -> AttentionStatistics:
    """Distance, entropy and NMI of every image and head of one layer.

    Args:
        attention: softmax probabilities (batch, heads, tokens, tokens), any float type.
        distances: (patches, patches) from `patch_distances`, on the same device.
        num_prefix: leading tokens that are no patches.
        renormalised: patch-to-patch rows divided by their sum (default), or as they are.

    Raises:
        ProbeError: shapes that do not fit.
    """
    checked(attention, num_prefix)
    batch, heads, tokens, _ = attention.shape
    patches = tokens - num_prefix
    if tuple(distances.shape) != (patches, patches):
        raise ProbeError(
            f"Distances of shape {tuple(distances.shape)} for {patches} patches: expected a square of that side."
        )
    maps = attention.reshape(batch * heads, tokens, tokens)
    size = len(maps) if maps.is_cuda else max(1, BLOCK // tokens**2)
    weights = torch.nn.functional.pad(distances.float(), (num_prefix, 0))
    parts = [block_statistics(block, weights, num_prefix, renormalised) for block in torch.split(maps, size)]
    columns = [torch.cat(column).reshape(batch, heads) for column in zip(*parts, strict=True)]
    return AttentionStatistics(*columns)


def block_statistics(
    maps: Tensor, weights: Tensor, num_prefix: int, renormalised: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Distance, entropy and NMI, each (maps,), of maps (maps, tokens, tokens); `weights` (patches, tokens) are
    distances with zeros for the prefix."""
    rows = maps[:, num_prefix:].float()
    patches = torch.tensor(float(rows.shape[1]), dtype=torch.float64, device=maps.device)
    kept = rows[..., num_prefix:]
    sums = kept.sum(dim=-1)
    far = torch.einsum("mqk,qk->mq", rows, weights)
    # Σ a log a of each row. The smallest normal number stands in for 0: 0 · log(tiny) = 0, without the cost of `xlogy`.
    logs = kept.clamp(min=torch.finfo(torch.float32).tiny).log_()
    surprise = torch.einsum("mqk,mqk->mq", kept, logs)
    if renormalised:
        # A query whose whole attention went to prefix tokens (half precision underflows) has no row to renormalise.
        empty = sums == 0
        scale = torch.where(empty, 0.0, 1 / sums)
        far = far * scale
        entropy = torch.where(empty, 0.0, torch.log(sums) - surprise * scale)
        patches = patches - empty.sum(dim=-1)
    else:
        scale = torch.ones_like(sums)
        entropy = -surprise
    marginal = torch.bmm(scale[:, None], kept)[:, 0].double() / patches[..., None]
    entropy_mean = entropy.double().sum(dim=1) / patches
    return (
        far.double().sum(dim=1) / patches,
        entropy_mean,
        mutual_information(marginal, entropy_mean, sums, patches, renormalised),
    )


def mutual_information(marginal: Tensor, entropy: Tensor, sums: Tensor, patches: Tensor, renormalised: bool) -> Tensor:
    """NMI = I(q; k) / sqrt(H(q) H(k)) with p(q) uniform, (maps,).

    Args:
        marginal: (maps, patches), mean over queries of the rows.
        entropy: (maps,), mean entropy of the rows.
        sums: (maps, patches), sums of the rows before renormalisation.
        patches: number of queries that count, (maps,) or one for all.
        renormalised: rows sum to one. Otherwise the joint a_qk / patches is scaled to sum to one first.
    """
    if renormalised:
        joint_mass = torch.ones_like(entropy)
        queries = torch.log(patches).expand_as(entropy)
        conditional = entropy
    else:
        # p(q) ∝ s_q; H(q, k) = log Z - Σ a log a / Z with Z = Σ s; H(k|q) = H(q, k) - H(q)
        weights = sums.double()
        joint_mass = weights.mean(dim=1)
        shares = weights / weights.sum(dim=1, keepdim=True)
        queries = torch.special.entr(shares).sum(dim=1)
        joint = torch.log(joint_mass * patches) + entropy / joint_mass
        conditional = joint - queries
    keys = torch.special.entr(marginal / joint_mass[:, None]).sum(dim=1)
    information = (keys - conditional).clamp(min=0)
    scale = torch.sqrt(queries * keys)
    return torch.where(scale == 0, 0.0, information / scale)


class Rollout:
    """Attention rollout: how much of each input token reaches each output token through all layers.

    Heads are averaged; with `residual`, half of the identity is mixed in for the skip connection (Abnar & Zuidema,
    2020). Call `update` with each layer's attention in order, then `result`: (batch, tokens, tokens), rows sum to one.
    """

    def __init__(self, *, residual: bool = True) -> None:
        self._residual = residual
        self._rolled: Tensor | None = None

    def update(self, attention: Tensor) -> None:
        """Append a layer's softmax probabilities (batch, heads, tokens, tokens)."""
        checked(attention, 0)
        step = attention.mean(dim=1).float()
        if self._residual:
            step = 0.5 * step + 0.5 * torch.eye(step.shape[-1], device=step.device)
        step = step / step.sum(dim=-1, keepdim=True)
        self._rolled = step if self._rolled is None else torch.bmm(step, self._rolled)

    def result(self) -> Tensor:
        """The product of all layers so far; a `ProbeError` if there was none."""
        if self._rolled is None:
            raise ProbeError("Rollout of no layers: call `update` with each layer's attention first.")
        return self._rolled


def query_map(attention: Tensor, query: int | Tensor, *, num_prefix: int) -> Tensor:
    """Attention of one query token over the patches, heads averaged, renormalised: float32 (batch, patches).

    Args:
        attention: (batch, heads, tokens, tokens).
        query: index of the token, prefix counted ([CLS] = 0); or one for each image, (batch,).
        num_prefix: leading tokens that are no patches.
    """
    checked(attention, num_prefix)
    batch, _, tokens, _ = attention.shape
    index = torch.as_tensor(query, device=attention.device).expand(batch)
    if bool(((index < 0) | (index >= tokens)).any()):
        raise ProbeError(f"Query {query} outside 0..{tokens - 1}: it counts the prefix tokens and then the patches.")
    rows = attention[torch.arange(batch, device=attention.device), :, index, num_prefix:].float().mean(dim=1)
    return rows / rows.sum(dim=-1, keepdim=True)
