"""Theorem 2, measured: does training recover the latents that Theorem 1 predicts?

For one mask, a small masked autoencoder on vectors is trained with a bottleneck as wide as c's intrinsic dimension.
The theorem says that its code is a one-to-one function of c, so c should be predictable from the code, the code from c
(both nonlinearly), and the noise specific to the visible side, s_v, should not be predictable from the code. Because
the generating process is ours, a measure without regression stands beside these: the share of the code's variance that
c explains, from pairs of samples that share c and nothing else (1 if the theorem holds).

A narrower and a wider bottleneck are trained on the same batches, since the theorem speaks of the right dimension, and
the encoder before training shows what an untrained map keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from probekit import progress
from probekit.checks import instance
from probekit.latents.autoencoder import Floats, VectorAutoencoders, train
from probekit.latents.graph import LatentGraph
from probekit.latents.nodes import GraphError, Node
from probekit.latents.process import GeneratingProcess
from probekit.latents.samples import Nodes
from probekit.measures import level_shares, regress, resample

ENCODERS = ("smaller", "matched", "doubled", "untrained")
"""Half of c's intrinsic dimension (at least 1), just that dimension, twice it, and the matched one before training."""

REGRESSORS = ("linear", "nonlinear")

SIZES = ((1, 2, 4, 8), (2, 3, 5, 8), (1, 3, 5, 9))
"""Nodes per level of the random graphs among the examples, in turn."""

RECOVERED: dict[str, str] = {
    "c_from_code": "R² of c from the code",
    "own_from_code": "R² of the noise of c and its ancestors from the code",
    "code_from_c": "R² of the code from c",
    "specific_from_code": "R² of s_v, the noise of what only the visible side shows, from the code",
}
"""Regressions, over (encoder, regressor). `own_from_code` weighs every dimension of c's information equally, where the
R² of c weighs most what many of its components carry."""


