"""Multinomial logistic regression for a whole path of L2 penalties, to scikit-learn's optimum and several times faster.

Where features are many and correlated, plain L-BFGS needs hundreds of steps. Three things save nearly all of them:

1. It works in the principal axes of the features, where the Hessian is close to diagonal: the class's mean p(1 - p)
   times the axis's variance, plus the penalty. That diagonal is its initial matrix, taken anew now and then.
2. Penalties go from strong to weak in one descent. What it has learned of the curvature of the cross-entropy holds
   for any penalty, so corrections are kept without the penalty's part, which is added back exactly.
3. Where validation images choose the penalty, the path need not be exact: it is solved to a small part of the loss of
   guessing, and only the penalty that wins is solved to the end.

`cross_entropy` has the loss and its gradient. Nothing is drawn: results differ by rounding alone when images come in
another order.

The objective is scikit-learn's, divided by C n: mean cross-entropy + |weights|² / (2 C n), the bias free. Two classes
have two weight vectors like any other number; scikit-learn then fits their difference alone, so its C is twice ours.
Optimiser: Nocedal, "Updating quasi-Newton matrices with limited storage", Math. Comp. 35, 1980.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probekit.errors import ProbeError
from probekit.measures.cross_entropy import Problem, State
from probekit.measures.linear import (
    MEMORY_BYTES,
    Floats,
    Ints,
    Linear,
    Rows,
    checked,
    checked_labels,
    label_numbers,
    same_dims,
)

STRENGTHS = tuple(float(c) for c in np.logspace(-6, 3, 10))
"""Default inverse penalties (scikit-learn's C), one a decade, strongest penalty first."""
PATH_TOLERANCE = 3e-4
"""Decrease of the objective that is not worth a step where validation images choose, in losses of guessing."""
HISTORY = 10
"""Corrections that L-BFGS remembers."""
PATIENCE = 10
"""Steps before the diagonal is taken anew."""
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
        iterations: (settings,), evaluations of loss and gradient.
        converged: (settings,), whether `tolerance` was reached; with validation images, only of the best ones.
        val_accuracy: (settings,), top-1 on the validation images; empty without them.
        chosen: index of the strength of the highest accuracy, which is solved to the end; None without validation
            images.
    """

    objective: Floats
    iterations: Ints
    converged: NDArray[np.bool_]
    val_accuracy: Floats
    chosen: int | None


def quasi_newton(gradient: Tensor, steps: Tensor, changes: Tensor, inverse: Tensor) -> Tensor:
    """The L-BFGS direction from corrections (history, size), oldest first, in its compact form: a few products.

    With S and Y the last steps and changes of slope (as columns), H the diagonal `inverse` and g its scale, the inverse
    Hessian is g H + [S, g H Y] [[R^-T (D + g Y'HY) R^-1, -R^-T], [-R^-1, 0]] [S, g H Y]', R the upper triangle of S'Y
    and D its diagonal (Byrd, Nocedal and Schnabel, 1994).
    """
    if len(steps) == 0:
        return -inverse * gradient
    moved = changes * inverse
    products, inner = steps @ changes.T, changes @ moved.T
    diagonal, upper = products.diagonal()[:, None], products.triu()
    scale = diagonal[-1] / inner[-1, -1]
    along = torch.linalg.solve_triangular(upper, (steps @ gradient)[:, None], upper=True)
    middle = diagonal * along + scale * (inner @ along - (moved @ gradient)[:, None])
    first = torch.linalg.solve_triangular(upper.T, middle, upper=False)
    direction: Tensor = scale * (moved.T @ along[:, 0] - inverse * gradient) - steps.T @ first[:, 0]
    return direction


class Solution(NamedTuple):
    """Where a descent ended, its objective, the evaluations it took, and whether the tolerance was reached."""

    state: State
    objective: float
    evaluations: int
    converged: bool


class Descent:
    """L-BFGS whose corrections serve one penalty after another."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.steps = torch.zeros(0, problem.classes * (problem.dims + 1), dtype=torch.float64, device=problem.device)
        self.changes = self.steps  # of the slope of the cross-entropy alone

    def solve(self, state: State, penalty: float, tolerance: float, least: float, limit: int) -> Solution:
        """Go down, a step at least, until none is worth `tolerance` of the objective, or of `least` if that is more."""
        ridge = torch.full_like(state.point, penalty)
        ridge[:, -1] = 0
        objective = penalised(state, ridge)
        evaluations, quiet, converged, length = 0, 0, False, 1.0
        while evaluations < limit:
            if evaluations % PATIENCE == 0:
                inverse = (1 / (state.curvature * self.problem.variances + ridge)).flatten()
            gradient = torch.addcmul(state.slope, ridge, state.point).flatten()
            changes = torch.addcmul(self.changes, ridge.flatten(), self.steps)
            direction = quasi_newton(gradient, self.steps, changes, inverse)
            descent = float(gradient @ direction)
            if descent >= 0:  # rounding in the corrections
                self.steps = self.changes = self.steps[:0]
                direction = -inverse * gradient
                descent = float(gradient @ direction)
            small = tolerance * max(objective, least)
            # Signs of the end: the model promises nothing more, two steps running brought nothing, rounding is left.
            converged = evaluations > 0 and (-0.5 * descent < small or quiet >= 2 or length < SHORTEST)
            if converged:
                break
            new, reached, length, tried = self._search(state, objective, direction, descent, ridge)
            self._remember(state, new)
            quiet = quiet + 1 if objective - reached < small else 0
            state, objective, evaluations = new, reached, evaluations + tried
        return Solution(state, objective, evaluations, converged)

    def _search(
        self, state: State, objective: float, direction: Tensor, descent: float, ridge: Tensor
    ) -> tuple[State, float, float, int]:
        """As far along a direction as it brings enough: the state there, its objective, the step's length,
        evaluations."""
        length, tried = 1.0, 1
        while True:
            new = self.problem.evaluate(torch.add(state.point, direction.view_as(ridge), alpha=length))
            reached = penalised(new, ridge)
            drop, gained = length * descent, objective - reached
            if gained >= -SUFFICIENT * drop - ROUNDING * objective:
                return new, reached, length, tried
            if length < SHORTEST:
                return state, objective, length, tried
            # The minimum of the parabola through both values and the slope, kept between a tenth and a half.
            length *= min(0.5, max(0.1, 0.5 * drop / (gained + drop)))
            tried += 1

    def _remember(self, old: State, new: State) -> None:
        step, change = (new.point - old.point).flatten(), (new.slope - old.slope).flatten()
        if float(step @ change) > 1e-14 * float(change @ change):  # else rounding has hidden the curvature
            self.steps = torch.cat([self.steps[1 - HISTORY :], step[None]])
            self.changes = torch.cat([self.changes[1 - HISTORY :], change[None]])


def penalised(state: State, ridge: Tensor) -> float:
    """The objective: loss and penalty."""
    return state.loss + 0.5 * float((ridge * state.point * state.point).sum())


def fit_logistic(
    features: Rows,
    labels: NDArray[Any],
    *,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
    tolerance: float = 1e-7,
    max_iterations: int = 1000,
    validation: tuple[Rows, NDArray[Any]] | None = None,
    device: str = "cpu",
    memory: int = MEMORY_BYTES,
) -> LogisticPath:
    """Multinomial logistic regression with L2 penalty, for every strength.

    Args:
        features: (n, d); an array, memmap or zarr array. Standardised inside.
        labels: whole numbers (n,) in 0..classes-1.
        classes: number of classes (classes without an image are allowed).
        strengths: inverse penalties, scikit-learn's C; any order.
        tolerance: relative decrease of the objective that is no longer worth a step.
        max_iterations: evaluations of loss and gradient per strength; what has not converged by then is marked so.
        validation: features and labels to choose by: the path is solved loosely (`PATH_TOLERANCE`), then the strength
            of the highest accuracy (of equals the strongest penalty) to `tolerance`, until that one is the best.
        device: where to compute.
        memory: bytes of features that may be kept; more are read again at each evaluation, to the same numbers.

    Raises:
        ProbeError: NaN in the features, labels out of range, one class only, fewer images than classes, a strength <=
            0 or not finite.
    """
    n, _ = checked(features)
    targets = checked_labels(labels, n, classes)
    if len(strengths) == 0 or not all(0 < strength < math.inf for strength in strengths):
        raise ProbeError(f"strengths={tuple(strengths)}: expected one or more inverse penalties above 0.")
    problem = Problem(features, targets, classes, device, memory)
    descent, state = Descent(problem), problem.start()
    found: dict[float, Solution] = {}
    if validation is None:
        for strength in sorted(float(c) for c in strengths):
            found[strength] = descent.solve(state, 1 / (strength * n), tolerance, 0, max_iterations)
            state = found[strength].state
        return collected(problem, strengths, found)
    judge = Judge(problem, *validation)
    for strength in sorted(float(c) for c in strengths):
        loose = descent.solve(state, 1 / (strength * n), PATH_TOLERANCE, float(np.log(classes)), max_iterations)
        found[strength], state = loose._replace(converged=False), loose.state
        judge.see(strength, state)
    chosen = polish(descent, found, judge, tolerance, max_iterations)
    return collected(problem, strengths, found, judge.accuracies, chosen)


class Judge:
    """Top-1 accuracy on validation images, by strength."""

    def __init__(self, problem: Problem, features: Rows, labels: NDArray[Any]) -> None:
        same_dims(features, problem.dims, "features")
        numbers = label_numbers(labels, features.shape[0], problem.classes)
        self.accuracies: dict[float, float] = {}
        self._problem, self._table = problem, problem.table(features)
        self._labels = torch.from_numpy(numbers).to(problem.device)

    def see(self, strength: float, state: State) -> None:
        self.accuracies[strength] = self._problem.accuracy(state.point, self._table, self._labels)


def polish(descent: Descent, found: dict[float, Solution], judge: Judge, tolerance: float, limit: int) -> float:
    """Solve the best of a loose path to the end; if another is the best then, that one too. Returns the best strength,
    of equals the strongest penalty."""
    done = set[float]()
    while (best := max(judge.accuracies, key=judge.accuracies.__getitem__)) not in done:  # the first of equals
        loose = found[best]
        tight = descent.solve(loose.state, 1 / (best * descent.problem.n), tolerance, 0, limit)
        found[best] = tight._replace(evaluations=loose.evaluations + tight.evaluations)
        judge.see(best, tight.state)
        done.add(best)
    return best


def collected(
    problem: Problem,
    strengths: Sequence[float],
    found: dict[float, Solution],
    accuracies: dict[float, float] | None = None,
    chosen: float | None = None,
) -> LogisticPath:
    """The solutions in the order of `strengths`."""
    settings = [float(strength) for strength in strengths]
    solutions = [found[strength] for strength in settings]
    weights = np.stack([problem.weights(solution.state.point) for solution in solutions])
    _, objective, evaluations, converged = zip(*solutions, strict=True)
    return LogisticPath(
        problem.standardise, weights[:, :-1], weights[:, -1], tuple(settings),
        np.array(objective), np.array(evaluations), np.array(converged),
        np.array([accuracies[strength] for strength in settings] if accuracies else []),
        None if chosen is None else settings.index(chosen),
    )  # fmt: skip
