"""Several labels per image: a sigmoid head, and mean average precision.

The head is one logistic regression for each label on shared, standardised features, all fitted together by L-BFGS; the
penalty is chosen on validation images, one for all labels. Average precision is scikit-learn's (no interpolation); the
mean leaves out labels that no image has.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from probekit.errors import ProbeError
from probekit.measures import resample
from probekit.measures.linear import MEMORY_BYTES, Floats, Rows, Standardiser, checked

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse penalties that are tried: scikit-learn's C."""

STEPS = 200
"""Most steps of L-BFGS for one penalty."""


@dataclass(frozen=True)
class SigmoidHead:
    """A fitted head.

    Attributes:
        standardise: fitted on the training features.
        weights: (dims, labels); bias: (labels,).
        strength: the chosen inverse penalty.
    """

    standardise: Standardiser
    weights: Floats
    bias: Floats
    strength: float

    def logits(self, features: Rows) -> Floats:
        """(n, labels)."""
        return np.concatenate([rows @ self.weights + self.bias for _, rows in self.standardise.chunks(features)])


def checked_flags(targets: ArrayLike, n: int) -> NDArray[np.bool_]:
    """Targets as bool (n, labels), or a `ProbeError`."""
    array = np.asarray(targets)
    if array.ndim != 2 or len(array) != n or not np.isin(array, (0, 1)).all():
        raise ProbeError(f"Labels of shape {array.shape} for {n} images: expected True or False, (images, labels).")
    return array.astype(np.bool_)


def average_precision(targets: ArrayLike, scores: ArrayLike) -> Floats:
    """Average precision of each label, (labels,); NaN for a label that no image has.

    Args:
        targets: bool (n, labels).
        scores: (n, labels), the higher the likelier.
    """
    from sklearn.metrics import average_precision_score

    values = np.asarray(scores, dtype=np.float64)
    flags = checked_flags(targets, len(values))
    out = np.full(flags.shape[1], np.nan)
    for label in np.flatnonzero(flags.any(axis=0)):
        out[label] = average_precision_score(flags[:, label], values[:, label])
    return out


def mean_average_precision(targets: ArrayLike, scores: ArrayLike) -> float:
    """Mean of `average_precision` over the labels that some image has; NaN if there are none."""
    found = average_precision(targets, scores)
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def jackknife_interval(targets: ArrayLike, scores: ArrayLike, blocks: resample.Blocks) -> Floats:
    """Delete-a-block jackknife interval of the mean average precision, (2,).

    The labels are the same whichever block is left out: one that loses all its images with a block takes no part, since
    a mean over other labels would differ for that reason alone.

    Args:
        targets: bool (n, labels).
        scores: (n, labels), the higher the likelier.
        blocks: of the images (`resample.blocks`).

    Returns:
        Lower and upper end around the mean over all labels; NaN where no label has images in two blocks.
    """
    values = np.asarray(scores, dtype=np.float64)
    flags = checked_flags(targets, len(values))
    kept = [blocks.of_image != block for block in range(blocks.count)]
    left = np.stack([average_precision(flags[rows], values[rows]) for rows in kept], axis=-1)
    stays = np.isfinite(left).all(axis=-1)
    if not stays.any():
        return np.full(2, np.nan)
    whole = np.asarray(mean_average_precision(flags, values))
    return resample.jackknife_ends(whole, left[stays].mean(axis=0))


def sigmoid_head(
    train: Rows,
    targets: ArrayLike,
    val: Rows,
    val_targets: ArrayLike,
    *,
    strengths: Sequence[float] = STRENGTHS,
    device: str = "cpu",
    memory: int = MEMORY_BYTES,
) -> SigmoidHead:
    """Fit one logistic regression for each label, the penalty chosen by mean average precision on validation images.

    Args:
        train, val: features (n, d).
        targets, val_targets: bool (n, labels).
        strengths: inverse penalties, as scikit-learn's C: mean cross-entropy + |weights|² / (2 C n).
        device: where to fit.
        memory: bytes of standardised features (float64) that may be kept; more are read again at each evaluation.

    Raises:
        ProbeError: shapes that do not fit, NaN, or no label that a validation image has.
    """
    flags = checked_flags(targets, checked(train)[0])
    val_flags = checked_flags(val_targets, checked(val, "validation features")[0])
    if not val_flags.any():
        raise ProbeError("No validation image has any label: there is nothing to choose a penalty by.")
    standardise = Standardiser.of(train)
    table = Table(train, flags, standardise, device, memory)
    shape = train.shape[1] + 1, flags.shape[1]
    parameters = torch.zeros(shape, dtype=torch.float64, device=device, requires_grad=True)
    best: SigmoidHead | None = None
    score = -np.inf
    for strength in sorted(strengths):  # from strong penalties to weak ones, each from where the last one ended
        _descend(parameters, table, strength)
        found = parameters.detach().cpu().numpy()
        head = SigmoidHead(standardise, found[:-1].copy(), found[-1].copy(), strength)
        reached = mean_average_precision(val_flags, head.logits(val))
        if reached > score:
            best, score = head, reached
    assert best is not None
    return best


class Table:
    """Standardised features and targets, float64, in parts: kept if they fit in `memory`, else read again."""

    def __init__(
        self, features: Rows, flags: NDArray[np.bool_], standardise: Standardiser, device: str, memory: int
    ) -> None:
        self.features, self.flags, self.standardise, self.device = features, flags, standardise, device
        self._kept = list(self._read()) if 8 * len(flags) * features.shape[1] <= memory else None

    def __len__(self) -> int:
        return len(self.flags)

    def _read(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start, rows in self.standardise.chunks(self.features):
            wanted = self.flags[start : start + len(rows)].astype(np.float64)
            yield torch.from_numpy(rows).to(self.device), torch.from_numpy(wanted).to(self.device)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self._read() if self._kept is None else iter(self._kept)


def _descend(parameters: torch.Tensor, table: Table, strength: float) -> None:
    """Minimise the penalised cross-entropy in place."""
    optimiser = torch.optim.LBFGS(
        [parameters], max_iter=STEPS, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-9
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = parameters[:-1].square().sum() / (2 * strength * len(table))
        value.backward()
        whole = value.detach()
        for x, y in table:
            logits = x @ parameters[:-1] + parameters[-1]
            value = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum") / len(table)
            value.backward()
            whole = whole + value.detach()
        return whole

    with torch.enable_grad():
        optimiser.step(loss)
    if not torch.isfinite(parameters).all():
        warnings.warn("The sigmoid head did not converge: take its numbers with care.", RuntimeWarning, stacklevel=3)