def recover(
    process: GeneratingProcess,
    hidden: Iterable[Node],
    *,
    width: int = 64,
    layers: int = 2,
    steps: int = 1000,
    batch_size: int = 128,
    learning_rate: float = 4e-3,
    samples: int = 16384,
    test_samples: int = 750,
    seed: int = 0,
) -> xr.Dataset:
    """Train masked autoencoders on vectors for one mask, and measure what their codes hold.

    Args:
        process: the world.
        hidden: the hidden observables; the others are visible. Neither side may be empty.
        width, layers: hidden layers of encoder and decoder.
        steps, batch_size, learning_rate: of training (Adam, cosine).
        samples: training samples.
        test_samples: samples that the regressions use (4/5 to fit, 1/5 to choose their settings), and as many others
            that the figures are of.
        seed: of weights, batches and samples.

    Returns:
        Dataset over `encoder` (`ENCODERS`) and `regressor` (`REGRESSORS`): the R² of `RECOVERED`; `share_of_c`
        (encoder), the share of the code's variance that c explains; `loss` (encoder), the hidden observables' squared
        error over their variance; `bottleneck` (encoder). R² and shares have twins `<name>_ci` (bound): 95 %, bootstrap
        over test samples. Scalars: `c_dim` (intrinsic), `c_height` (mean height of c's members), `hidden_share`;
        `c` and `hidden` name the nodes. Where c is empty, all figures are NaN and `c_dim` is 0.

    Raises:
        GraphError: all observables are hidden, or none.

    Example:
        >>> world = examples(graphs=1)[0]
        >>> ds = recover(world.process, world.masks["ideal"], steps=200)  # doctest: +SKIP
    """
    instance("process", process, GeneratingProcess, "a GeneratingProcess of a graph", error=GraphError)
    graph = process.graph
    row = graph.hidden_row(hidden)
    if row.all() or not row.any():
        raise GraphError(
            f"{int(row.sum())} of {len(row)} observables are hidden; hide at least one and leave one visible."
        )
    c = [z for z, inside in zip(graph.latents, graph.shared_many(row)[0], strict=True) if inside]
    if not c:
        return _describe(_empty(), graph, row, c)
    world = _World(process, [x for x, off in zip(graph.observables, row, strict=True) if not off], c)
    size = graph.intrinsic_dim(c)
    sizes = [max(1, size // 2), size, 2 * size]
    rngs = [np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(3)]
    pool, test = process.draw(samples, rngs[0]), process.draw(2 * test_samples, rngs[1])
    views = [world.visible(test), world.visible(process.redraw(test, c, rngs[2]))]
    visible, masked = world.visible(pool), world.masked(pool)
    model = VectorAutoencoders(visible.shape[1], masked.shape[1], sizes, width=width, layers=layers, seed=seed)
    # The untrained encoder is the matched one, read off before training.
    untrained, untrained_loss = [model.codes(view)[1] for view in views], world.losses(model, test)[1]
    train(model, visible, masked, steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    codes, twins = ([*model.codes(view), raw] for view, raw in zip(views, untrained, strict=True))
    found = _regressions(world, test, codes, seed) | _shares(codes, twins, seed)
    found["loss"] = (("encoder",), [*world.losses(model, test), untrained_loss])
    found["bottleneck"] = (("encoder",), [*sizes, size])
    return _describe(found, graph, row, c)


def recover_many(process: GeneratingProcess, masks: Sequence[Iterable[Node]], **settings: Any) -> xr.Dataset:
    """`recover` for several masks: the same dataset with a dimension `mask`.

    Args:
        process: the world.
        masks: each the hidden observables of one mask.
        settings: as in `recover`, the same for all masks.

    Returns:
        As `recover`, with the dim `mask`. Masks with an empty c are counted in the attribute `empty` and are NaN, so
        means over `mask` leave them out.

    Raises:
        GraphError: as in `recover`.

    Example:
        >>> world = examples(graphs=1)[0]
        >>> ds = recover_many(world.process, list(world.masks.values()), steps=200)  # doctest: +SKIP
    """
    found = []
    with progress.bar("recovery", len(masks), "masks") as advance:
        for hidden in masks:
            found.append(recover(process, hidden, **settings))
            advance(1)
    ds = xr.concat(found, dim="mask", combine_attrs="drop_conflicts", coords="minimal", compat="override", join="exact")
    return ds.assign_attrs(empty=int((ds["c_dim"] == 0).sum()))


class Example(NamedTuple):
    """A world and masks on it, by kind as in the paper's Figure 4."""

    name: str
    process: GeneratingProcess
    masks: dict[str, frozenset[Node]]


def examples(graphs: int = 3, seed: int = 0) -> list[Example]:
    """The default vector examples: a binary tree, then random graphs with overlapping parents and skipped levels.

    Args:
        graphs: how many graphs.
        seed: of the random graphs, and of the processes on all.

    Returns:
        An `Example` for each graph: its name, its process, and the four masks of `figure_four` by kind.

    Example:
        >>> [one.name for one in examples()], list(examples(graphs=1)[0].masks)
        (['tree', 'random-0', 'random-1'], ['conservative', 'ideal', 'aggressive', 'random'])
    """
    dims = {3: 2, 2: 1, 1: 1, 0: 1}
    made = {"tree": binary_tree(3, dims)}
    for nth in range(graphs - 1):
        sizes = SIZES[nth % len(SIZES)]
        made[f"random-{nth}"] = LatentGraph.random(sizes, noise_dims=dims, seed=seed + nth)
    return [
        Example(name, GeneratingProcess(graph, seed=seed), figure_four(graph, seed)) for name, graph in made.items()
    ]


def binary_tree(height: int, noise_dims: dict[int, int]) -> LatentGraph:
    """A tree in which every latent has two children: ("z", height, i) to ("x", i), 2^height observables."""
    edges: list[tuple[Node, Node]] = []
    for level in range(height - 1, -1, -1):
        for place in range(2 ** (height - level)):
            child = ("z", level, place) if level else ("x", place)
            edges.append((("z", level + 1, place // 2), child))
    nodes = {node for edge in edges for node in edge if isinstance(node, tuple)}
    observables = [("x", place) for place in range(2**height)]
    return LatentGraph(edges, observables, {node: noise_dims[node[1] if node[0] == "z" else 0] for node in nodes})


def figure_four(graph: LatentGraph, seed: int = 0) -> dict[str, frozenset[Node]]:
    """The paper's three kinds of mask (its Figure 4) on a graph, and a random one.

    "conservative" hides one observable; "ideal" all observables below one latent, that one for which c is highest (of
    several the mask nearest to half); "aggressive" all but one; "random" half of them.
    """
    rng = np.random.default_rng(seed)
    order = [graph.observables[place] for place in rng.permutation(len(graph.observables))]
    half = len(order) // 2
    below = {frozenset(x for x in order if graph.closure([x])[graph.index[z]]) for z in graph.latents}
    asked = {hidden: graph.positions(graph.shared(hidden)) for hidden in sorted(below, key=sorted)}
    heights = {hidden: graph.heights[c].mean() for hidden, c in asked.items() if c.size}
    return {
        "conservative": frozenset(order[:1]),
        "ideal": max(heights, key=lambda hidden: (heights[hidden], -abs(len(hidden) - half))),
        "aggressive": frozenset(order[1:]),
        "random": frozenset(order[:half]),
    }


class _World:
    """What the autoencoder and the regressions read of a draw, as matrices."""

    def __init__(self, process: GeneratingProcess, visible: Sequence[Node], c: Sequence[Node]) -> None:
        graph = process.graph
        shown = set(visible)
        self._visible = list(visible)
        self._masked = [x for x in graph.observables if x not in shown]
        s_v = graph.specific(self._masked)[1]
        self._specific = [node for node in graph.nodes if node in s_v]
        self._c = list(c)
        self._own = [node for node, inside in zip(graph.nodes, graph.closure(c), strict=True) if inside]

    def visible(self, draw: Nodes) -> Floats:
        return np.concatenate([draw[x] for x in self._visible], axis=1)

    def masked(self, draw: Nodes) -> Floats:
        return np.concatenate([draw[x] for x in self._masked], axis=1)

    def targets(self, draw: Any) -> list[Floats]:
        """c, the noise that determines c, and s_v: each (samples, dims)."""
        parts = (draw, self._c), (draw.noise, self._own), (draw.noise, self._specific)
        return [np.concatenate([values[node] for node in nodes], axis=1) for values, nodes in parts]

    def losses(self, model: VectorAutoencoders, draw: Nodes) -> list[float]:
        """Squared error of each model on the hidden observables, over their variance."""
        target = self.masked(draw)
        with torch.no_grad():
            predicted = model(torch.from_numpy(self.visible(draw).astype(np.float32))).double().numpy()
        total = ((target - target.mean(0)) ** 2).sum()
        return [float(((each - target) ** 2).sum() / total) for each in predicted]


def _regressions(world: _World, test: Any, codes: Sequence[Floats], seed: int) -> dict[str, Any]:
    """The variables of `RECOVERED` with their intervals, as (dims, values)."""
    c, own, specific = world.targets(test)
    found: dict[str, Any] = {}
    for name, pairs in {
        "c_from_code": [(code, c) for code in codes],
        "own_from_code": [(code, own) for code in codes],
        "code_from_c": [(c, code) for code in codes],
        "specific_from_code": [(code, specific) for code in codes],
    }.items():
        cells = [[_r2(known, wanted, kernel, seed) for kernel in (False, True)] for known, wanted in pairs]
        found[name] = (("encoder", "regressor"), [[value for value, _ in row] for row in cells])
        found[f"{name}_ci"] = (("encoder", "regressor", "bound"), [[ends for _, ends in row] for row in cells])
    return found


def _r2(known: Floats, wanted: Floats, kernel: bool, seed: int) -> tuple[float, Floats]:
    """R² of `wanted` regressed on `known` and its interval: fitted on 2/5 of the samples, settings chosen on 1/10,
    reported on the other half."""
    half = len(known) // 2
    cuts = [4 * half // 5, half]
    (x, x_val, x_test), (y, y_val, y_test) = np.split(known, cuts), np.split(wanted, cuts)
    if kernel:
        fit: regress.Ridge | regress.KernelRidge = regress.kernel_ridge(x, y, x_val, y_val, landmarks=len(x))
    else:
        fit = regress.ridge(x, y, x_val, y_val)
    residual, total = regress.r2_terms(y_test, fit.predict(x_test))
    unexplained = resample.ratio_interval(residual, total, seed=seed)
    return 1 - float(resample.ratio(residual, total)), 1 - unexplained[::-1]


def _shares(codes: Sequence[Floats], twins: Sequence[Floats], seed: int) -> dict[str, Any]:
    """The share of each code's variance that c explains, from samples that share c alone; bootstrap over pairs."""
    terms = [level_shares.level_terms(code, twin) for code, twin in zip(codes, twins, strict=True)]
    covariance, variance = (np.stack(column) for column in zip(*terms, strict=True))
    return {
        "share_of_c": (("encoder",), resample.ratio(covariance, variance)),
        "share_of_c_ci": (("encoder", "bound"), resample.ratio_interval(covariance, variance, seed=seed)),
    }


def _empty() -> dict[str, Any]:
    count = len(ENCODERS)
    found: dict[str, Any] = {}
    for name in RECOVERED:
        found[name] = (("encoder", "regressor"), np.full((count, 2), np.nan))
        found[f"{name}_ci"] = (("encoder", "regressor", "bound"), np.full((count, 2, 2), np.nan))
    found["share_of_c"], found["share_of_c_ci"] = (
        ("encoder", np.full(count, np.nan)),
        (("encoder", "bound"), np.full((count, 2), np.nan)),
    )
    return found | {"loss": ("encoder", np.full(count, np.nan)), "bottleneck": ("encoder", np.zeros(count, dtype=int))}


def _describe(found: dict[str, Any], graph: LatentGraph, row: Any, c: Sequence[Node]) -> xr.Dataset:
    coords = {"encoder": list(ENCODERS), "regressor": list(REGRESSORS), "bound": ["lower", "upper"]}
    ds = xr.Dataset(found, coords)
    ds["c"] = " ".join(map(str, c))
    ds["hidden"] = " ".join(str(x) for x, off in zip(graph.observables, row, strict=True) if off)
    ds["c_dim"] = graph.intrinsic_dim(c) if c else 0
    ds["c_height"] = float(graph.heights[graph.positions(c)].mean()) if c else np.nan
    ds["hidden_share"] = float(np.mean(row))
    for name, long_name in {**RECOVERED, "share_of_c": "Share of the code's variance that c explains"}.items():
        ds[name].attrs = {"long_name": long_name, "units": "1"}
        ds[f"{name}_ci"].attrs = {
            "long_name": f"95 % interval of: {long_name}",
            "resamples": "bootstrap over test samples",
        }
    return ds
