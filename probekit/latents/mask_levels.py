"""What Theorem 1 expects of a mask distribution: which levels c touches, how high it is, and what binds the two sides.

Masks come from `probekit.masking`, the code that training uses. Every figure is a Monte Carlo mean over masks, with the
interval of that mean; nothing is trained here.

On a quadtree whose mask units are the leaves, every member of c is the parent of a unit, so c's mean height cannot move
with the ratio, only with the patch size. What moves is the *binding level*: for a hidden observable, the height of its
lowest ancestor with a visible descendant, the lowest thing from which the visible side says anything about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from probekit import masking
from probekit.checks import instance, number, whole
from probekit.errors import MaskError
from probekit.latents.graph import Bits, LatentGraph
from probekit.latents.nodes import GraphError
from probekit.measures import resample

CHUNK = 2_000_000
"""Array elements (masks x edges) in work at once."""

Z = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""

VARIABLES: dict[str, tuple[str, str]] = {
    "touched": ("Share of masks whose c has a member of this height", "1"),
    "level_share": ("Mean share of c's members at this height, over masks with a c", "1"),
    "binding_share": ("Share of hidden observables whose binding level this is", "1"),
    "mean_height": ("Mean height of c's members, over masks with a c", "levels"),
    "binding_level": ("Height of a hidden observable's lowest ancestor with a visible descendant", "levels"),
    "dimension": ("Dimension of c as vectors", "dimensions"),
    "intrinsic_dimension": ("Intrinsic dimension of c: noise of c and its ancestors", "dimensions"),
    "high_level": ("Share of masks whose c is purely high-level", "1"),
    "empty": ("Share of masks whose c is empty", "1"),
}
"""Name -> (what it is, units)."""

PER_LEVEL = ("touched", "level_share", "binding_share")
PROPORTIONS = ("touched", "high_level", "empty")


def expected_levels(
    graph: LatentGraph,
    mask_ratio: float | Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9),
    patch_size: int | Sequence[int] = (1,),
    *,
    n_masks: int = 2000,
    seed: int = 0,
    strategy: str = "random",
    observable_size: int = 1,
    high: int | None = None,
) -> xr.Dataset:
    """Theorem 1 over a distribution of masks.

    Args:
        graph: the graph. Observables named ("x", row, column) that fill a grid in raster order (`LatentGraph.quadtree`)
            are masked in square units; those of other graphs in runs of consecutive ones.
        mask_ratio: share or shares of the units to hide.
        patch_size: side or sides of the mask unit, in `observable_size`; on other graphs the observables in a run.
            A run at the end may be shorter.
        n_masks: masks drawn for each pair of ratio and patch size.
        seed: of the masks; one pair's masks do not depend on the other pairs asked for.
        strategy: as in `masking.sample_hidden`.
        observable_size: side of an observable in the unit of `patch_size` (the leaf's side in pixels, for sizes in
            pixels).
        high: least height that counts as high-level. Default: the upper half, heights above half of the graph's.

    Returns:
        Dataset over (mask_ratio, patch_size), and level (height 1..H) where it is per level: those of `VARIABLES`,
        each with a twin `<name>_ci` (bound: lower, upper), and `real_ratio`, the share of observables really hidden.
        The intervals are of the Monte Carlo mean at 95 %: Wilson's for shares of masks, normal for the other means.

    Raises:
        MaskError: a ratio or a patch size that no mask can have.
        GraphError: a graph without latents, or fewer than two masks.

    Example:
        >>> from probekit.latents import LatentGraph
        >>> ds = expected_levels(LatentGraph.quadtree(3), [0.5, 0.75], n_masks=200)
        >>> dict(ds.mean_height.sizes)
        {'mask_ratio': 2, 'patch_size': 1}
    """
    instance("graph", graph, LatentGraph, "a LatentGraph, such as LatentGraph.quadtree(4)", error=GraphError)
    if not graph.latents or n_masks < 2:
        raise GraphError(f"expected_levels needs a latent and two masks or more; got {graph!r}, n_masks={n_masks}.")
    least = graph.height // 2 + 1 if high is None else high
    ratios = np.array([number("mask_ratio", one, error=MaskError) for one in np.atleast_1d(mask_ratio).tolist()])
    sizes = np.array([whole("patch_size", one, error=MaskError) for one in np.atleast_1d(patch_size).tolist()])
    shape = len(ratios), len(sizes)
    values = {name: np.full((*shape, *_levels(graph, name)), np.nan) for name in VARIABLES}
    bounds = {name: np.full((*array.shape, 2), np.nan) for name, array in values.items()}
    real = np.full(shape, np.nan)
    how: dict[str, Any] = {"strategy": strategy, "seed": seed, "observable_size": observable_size}
    for at in np.ndindex(shape):
        ratio, size = float(ratios[at[0]]), int(sizes[at[1]])
        hidden = sample_masks(graph, n_masks, mask_ratio=ratio, patch_size=size, **how)
        real[at] = hidden.mean()
        for name, per_mask in describe(graph, hidden, high=least).items():
            values[name][at], bounds[name][at] = _mean(per_mask, proportion=name in PROPORTIONS)
    return _dataset(
        graph, values, bounds, real, ratios, sizes, n_masks=n_masks, seed=seed, strategy=strategy, high=least
    )


def sample_masks(
    graph: LatentGraph,
    n: int,
    *,
    mask_ratio: float,
    patch_size: int,
    seed: int,
    strategy: str = "random",
    observable_size: int = 1,
) -> Bits:
    """Masks on a graph's observables from `probekit.masking`: bool (n, observables), True = hidden.

    Arguments as in `expected_levels`.
    """
    generator = torch.Generator().manual_seed(_seed(seed, mask_ratio, patch_size))
    grid = observable_grid(graph)
    if grid is not None:
        hidden, _ = masking.sample_hidden(
            n,
            grid,
            mask_ratio=mask_ratio,
            patch_size=patch_size,
            vit_patch_size=observable_size,
            strategy=strategy,
            generator=generator,
        )
        return np.asarray(hidden.numpy(), dtype=bool)
    runs = 1, -(-len(graph.observables) // patch_size)
    hidden, _ = masking.sample_hidden(
        n, runs, mask_ratio=mask_ratio, patch_size=1, vit_patch_size=1, strategy=strategy, generator=generator
    )
    whole = masking.expand(hidden, runs, (1, runs[1] * patch_size)).numpy()
    return np.asarray(whole[:, : len(graph.observables)], dtype=bool)


def observable_grid(graph: LatentGraph) -> masking.Grid | None:
    """(rows, columns) of observables named ("x", row, column) that fill a grid in raster order; None otherwise."""
    names = [node for node in graph.observables if isinstance(node, tuple) and len(node) == 3]
    if len(names) < len(graph.observables):
        return None
    rows, columns = len({name[1] for name in names}), len({name[2] for name in names})
    raster = [(row, column) for row in range(rows) for column in range(columns)]
    return (rows, columns) if [name[1:] for name in names] == raster else None


def describe(graph: LatentGraph, hidden: ArrayLike, *, high: int) -> dict[str, NDArray[np.float64]]:
    """The quantities of `VARIABLES` for each mask: (masks,) or (masks, levels 1..H); NaN where a mask has none.

    Args:
        graph: the graph.
        hidden: bool (masks, observables).
        high: least height that counts as high-level.
    """
    matrix = np.atleast_2d(np.asarray(hidden, dtype=bool))
    step = max(CHUNK // max(len(graph.parent_index), 1), 8)
    parts = [_describe(graph, matrix[start : start + step], high) for start in range(0, len(matrix), step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in VARIABLES}


def _describe(graph: LatentGraph, hidden: Bits, high: int) -> dict[str, NDArray[np.float64]]:
    shared, mixed = graph.shared_many(hidden), graph.mixed(hidden)
    latents, levels = len(graph.latents), np.arange(1, graph.height + 1)
    heights = graph.heights[:latents]
    members = np.stack([shared[:, heights == level].sum(1) for level in levels], axis=1).astype(float)
    count = members.sum(1)
    some = np.where(count > 0, count, np.nan)
    bound = binding_levels(graph, hidden, mixed)
    with_level = np.stack([(bound == level).sum(1) for level in levels], axis=1).astype(float)
    found = np.where(with_level.sum(1) > 0, with_level.sum(1), np.nan)
    return {
        "touched": (members > 0).astype(float),
        "level_share": members / some[:, None],
        "binding_share": with_level / found[:, None],
        "mean_height": members @ levels / some,
        "binding_level": with_level @ levels / found,
        "dimension": shared @ graph.dims[:latents].astype(float),
        "intrinsic_dimension": mixed @ graph.noise_dims.astype(float),
        "high_level": ((count > 0) & (members[:, levels < high].sum(1) == 0)).astype(float),
        "empty": (count == 0).astype(float),
    }


def binding_levels(graph: LatentGraph, hidden: Bits, mixed: Bits | None = None) -> NDArray[np.int64]:
    """For each hidden observable the height of its lowest ancestor with a visible descendant.

    Args:
        graph: the graph.
        hidden: bool (masks, observables).
        mixed: `graph.mixed(hidden)`, if already there.

    Returns:
        int (masks, observables): the height; 0 where the observable is visible, or nothing binds it.
    """
    mixed = graph.mixed(hidden) if mixed is None else mixed
    none = graph.height + 1
    lowest = np.where(mixed, graph.heights, none)
    # From the top down: a mixed node's ancestors are mixed and higher, so only the others look up to their parents.
    for height in range(graph.height - 1, -1, -1):
        inside = graph.at_height(height)
        nodes = np.arange(inside.start, inside.stop)
        nodes = nodes[graph.parent_start[nodes] < graph.parent_start[nodes + 1]]
        if not nodes.size:
            continue
        spans = [np.arange(graph.parent_start[node], graph.parent_start[node + 1]) for node in nodes]
        rows = np.cumsum([0, *(len(span) for span in spans[:-1])])
        above = np.minimum.reduceat(lowest[:, graph.parent_index[np.concatenate(spans)]], rows, axis=1)
        lowest[:, nodes] = np.where(mixed[:, nodes], lowest[:, nodes], above)
    bound = lowest[:, len(graph.latents) :]
    return np.where(np.asarray(hidden, dtype=bool) & (bound < none), bound, 0)


def _seed(seed: int, mask_ratio: float, patch_size: int) -> int:
    state = np.random.SeedSequence([seed, round(mask_ratio * 1e9), patch_size]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def _levels(graph: LatentGraph, name: str) -> tuple[int, ...]:
    return (graph.height,) if name in PER_LEVEL else ()


def _mean(per_mask: NDArray[np.float64], *, proportion: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over masks (NaN left out) and its 95 % interval, last axis: Wilson's for shares of masks, else normal."""
    valid = ~np.isnan(per_mask)
    n = np.where(valid.sum(0) > 0, valid.sum(0), np.nan)
    mean = np.where(valid, per_mask, 0.0).sum(0) / n
    if proportion:
        return mean, resample.wilson(mean * n, n)
    squared = np.where(valid, per_mask - mean, 0.0) ** 2
    half = Z * np.sqrt(squared.sum(0) / np.maximum(n - 1, 1) / n)
    return mean, np.stack([mean - half, mean + half], axis=-1)


def _dataset(
    graph: LatentGraph,
    values: dict[str, NDArray[np.float64]],
    bounds: dict[str, NDArray[np.float64]],
    real: NDArray[np.float64],
    ratios: NDArray[np.float64],
    sizes: NDArray[np.int64],
    **settings: Any,
) -> xr.Dataset:
    base = ("mask_ratio", "patch_size")
    data: dict[str, Any] = {}
    for name, (long_name, units) in VARIABLES.items():
        dims = (*base, "level") if name in PER_LEVEL else base
        kind = "Wilson" if name in PROPORTIONS else "normal"
        data[name] = (dims, values[name], {"long_name": long_name, "units": units})
        interval = {"long_name": f"95 % interval of: {long_name}", "units": units, "resamples": f"masks ({kind})"}
        data[f"{name}_ci"] = ((*dims, "bound"), bounds[name], interval)
    data["real_ratio"] = (base, real, {"long_name": "Share of observables really hidden", "units": "1"})
    coords = {
        "mask_ratio": ratios,
        "patch_size": sizes,
        "level": np.arange(1, graph.height + 1),
        "bound": ["lower", "upper"],
    }
    return xr.Dataset(data, coords, {"graph": repr(graph), **settings})
