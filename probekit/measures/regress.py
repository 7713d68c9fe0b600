"""Ridge and kernel ridge regression of many targets, and R² that can be resampled.

One tridiagonal form of the features' covariance serves every penalty and every target. The penalty is chosen on
validation images, for each target column apart, and the numbers are reported on test images.

The nonlinear regressor is kernel ridge with a Gaussian kernel, restricted to functions spanned by landmarks (Nyström):
exact when every training image is a landmark, and linear in the number of images otherwise. Its width is the median
distance between landmarks times a factor chosen with the penalty. Distances are between standardised features, or
between whitened ones: those are the same for every invertible linear map of the features.

R² of a vector is variance-weighted, 1 - Σ residual² / Σ deviation² over all its dims, so that dims of next to no
variance do not decide it. A constant target has no R²: NaN, never 0 or 1.

Penalties are relative: mean squared error + penalty x |weights|², so that scikit-learn's alpha is penalty x n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from scipy.linalg import lapack
from scipy.spatial.distance import pdist

from probekit.errors import ProbeError, did_you_mean
from probekit.measures.linear import Floats, Ints, Rows, Standardised, Standardiser, checked, chunks
from probekit.measures.whitening import fit_whitening

PENALTIES = tuple(float(p) for p in np.logspace(-7, 2, 13))
LANDMARKS = 512
SCALES = (0.5, 1.0, 2.0)
INPUTS = ("standardised", "whitened")
"""What a kernel's distances can be between."""
FLOOR = 1e-10
"""Kernel eigenvalues below this share of the largest are left out: they are rounding."""
SAME = 1e-6
"""Distance, relative to the largest, up to which two images have the same features but for rounding."""
SEEN = 0.01
"""Share of the smallest penalty that rounding may reach."""
BLOCK, CACHED = 64, 128
"""Columns that LAPACK takes at once; rows of a kernel worked on at once, which stay in the processor's cache."""
CONSTANT = 1e-12
"""Variance, relative to the mean square, below which a target is constant."""


