"""Latents: Theorem 1 on 100,000 nodes, many masks at once, and samples per second of the quadtree process.

Each figure is a median of several repeats of CPU time (so other work on the machine counts little), measured
alternately with its peer in one run: networkx's `descendants` for the shared latents, and the same modules applied node
by node for the generating process.

    OMP_NUM_THREADS=1 python benchmarks/bench_latents.py
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import networkx as nx
import numpy as np

from probekit.latents import GeneratingProcess, LatentGraph
from probekit.latents.nodes import Node

REPEATS = 5


def alternately(*calls: Callable[[], object]) -> list[float]:
    """Median seconds of CPU time of each call, the calls taking turns."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, into in zip(calls, seconds, strict=True):
            start = time.process_time()
            call()
            into.append(time.process_time() - start)
    return [statistics.median(each) for each in seconds]


def by_descendants(graph: LatentGraph, hidden: set[Node]) -> set[Node]:
    """c by asking networkx for the descendants of every latent."""
    seen = set(graph.observables)
    below = {z: nx.descendants(graph.networkx, z) & seen for z in graph.latents}
    mixed = {z for z, xs in below.items() if xs & hidden and xs - hidden}
    return {z for z in mixed if not any(child in mixed for child in graph.networkx.succ[z])}


def node_by_node(process: GeneratingProcess, n: int, rng: np.random.Generator) -> dict[int, np.ndarray]:
    """The same modules without batching over nodes."""
    values: dict[int, np.ndarray] = {}
    for block in process.blocks:
        for row, position in enumerate(block.positions):
            eps = rng.standard_normal((n, block.noise_dim)) * (1.0 if block.is_root else block.scale)
            hidden = np.concatenate([*(values[parent] for parent in block.parents[row]), eps], axis=1)
            for weights, offset in zip(block.weights[:, row], block.offset[:, row], strict=True):
                hidden = hidden @ weights
                hidden = np.where(hidden > 0, hidden, process.slope * hidden) - offset
            values[position] = hidden
    return values


def theorem_one(rng: np.random.Generator) -> None:
    small = LatentGraph.random((20, 100, 500, 1000), seed=0)
    hidden = {x for x in small.observables if rng.random() < 0.75}
    assert small.shared(hidden) == by_descendants(small, hidden)
    ours, theirs = alternately(lambda: small.shared(hidden), lambda: by_descendants(small, hidden))
    print(f"shared, {len(small):,} nodes: {1e3 * ours:.2f} ms; networkx {1e3 * theirs:.0f} ms: {theirs / ours:.0f}x")
    large = LatentGraph.random((100, 900, 9000, 30000, 60000), seed=0)
    hidden = {x for x in large.observables if rng.random() < 0.75}
    masks = rng.random((512, len(large.observables))) < 0.75
    one, many = alternately(lambda: large.shared(hidden), lambda: large.shared_many(masks))
    print(f"shared, {len(large):,} nodes: {1e3 * one:.0f} ms a mask, {1e3 * many / 512:.2f} ms each of 512 at once")


def process(rng: np.random.Generator, n: int = 512) -> None:
    made = GeneratingProcess(LatentGraph.quadtree(4, {4: 4, 3: 4, 2: 4, 1: 4, 0: 32}), root="mixture")
    ours, theirs = alternately(lambda: made.draw(n, rng), lambda: node_by_node(made, n, rng))
    print(f"quadtree of 48-dim leaves: {n / ours:,.0f} samples/s; by node {n / theirs:,.0f}: {theirs / ours:.2f}x")


if __name__ == "__main__":
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    theorem_one(np.random.default_rng(0))
    process(np.random.default_rng(0))
