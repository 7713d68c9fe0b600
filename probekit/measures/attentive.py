"""Attentive heads on frozen tokens: an image is what a learned query finds among its patches, then a linear head.

Mean-pooled linear accuracy undersells an encoder whose patches differ: a class that sits in one patch of two hundred is
averaged away. The heads are those of three publications; they are fitted alike, so that their accuracies compare:
AdamW, a few learning rates, the best one on validation images.

Sources: Efficient Probing (Psomas et al., ICLR 2026); attentive probe of AIM (El-Nouby et al. 2024); of CAPI (Darcet et
al. 2025).
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probekit.errors import ProbeError, did_you_mean
from probekit.measures.descent import fit_at_rates

HEADS = ("ep", "aim", "capi")

QUERIES = 32
"""Of Efficient Probing, as published; fewer where the width has no such divisor."""

EPSILON = 1e-6
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
STEPS, BATCH = 500, 128

Tokens = Callable[[NDArray[np.int64]], Tensor]
"""Row numbers to tokens, (rows, patches, width), on the device."""


class AttentiveHead(nn.Module, abc.ABC):
    """Tokens (batch, patches, width) -> logits; `pooled` gives what the linear head sees, and where it came from."""

    linear: nn.Linear
    norm: nn.Module

    @abc.abstractmethod
    def pooled(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, width) before the norm of the linear head, and attention (batch, queries, patches), rows sum to 1."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, classes)."""
        logits: Tensor = self.linear(self.norm(self.pooled(tokens)[0]))
        return logits


