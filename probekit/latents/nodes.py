"""The type of nodes, and the error for graphs that violate the theory's assumptions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from probekit.errors import ProbekitError

Node = Hashable
"""A latent or an observable, by name."""


class GraphError(ProbekitError):
    """A graph that breaks the theory's assumptions, or a node that is not in it."""


class GraphParts(NamedTuple):
    """The arguments of a `LatentGraph`: (parent, child) pairs, observables in order, dimensions of the noise."""

    edges: list[tuple[Node, Node]]
    observables: list[Node]
    noise_dims: int | Mapping[Node, int]