def checked_targets(targets: ArrayLike, n: int) -> Floats:
    """Targets as float64 (n, targets); a vector becomes one column; NaN is an error."""
    array = np.asarray(targets, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n:
        raise ProbeError(f"Targets of shape {array.shape} for {n} images, expected ({n}, targets).")
    if not np.isfinite(array).all():
        raise ProbeError("Targets hold NaN or infinity: leave those columns out.")
    return array


def checked_penalties(penalties: Sequence[float]) -> None:
    """A `ProbeError` unless there are some, all above 0."""
    if len(penalties) == 0 or not min(penalties) > 0:
        raise ProbeError(f"penalties={tuple(penalties)}: expected one or more numbers above 0.")


def ridge_path(gram: Floats, cross: Floats, penalties: Sequence[float]) -> Floats:
    """Ridge weights (gram + penalty)⁻¹ cross for every penalty: (penalties, d, targets).

    Householder's reflections bring the matrix to tridiagonal form once, gram = Q T Qᵀ; each penalty is then a
    tridiagonal system, which costs next to nothing. Eigenvectors would serve as well, at several times the cost.

    Args:
        gram: covariance of the features (d, d).
        cross: their covariance with the targets (d, targets).
        penalties: all above 0.
    """
    size, targets = cross.shape
    packed, diagonal, beside, scales, _ = lapack.dsytrd(gram, lower=1, lwork=BLOCK * size)

    def reflected(table: Floats, how: str) -> Floats:
        """Q table ("N") or Qᵀ table ("T"): LAPACK keeps Q below the diagonal, and it leaves the first row as it is."""
        if size == 1:
            return table
        rest = lapack.dormqr("L", how, packed[1:, :-1], scales, table[1:], BLOCK * table.shape[1])[0]
        return np.concatenate([table[:1], rest])

    rotated = reflected(cross, "T")
    band = np.zeros((3, size))
    band[0, 1:] = band[2, :-1] = beside
    solved = np.empty((size, len(penalties), targets))
    for i, penalty in enumerate(penalties):
        band[1] = diagonal + penalty
        solved[:, i] = linalg.solve_banded((1, 1), band, rotated, check_finite=False)
    found = reflected(solved.reshape(size, -1), "N").reshape(solved.shape)
    return np.ascontiguousarray(found.transpose(1, 0, 2))


def squared_errors(rows: Floats, path: Floats, targets: Floats) -> Floats:
    """Squared errors of all penalties' weights (penalties, d, targets), summed over rows: (penalties, targets)."""
    return np.stack([((rows @ weights - targets) ** 2).sum(axis=0) for weights in path])


def of_each_target(path: Floats, which: Ints) -> Floats:
    """The weights of each target's own penalty, (d, targets), of a path (penalties, d, targets)."""
    return np.asarray(np.take_along_axis(path, which[None, None], axis=0)[0])


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge regression. `penalty` holds the penalty chosen for each target, (targets,)."""

    standardise: Standardiser
    weights: Floats
    target_mean: Floats
    penalty: Floats

    def predict(self, features: Rows) -> Floats:
        """(n, targets)."""
        return np.concatenate([rows @ self.weights for _, rows in self.standardise.chunks(features)]) + self.target_mean


def moments(features: Rows, standardise: Standardiser, targets: Floats) -> tuple[Floats, Floats]:
    """Covariance of standardised features (d, d), and with centred targets (d, targets)."""
    n, dims = checked(features)
    gram, cross = np.zeros((dims, dims)), np.zeros((dims, targets.shape[1]))
    for start, table in standardise.chunks(features):
        gram += table.T @ table
        cross += table.T @ targets[start : start + len(table)]
    return gram / n, cross / n


def ridge(
    train: Rows,
    targets: ArrayLike,
    val: Rows,
    val_targets: ArrayLike,
    *,
    penalties: Sequence[float] = PENALTIES,
) -> Ridge:
    """Linear regression with an L2 penalty, chosen on validation images for each target.

    Args:
        train, val: features (n, d).
        targets, val_targets: (n, targets) or (n,).
        penalties: relative to the number of images: scikit-learn's alpha / n. All above 0.

    Raises:
        ProbeError: shapes that do not fit; NaN.
    """
    wanted = checked_targets(targets, checked(train)[0])
    val_wanted = checked_targets(val_targets, checked(val, "validation features")[0])
    checked_penalties(penalties)
    standardise, mean = Standardiser.of(train), wanted.mean(axis=0)
    path = ridge_path(*moments(train, standardise, wanted - mean), penalties)
    errors = np.zeros((len(penalties), wanted.shape[1]))
    for start, rows in standardise.chunks(val, "validation features"):
        errors += squared_errors(rows, path, val_wanted[start : start + len(rows)] - mean)
    best = errors.argmin(axis=0)
    return Ridge(standardise, of_each_target(path, best), mean, np.asarray(penalties)[best])


@dataclass(frozen=True)
class Kernel:
    """Gaussian kernel against landmarks (m, k), on standardised features, or on those times `matrix` (d, k)."""

    landmarks: Floats
    width: float
    matrix: Floats | None = None

    def __call__(self, rows: NDArray[np.floating]) -> Floats:
        """exp(-distance² / (2 width²)), (n, m), of standardised rows (n, d)."""
        return self.of(rows if self.matrix is None else rows @ self.matrix)

    def of(self, rows: NDArray[np.floating]) -> Floats:
        """The kernel of rows (n, k) in the landmarks' own coordinates."""
        scale, out = 1 / (2 * self.width**2), np.empty((len(rows), len(self.landmarks)))
        marks, far = self.landmarks.T * (2 * scale), (self.landmarks**2).sum(axis=1) * scale
        for start in range(0, len(rows), CACHED):
            part = rows[start : start + CACHED]
            table = part @ marks - (part**2).sum(axis=1)[:, None] * scale - far
            np.exp(np.minimum(table, 0), out=out[start : start + CACHED])
        return out


@dataclass(frozen=True)
class KernelRidge:
    """A fitted kernel ridge regression: for each width its kernel and weights (m, targets), zero for targets that chose
    another.

    `penalty`, `width` and `inputs` hold what was chosen for each target.
    """

    standardise: Standardiser
    kernels: tuple[Kernel, ...]
    weights: tuple[Floats, ...]
    offset: Floats
    penalty: Floats
    width: Floats
    inputs: tuple[str, ...]

    def predict(self, features: Rows) -> Floats:
        """(n, targets)."""
        pairs = list(zip(self.kernels, self.weights, strict=True))
        parts = [
            sum((kernel(rows) @ w for kernel, w in pairs), self.offset) for _, rows in self.standardise.chunks(features)
        ]
        return np.concatenate(parts)


def pick_landmarks(features: Rows, count: int, seed: int, order: ArrayLike | None = None) -> Floats:
    """Draw at most `count` rows without replacement; they keep their order.

    With `order` (n,), each number once, rows are sorted by it before they are drawn.
    """
    n, _ = checked(features)
    place = np.arange(n) if order is None else np.argsort(np.asarray(order), kind="stable")
    if place.shape != (n,):
        raise ProbeError(f"order of shape {place.shape} for {n} images, expected ({n},).")
    index = np.sort(place[np.random.default_rng(seed).permutation(n)[: min(count, n)]])
    return np.concatenate(
        [rows[index[(index >= at) & (index < at + len(rows))] - at] for at, rows in chunks(features, np.float64)]
    )


def kernels_on(
    kind: str, marks: Floats, scales: Sequence[float], train: Rows, standardise: Standardiser
) -> list[Kernel]:
    """Kernels of every width on one kind of inputs; `marks` are standardised landmarks (m, d)."""
    if kind not in INPUTS:
        raise ProbeError(f"inputs={kind!r} are unknown. {did_you_mean(kind, INPUTS)}")
    matrix = fit_whitening(Standardised(train, standardise)).matrix if kind == "whitened" else None
    marks = marks if matrix is None else marks @ matrix
    distances = pdist(marks)
    # Where features take few values, most distances can be zero, or rounding.
    apart = distances[distances > SAME * distances.max(initial=0.0)]
    if not apart.size:
        raise ProbeError("Features are constant: all images have the same ones, so nothing can be read from them.")
    middle = float(np.median(apart))
    return [Kernel(marks, middle * scale, matrix) for scale in scales]


def cholesky_root(square: Floats, penalties: Sequence[float]) -> Floats | None:
    """Cholesky factor of the landmarks' kernel; None if its rounding error is not small against the penalties."""
    root, failed = lapack.dpotrf(square, lower=1)
    if failed:
        return None
    share, _ = lapack.dpocon(root, np.abs(square).sum(axis=0).max(), uplo="L")  # smallest over largest eigenvalue
    exact = share > FLOOR and np.finfo(np.float64).eps / share < SEEN * min(penalties)
    return np.asarray(root) if exact else None


def eigen_whitener(square: Floats) -> Floats:
    """Eigenvectors of the landmarks' kernel over the roots of their eigenvalues, those above `FLOOR`: (m, rank)."""
    values, vectors = linalg.eigh(square)
    kept = values > FLOOR * values[-1]
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))