class EfficientProbe(AttentiveHead):
    """Efficient Probing: M learned queries look at the tokens themselves; query m averages the m-th part of the values.

    attention = softmax(q x' / sqrt(width)); values = x W, split in M parts; no output projection; batch norm without
    affine parameters, then linear.

    Args:
        width: of the tokens.
        classes: of the linear head.
        queries: M; it must divide the width.
    """

    def __init__(self, width: int, classes: int, *, queries: int = QUERIES) -> None:
        super().__init__()
        if width % queries:
            raise ProbeError(f"{queries} queries do not divide the width {width}: each averages a part of the values.")
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.values = nn.Linear(width, width, bias=False)
        self.norm = nn.BatchNorm1d(width, affine=False, eps=EPSILON)
        self.linear = nn.Linear(width, classes)

    def pooled(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        attention = (self.queries * tokens.shape[2] ** -0.5 @ tokens.transpose(1, 2)).softmax(dim=-1)
        return averaged(attention, tokens, self.values.weight), attention


class AimProbe(AttentiveHead):
    """AIM's probe: tokens in batch norm, one learned query, keys and values projected without bias, several heads."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.heads = heads_of(width)
        self.tokens_norm = nn.BatchNorm1d(width, affine=False, eps=EPSILON)
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.keys, self.values = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.norm = nn.BatchNorm1d(width, affine=False, eps=EPSILON)
        self.linear = nn.Linear(width, classes)

    def pooled(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.tokens_norm(tokens.transpose(1, 2)).transpose(1, 2)
        return attended(self.query, tokens, self.keys.weight, self.values.weight, self.heads)


class CapiProbe(AttentiveHead):
    """CAPI's probe: one learned query, keys and values projected with bias, heads of 64, linear without a norm."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.heads = heads_of(width)
        self.query = nn.Parameter(torch.empty(width))
        self.keys_values = nn.Linear(width, 2 * width)
        self.norm = nn.Identity()
        self.linear = nn.Linear(width, classes)
        for weight in (self.query, self.keys_values.weight, self.linear.weight):
            nn.init.trunc_normal_(weight, std=0.02)
        for bias in (self.keys_values.bias, self.linear.bias):
            nn.init.zeros_(bias)

    def pooled(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.keys_values.weight.chunk(2)
        pooled, attention = attended(self.query, tokens, keys, values, self.heads)
        return pooled + self.keys_values.bias[len(keys) :], attention  # a bias of the keys changes no softmax


def heads_of(width: int) -> int:
    """Number of attention heads of 64 channels; one if 64 does not divide the width."""
    return width // 64 if width % 64 == 0 else 1


def averaged(attention: Tensor, tokens: Tensor, values: Tensor) -> Tensor:
    """(batch, width): query m averages the m-th part of the values, tokens @ values'.

    A weighted mean of projected tokens is the projection of their weighted mean, so tokens are averaged first: the
    projection then costs once per query instead of once per patch.

    Args:
        attention: (batch, queries, patches).
        tokens: (batch, patches, width).
        values: (width, width), rows in as many parts as there are queries.
    """
    parts = values.reshape(attention.shape[1], -1, values.shape[1])
    return torch.einsum("bqw,qdw->bqd", attention @ tokens, parts).flatten(1)


def attended(query: Tensor, tokens: Tensor, keys: Tensor, values: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """One query over projected tokens: (batch, width), and attention (batch, heads, patches).

    <q, K x> = <K' q, x>: the query is brought to the tokens instead of every token to the query.
    """
    width = tokens.shape[2]
    asked = torch.einsum("hd,hdw->hw", query.reshape(heads, -1), keys.reshape(heads, -1, width))
    attention = (asked * (width // heads) ** -0.5 @ tokens.transpose(1, 2)).softmax(dim=-1)
    return averaged(attention, tokens, values), attention


def queries_for(width: int, queries: int = QUERIES) -> int:
    """The largest number of queries, up to `queries`, that divides the width."""
    return max(one for one in range(1, min(queries, width) + 1) if width % one == 0)


def head(kind: str, width: int, classes: int, *, queries: int = QUERIES) -> AttentiveHead:
    """A fresh head of a kind: "ep", "aim" or "capi"; drawn from torch's global generator."""
    if kind not in HEADS:
        raise ProbeError(f"No attentive head is called {kind!r}. {did_you_mean(kind, HEADS)}")
    if kind == "ep":
        return EfficientProbe(width, classes, queries=queries_for(width, queries))
    return AimProbe(width, classes) if kind == "aim" else CapiProbe(width, classes)


class Fit(NamedTuple):
    """A fitted head, its learning rate, and validation accuracy by rate."""

    head: AttentiveHead
    rate: float
    accuracy: dict[float, float]


def fit(
    kind: str,
    train: Callable[[int], Iterator[tuple[Tensor, Tensor]]],
    val: Callable[[], Iterator[tuple[Tensor, Tensor]]],
    *,
    width: int,
    classes: int,
    queries: int = QUERIES,
    rates: tuple[float, ...] = RATES,
    steps: int = STEPS,
    seed: int = 0,
    device: str = "cpu",
) -> Fit:
    """Fit a head at each learning rate, on the same batches from the same start; keep the best on validation images.

    Args:
        kind: "ep", "aim" or "capi".
        train: from a number of steps to that many (tokens (batch, patches, width), labels) batches. All rates see each
            batch, so tokens are read, or computed, once.
        val: all validation images, batch by batch.
        width, classes, queries: of the head.
        rates: learning rates; AdamW with weight decay 1e-3, linear warm-up over a tenth, cosine to 0.
        steps: batches.
        seed: of the start.
        device: where to fit.

    Returns:
        The best head in eval mode. Ties in accuracy go to the lower loss.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = head(kind, width, classes, queries=queries)
    heads = []
    for _ in rates:
        one = head(kind, width, classes, queries=queries)
        one.load_state_dict(first.state_dict())
        heads.append(one.to(device).train())

    def loss(place: int, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(heads[place](batch[0]), batch[1])

    fit_at_rates([list(one.parameters()) for one in heads], rates, train(steps), loss, steps=steps)
    scores = _scores([one.eval() for one in heads], val)
    if not np.isfinite([loss for _, loss in scores]).any():
        raise ProbeError(f"The attentive head {kind} diverged at every learning rate: the tokens may be of huge scale.")
    order = [(-accuracy, loss if math.isfinite(loss) else math.inf) for accuracy, loss in scores]
    best = min(range(len(rates)), key=lambda index: order[index])
    return Fit(heads[best], rates[best], {rate: score[0] for rate, score in zip(rates, scores, strict=True)})


@torch.inference_mode()
def _scores(
    heads: list[AttentiveHead], val: Callable[[], Iterator[tuple[Tensor, Tensor]]]
) -> list[tuple[float, float]]:
    """(accuracy, loss) of each head."""
    hits, losses, seen = [0] * len(heads), [0.0] * len(heads), 0
    for tokens, labels in val():
        seen += len(labels)
        for place, one in enumerate(heads):
            logits = one(tokens)
            hits[place] += int((logits.argmax(dim=1) == labels).sum())
            losses[place] += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
        del tokens  # the next ones are not read beside them
    return [(hit / seen, loss / seen) for hit, loss in zip(hits, losses, strict=True)]
