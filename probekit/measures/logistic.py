"""Multinomial logistic regression for a whole path of L2 penalties, to scikit-learn's optimum and several times faster.

Where features are many and classes separate, plain L-BFGS needs hundreds of steps. Three things save most of the work:

1. Its initial matrix is not a multiple of the identity but the inverse of `G + penalty`, where G is the covariance of
   the features weighted by how undecided the classifier is about each image (1 - Σp²): the Hessian averaged over
   classes. It is refreshed where steps go on for long, from a sample of images drawn by that weight. Corrections are
   kept across.
2. Penalties go from strong to weak, in groups that start from the last solution and from its G.
3. The logits of a group are one matrix product. Each member has its own step length and leaves when it has converged.

Features are read in row chunks; float32 products are summed in float64. They are kept in memory only if they fit in
`MEMORY_BYTES`, else read again in each step.

The objective is scikit-learn's, divided by C n: mean cross-entropy + |weights|² / (2 C n), the bias free. Two classes
have two weight vectors like any other number; scikit-learn then fits their difference alone, so its C is twice ours.
Optimiser: Nocedal, "Updating quasi-Newton matrices with limited storage", Math. Comp. 35, 1980.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probekit.errors import ProbeError
from probekit.measures.linear import Floats, Ints, Linear, Rows, Standardiser, checked, checked_labels, chunks

STRENGTHS = tuple(float(c) for c in np.logspace(-6, 3, 10))
"""Default inverse penalties (scikit-learn's C), one a decade, strongest penalty first."""
MEMORY_BYTES = 1 << 30
"""Standardised features up to this size are kept in memory."""
STATE_BYTES = 256 << 20
"""Most that the optimiser's state of a group may take."""
LOGIT_BYTES = 4 << 20
"""Logits worked on at a time."""
GROUP_COLUMNS = 16
"""Columns (penalties x classes) from which a matrix product is no longer limited by reading the features."""
HISTORY = 10
"""Corrections that L-BFGS remembers."""
PATIENCE = 8
"""Evaluations before the averaged Hessian is refreshed, at least."""
SAMPLE = 4
"""Images sampled for the averaged Hessian, per feature dimension."""
SUFFICIENT = 1e-4
"""Part of the promised decrease that a step must bring (Armijo)."""
ROUNDING = 2e-7
"""Relative rise of an objective that float32 logits may cause."""
SHORTEST = 1e-4
"""A step length below which only rounding is left."""


@dataclass(frozen=True)
class LogisticPath(Linear):
    """Solutions along the penalties; `settings` holds the strengths (scikit-learn's C).

    Args:
        objective: (settings,), mean cross-entropy + |weights|² / (2 C n).
        iterations: (settings,), accepted steps.
        converged: (settings,), whether the tolerance was reached.
    """

    objective: Floats
    iterations: Ints
    converged: NDArray[np.bool_]


class Problem:
    """Features and labels; loss, gradient and averaged Hessian. Points are (group, d + 1, classes), the bias last."""

    def __init__(self, features: Rows, labels: Ints, classes: int, device: str) -> None:
        self.n, self.dims = checked(features)
        self.classes, self.device = classes, torch.device(device)
        self.standardise = Standardiser.of(features)
        self._features = features
        self._labels = torch.from_numpy(labels).to(self.device)
        self._kept: list[Tensor] | None = None
        if self.n * self.dims * 4 <= MEMORY_BYTES:
            self._kept = list(self._read())

    def _read(self) -> Iterator[Tensor]:
        for _, rows in chunks(self._features):
            yield torch.from_numpy(self.standardise(rows)).float().to(self.device)

    def _logits(self, point: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Where in the data, rows (rows, d), logits (rows, group, classes)."""
        table = point[:, :-1].permute(1, 0, 2).reshape(self.dims, -1).float()
        bias = point[:, -1].reshape(-1).float()
        start, step = 0, max(256, LOGIT_BYTES // (4 * table.shape[1]))
        for rows in self._read() if self._kept is None else self._kept:
            for part in torch.split(rows, step):
                logits = torch.addmm(bias, part, table).view(len(part), len(point), self.classes)
                yield slice(start, start + len(part)), part, logits
                start += len(part)

    def evaluate(self, point: Tensor, penalties: Tensor) -> tuple[Tensor, Tensor]:
        """Objectives (group,) and their gradients (group, d + 1, classes), float64."""
        group, classes = len(point), self.classes
        loss = torch.zeros(group, dtype=torch.float64, device=self.device)
        slope = torch.zeros(group * classes, self.dims + 1, dtype=torch.float64, device=self.device)
        for where, rows, logits in self._logits(point):
            loss += residual_in_place(logits, self._labels[where])
            flat = logits.view(len(rows), -1)
            slope[:, :-1] += flat.T @ rows  # in this order: the other is ten times slower with some BLAS
            slope[:, -1] += flat.sum(dim=0, dtype=torch.float64)
        shrink = penalties[:, None, None] * point
        shrink[:, -1] = 0
        gradient = slope.view(group, classes, self.dims + 1).transpose(1, 2) / self.n + shrink
        return loss / self.n + 0.5 * (shrink * point).sum(dim=(1, 2)), gradient

    def indecision(self, point: Tensor) -> Tensor:
        """1 - Σp² of every image under every member, (group, n): the trace of its share of the Hessian."""
        parts = [1 - torch.softmax(logits, dim=-1).square_().sum(dim=-1) for _, _, logits in self._logits(point)]
        return torch.cat(parts).T.double()

    def curvature(self, point: Tensor) -> Curvature:
        """The Hessian averaged over classes: its shape for the whole group, its size for each member."""
        weights = self.indecision(point)
        sizes = weights.mean(dim=1) / self.classes
        chances = (weights / weights.sum(dim=1, keepdim=True)).mean(dim=0)
        count = SAMPLE * self.dims
        if self._kept is None or count < self.n:
            # Every 1/count-th of the cumulated chances: a draw without randomness, the same for any device.
            marks = (torch.arange(count, dtype=torch.float64, device=self.device) + 0.5) / count
            index = torch.searchsorted(torch.cumsum(chances, 0), marks).clamp_(max=self.n - 1)
            rows = self._pick(index)
            shape = rows.T @ rows / count
        else:
            rows = torch.cat(self._kept)
            shape = (rows.T * chances.float()) @ rows
        return Curvature(shape.double(), sizes)

    def _pick(self, index: Tensor) -> Tensor:
        """Rows of the standardised data by ascending index, repeats allowed."""
        parts, start = [], 0
        for rows in self._read() if self._kept is None else self._kept:
            inside = index[(index >= start) & (index < start + len(rows))] - start
            parts.append(rows[inside])
            start += len(rows)
        return torch.cat(parts)


@dataclass
class Curvature:
    """The averaged Hessian of the mean cross-entropy: `sizes[member] * shape`; shape is (d, d), sizes (group,)."""

    shape: Tensor
    sizes: Tensor


def residual_in_place(logits: Tensor, labels: Tensor) -> Tensor:
    """Turn logits (rows, group, classes) into probabilities minus one-hot; return the summed losses (group,)."""
    index = labels[:, None, None].expand(-1, logits.shape[1], 1)
    logits -= logits.amax(dim=-1, keepdim=True)
    own = logits.gather(2, index)[..., 0].sum(dim=0, dtype=torch.float64)
    logits.exp_()
    sums = logits.sum(dim=-1, keepdim=True)
    logits /= sums
    logits.scatter_add_(2, index, torch.full_like(index, -1, dtype=logits.dtype))
    return torch.log(sums[..., 0]).sum(dim=0, dtype=torch.float64) - own


class InverseHessian:
    """L-BFGS around the inverse of the averaged Hessian, in its compact form: a few batched products a direction.

    With S and Y the last steps and changes of slope (as columns), H0 the base and g its scale, the inverse Hessian is
    g H0 + [S, g H0 Y] [[R^-T (D + g Y'H0Y) R^-1, -R^-T], [-R^-1, 0]] [S, g H0 Y]', R the upper triangle of S'Y and D
    its diagonal (Byrd, Nocedal and Schnabel, 1994). Slots without a correction are zero, with 1 on R's diagonal.
    """

    def __init__(self, curvature: Curvature, penalties: Tensor, size: tuple[int, int]) -> None:
        group = len(penalties)
        self.penalties = penalties
        self.steps = torch.zeros(group, HISTORY, *size, dtype=torch.float64, device=penalties.device)
        self.changes, self.moved = torch.zeros_like(self.steps), torch.zeros_like(self.steps)
        self.refresh(curvature)

    def refresh(self, curvature: Curvature) -> None:
        """Take over a new averaged Hessian; corrections stay."""
        eye = torch.eye(len(curvature.shape), dtype=torch.float64, device=curvature.shape.device)
        sizes = curvature.sizes[:, None, None]
        self.factor = torch.linalg.cholesky(sizes * curvature.shape + self.penalties[:, None, None] * eye)
        self.bias_curvature = sizes
        group, history, rows, columns = self.changes.shape
        moved = self.base(self.changes.transpose(1, 2).reshape(group, rows, history * columns))
        self.moved = moved.view(group, rows, history, columns).transpose(1, 2).contiguous()

    def base(self, vector: Tensor) -> Tensor:
        """The inverse of averaged Hessian and penalty, applied to (group, d + 1, columns)."""
        weights = torch.cholesky_solve(vector[:, :-1], self.factor)
        return torch.cat([weights, vector[:, -1:] / self.bias_curvature], dim=1)

    def add(self, accepted: Tensor, step: Tensor, change: Tensor) -> None:
        """Remember corrections of members that accepted; those without positive curvature (rounding) are left out."""
        good = accepted & (dot(step, change) > 1e-14 * dot(change, change))
        moved = self.base(change)
        for name, new in (("steps", step), ("changes", change), ("moved", moved)):
            store = getattr(self, name)
            rolled = torch.cat([store[:, 1:], new[:, None]], dim=1)
            setattr(self, name, rolled if bool(good.all()) else torch.where(spread(good)[..., None], rolled, store))

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the approximate inverse Hessian times the gradient, (group, d + 1, classes)."""
        steps, changes, moved = (x.flatten(2) for x in (self.steps, self.changes, self.moved))
        slope = gradient.flatten(1)[..., None]
        products = steps @ changes.transpose(1, 2)
        diagonal = products.diagonal(dim1=1, dim2=2)
        inner = changes @ moved.transpose(1, 2)
        latest = inner[:, -1, -1]
        scale = torch.where(latest > 0, diagonal[:, -1] / latest.clamp(min=1e-300), torch.ones_like(latest))
        upper = products.triu() + torch.diag_embed((diagonal == 0).to(products.dtype))
        along = torch.linalg.solve_triangular(upper, steps @ slope, upper=True)
        middle = torch.diag_embed(diagonal) @ along + spread(scale) * (inner @ along - moved @ slope)
        first = torch.linalg.solve_triangular(upper.transpose(1, 2), middle, upper=False)
        weighted = steps.transpose(1, 2) @ first - spread(scale) * (moved.transpose(1, 2) @ along)
        return torch.neg(spread(scale) * self.base(gradient) + weighted.view_as(gradient))

    def keep(self, members: Tensor) -> None:
        """Forget all but these members."""
        for name in ("steps", "changes", "moved", "penalties", "factor", "bias_curvature"):
            setattr(self, name, getattr(self, name)[members])


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of the members, (group,)."""
    product: Tensor = torch.linalg.vecdot(a.flatten(1), b.flatten(1))
    return product


def spread(factors: Tensor) -> Tensor:
    """(group,) to (group, 1, 1)."""
    return factors[:, None, None]


class Descent:
    """A group of penalties on the way down. Every member has its own step length; who has converged can leave."""

    def __init__(
        self, problem: Problem, penalties: Tensor, start: Tensor, curvature: Curvature, tolerance: float
    ) -> None:
        self.problem, self.tolerance, self.penalties, self.point = problem, tolerance, penalties, start
        self.value, self.slope = problem.evaluate(start, penalties)
        self.length, self.quiet = torch.ones_like(self.value), torch.zeros_like(self.value)
        self.inverse = InverseHessian(curvature, penalties, (start.shape[1], start.shape[2]))
        self._aim()

    def _aim(self) -> None:
        """New directions, and how steeply each goes down (negative)."""
        self.direction = self.inverse.direction(self.slope)
        self.descent = dot(self.slope, self.direction)

    def step(self) -> tuple[Tensor, Tensor]:
        """One evaluation of all members. Returns which accepted their step, and which are done."""
        trial = self.point + spread(self.length) * self.direction
        value, slope = self.problem.evaluate(trial, self.penalties)
        drop = self.length * self.descent
        accepted = value <= self.value + SUFFICIENT * drop + ROUNDING * self.value.abs()
        self.inverse.add(accepted, trial - self.point, slope - self.slope)
        gained = self.value - value
        # The minimum of the parabola through both values and the slope, kept between a tenth and a half.
        shorter = (-0.5 * drop / (-gained - drop)).nan_to_num(0.1).clamp(0.1, 0.5) * self.length
        self.point = torch.where(spread(accepted), trial, self.point)
        self.slope = torch.where(spread(accepted), slope, self.slope)
        self.value = torch.where(accepted, value, self.value)
        self._aim()
        self.length = torch.where(accepted, torch.ones_like(shorter), shorter)
        # Two signs of the end: the quadratic model promises nothing more, or two steps running brought nothing.
        small = self.tolerance * self.value.abs()
        self.quiet = torch.where(accepted & (gained >= small), 0.0, self.quiet + accepted)
        done = accepted & ((-0.5 * self.descent < small) | (self.quiet >= 2))
        return accepted, done | (self.length < SHORTEST)

    def refresh(self) -> Curvature:
        """Take the averaged Hessian where the members are now."""
        curvature = self.problem.curvature(self.point)
        self.inverse.refresh(curvature)
        self._aim()
        return curvature

    def keep(self, members: Tensor) -> None:
        """Go on with these members only."""
        for name in ("penalties", "point", "value", "slope", "length", "quiet", "direction", "descent"):
            setattr(self, name, getattr(self, name)[members])
        self.inverse.keep(members)


def minimise(
    problem: Problem, penalties: Tensor, start: Tensor, curvature: Curvature, tolerance: float, max_iterations: int
) -> tuple[tuple[Tensor, ...], Curvature]:
    """((points, objectives, accepted steps, converged or not) of a group, the averaged Hessian last used)."""
    group = len(penalties)
    points = start.clone()
    objective = torch.zeros(group, dtype=torch.float64, device=start.device)
    iterations = torch.zeros(group, dtype=torch.int64, device=start.device)
    converged = torch.zeros(group, dtype=torch.bool, device=start.device)
    alive = torch.arange(group, device=start.device)
    descent = Descent(problem, penalties, start, curvature, tolerance)
    # A refresh costs as much as this many evaluations: it must wait at least as long.
    price = min(SAMPLE * problem.dims, problem.n) * problem.dims / (2 * problem.n * group * problem.classes)
    patience = age = max(PATIENCE, round(price))
    for _ in range(max_iterations):
        accepted, done = descent.step()
        iterations[alive] += accepted
        points[alive], objective[alive], converged[alive] = descent.point, descent.value, done
        if bool(done.all()):
            break
        if bool(done.any()):
            alive = alive[~done]
            descent.keep(~done)
        age -= 1
        if age <= 0:
            curvature, age = descent.refresh(), patience
    return (points, objective, iterations, converged), curvature


def group_size(dims: int, classes: int) -> int:
    """Penalties solved together: enough columns for a fast product, few enough for the optimiser's state."""
    member = 8 * ((4 * HISTORY + 8) * (dims + 1) * classes + 2 * dims**2)
    return max(1, min(STATE_BYTES // member, -(-GROUP_COLUMNS // classes)))


def fit_logistic(
    features: Rows,
    labels: NDArray[Any],
    *,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
    validation: tuple[Rows, NDArray[Any]] | None = None,
    device: str = "cpu",
) -> LogisticPath:
    """Multinomial logistic regression with L2 penalty, for every strength.

    Args:
        features: (n, d); an array, memmap or zarr array. Standardised inside.
        labels: whole numbers (n,) in 0..classes-1.
        classes: number of classes (classes without an image are allowed).
        strengths: inverse penalties, scikit-learn's C; any order.
        tolerance: relative decrease of the objective that is no longer worth a step. The default lets no test image
            change its class when images come in another order, and costs a third more steps than 1e-6.
        max_iterations: evaluations of loss and gradient per group; who has not converged by then is marked so.
        validation: features and labels to stop the path by: strengths are left out, and so missing from `settings`,
            once two running have been worse than the best (see `hopeless`).
        device: where to compute.

    Raises:
        ProbeError: NaN in the features, labels out of range, one class only, fewer images than classes, a strength <=
            0.
    """
    n, dims = checked(features)
    targets = checked_labels(labels, n, classes)
    if len(strengths) == 0 or min(strengths) <= 0:
        raise ProbeError(f"strengths={tuple(strengths)}: expected one or more inverse penalties above 0.")
    problem = Problem(features, targets, classes, device)
    order = np.argsort(np.asarray(strengths, dtype=np.float64), kind="stable")
    penalties = 1 / (n * torch.tensor([strengths[i] for i in order], dtype=torch.float64, device=problem.device))
    last = torch.zeros(1, dims + 1, classes, dtype=torch.float64, device=problem.device)
    curvature = problem.curvature(last)
    found: list[tuple[Tensor, ...]] = []
    accuracies: list[float] = []
    for group in torch.split(penalties, group_size(dims, classes)):
        start = last.expand(len(group), -1, -1).clone()
        curvature = Curvature(curvature.shape, curvature.sizes[-1:].expand(len(group)))
        result, curvature = minimise(problem, group, start, curvature, tolerance, max_iterations)
        last = result[0][-1:]
        found.append(result)
        if validation is not None:
            points = result[0].cpu().numpy()
            heads = Linear(problem.standardise, points[:, :-1], points[:, -1], ())
            accuracies += heads.accuracies(validation[0], np.asarray(validation[1])).tolist()
            if hopeless(accuracies, validation[0].shape[0]):
                break
    points, *rest = (torch.cat(column).cpu().numpy() for column in zip(*found, strict=True))
    solved = order[: len(points)]  # strongest penalties first; given back in the order they were asked for
    back = np.argsort(solved)
    settings = tuple(float(strengths[i]) for i in np.sort(solved))
    return LogisticPath(
        problem.standardise, points[back, :-1], points[back, -1], settings, *(column[back] for column in rest)
    )


def hopeless(accuracies: Sequence[float], n: int) -> bool:
    """Whether the last two of accuracies on n images are both worse than the best, by half of its standard error.

    Accuracy along the path rises and falls once but for noise, and the noise of neighbours on the same images is small:
    who is behind twice running is past the best. The weakest penalties, left out so, are the costliest.
    """
    best = max(accuracies)
    bound = best - 0.5 * (best * (1 - best) / n) ** 0.5
    return len(accuracies) > 2 and max(accuracies[-2:]) < bound