def kernel_path(
    kernel: Kernel, features: Rows, standardise: Standardiser, targets: Floats, penalties: Sequence[float]
) -> tuple[Floats, Floats]:
    """Kernel ridge for every penalty: weights of the landmarks (penalties, m, targets), and the kernel's mean row (m,).

    It is ridge in the features `kernel @ whitener`, where whitener whitenerᵀ is the inverse of the landmarks' kernel.
    Any such whitener gives the same predictions; that of Cholesky costs a tenth, and is applied to the sums alone.
    """
    square = kernel.of(kernel.landmarks)
    root = cholesky_root(square, penalties)
    whitener = None if root is not None else eigen_whitener(square)
    near, n, wanted = square.mean(axis=0), len(targets), targets - targets.mean(axis=0)
    rank = len(square) if whitener is None else whitener.shape[1]
    total, gram, cross = np.zeros(len(square)), np.zeros((rank, rank)), np.zeros((rank, targets.shape[1]))
    for start, rows in standardise.chunks(features):
        table = kernel(rows) - near  # what is summed is small where the centre is taken off before
        total += table.sum(axis=0)
        table = table if whitener is None else table @ whitener
        gram += table.T @ table
        cross += table.T @ wanted[start : start + len(rows)]
    shift = total / n if whitener is None else total / n @ whitener
    gram, cross = gram / n - np.outer(shift, shift), cross / n
    if whitener is not None:
        return np.asarray(whitener @ ridge_path(gram, cross, penalties)), near + total / n
    own = lapack.dsygst(gram, root, lower=1)[0]
    path = ridge_path(own, linalg.solve_triangular(root, cross, lower=True, check_finite=False), penalties)
    flat = path.transpose(1, 0, 2).reshape(rank, -1)
    back = linalg.solve_triangular(root, flat, lower=True, trans="T", check_finite=False)
    return back.reshape(rank, *path.shape[::2]).transpose(1, 0, 2), near + total / n


def kernel_ridge(
    train: Rows,
    targets: ArrayLike,
    val: Rows,
    val_targets: ArrayLike,
    *,
    landmarks: int = LANDMARKS,
    scales: Sequence[float] = SCALES,
    penalties: Sequence[float] = PENALTIES,
    inputs: Sequence[str] = INPUTS[:1],
    order: ArrayLike | None = None,
    seed: int = 0,
) -> KernelRidge:
    """Kernel ridge regression with a Gaussian kernel; inputs, width and penalty chosen on validation images for each
    target.

    Args:
        train, val, targets, val_targets, penalties: as in `ridge`.
        landmarks: images that span the functions; as many as there are training images make it exact.
        scales: widths to try, times the median distance between landmarks.
        inputs: what distances to try, of `INPUTS`. "whitened" needs two training images per dimension.
        order: (n,), what training images are sorted by before landmarks are drawn; None = as they come.
        seed: of the draw of landmarks.
    """
    wanted = checked_targets(targets, checked(train)[0])
    val_wanted = checked_targets(val_targets, checked(val, "validation features")[0])
    checked_penalties(penalties)
    standardise = Standardiser.of(train)
    marks = standardise(pick_landmarks(train, landmarks, seed, order))
    kernels = [kernel for kind in inputs for kernel in kernels_on(kind, marks, scales, train, standardise)]
    mean, count = wanted.mean(axis=0), len(penalties)
    paths = [kernel_path(kernel, train, standardise, wanted, penalties) for kernel in kernels]
    errors = np.zeros((len(kernels), count, wanted.shape[1]))
    for start, rows in standardise.chunks(val, "validation features"):
        for i, (kernel, (path, centre)) in enumerate(zip(kernels, paths, strict=True)):
            errors[i] += squared_errors(kernel(rows) - centre, path, val_wanted[start : start + len(rows)] - mean)
    best = errors.reshape(-1, wanted.shape[1]).argmin(axis=0)
    which, penalty = best // count, np.asarray(penalties)[best % count]
    weights = [of_each_target(path, best % count) * (which == i) for i, (path, _) in enumerate(paths)]
    offset = mean - sum(centre @ own for (_, centre), own in zip(paths, weights, strict=True))
    width = np.asarray([kernel.width for kernel in kernels])[which]
    chosen = tuple(inputs[place // len(scales)] for place in which.tolist())
    return KernelRidge(standardise, tuple(kernels), tuple(weights), offset, penalty, width, chosen)


def deviations(targets: Floats, predicted: Floats) -> tuple[Floats, Floats]:
    """Squared residuals and squared deviations from the mean (n, targets); both zero for constant targets."""
    if targets.shape != predicted.shape:
        raise ProbeError(
            f"Predictions of shape {predicted.shape} for targets of shape {targets.shape}: they must be equal."
        )
    residual, deviation = (targets - predicted) ** 2, (targets - targets.mean(axis=0)) ** 2
    varies = deviation.mean(axis=0) > CONSTANT * (targets**2).mean(axis=0)
    return residual * varies, deviation * varies


def r2_terms(targets: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    """Squared residual and squared deviation of each image, summed over targets: (n,) both. R² = 1 - Σ / Σ."""
    wanted = checked_targets(targets, len(np.asarray(targets)))
    residual, deviation = deviations(wanted, checked_targets(predicted, len(wanted)))
    return np.asarray(residual.sum(axis=1)), np.asarray(deviation.sum(axis=1))
