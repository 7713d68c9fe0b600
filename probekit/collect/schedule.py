"""Which images a pass computes next: shard by shard, in batches that never depend on what is stored already.

Batches start at fixed rows: at the beginning of a shard, where a recorder has seen enough, and then every `size` rows.
A pass that goes on after a kill computes whole batches of that grid again, so its numbers are bit for bit those of a
pass that was not killed.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from probekit.collect.recorders import Recorder
from probekit.collect.store import SHARD, Store, alone

PAUSE = 0.2
"""Seconds between looks at what other processes have finished."""

PATIENCE = 10.0
"""Seconds of waiting for another process after which it is said."""


@dataclass
class Recording:
    """A recorder, and where its rows go."""

    recorder: Recorder
    store: Store

    def lacks(self, start: int, stop: int) -> bool:
        """Whether any of these rows is still to be measured."""
        return any(shard.position < min(stop, shard.stop) for shard in self.store.between(start, stop))


def groups(takes: Sequence[Recording]) -> list[tuple[int, int]]:
    """(start, stop) of the rows that one process takes on at a time: shards, unless a recorder must see all rows."""
    most = max((take.store.rows for take in takes), default=0)
    if any(take.store.whole and take.store.rows > SHARD and not take.store.complete for take in takes):
        return [(0, most)]
    return [(start, min(start + SHARD, most)) for start in range(0, most, SHARD)]


def stretches(takes: Sequence[Recording], start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of consecutive rows in [start, stop) that are to be computed, in batches of `size`."""
    cuts = sorted({start, stop, *(take.store.rows for take in takes if start < take.store.rows < stop)})
    for low, high in pairwise(cuts):
        blocks = [(first, min(first + size, high)) for first in range(low, high, size)]
        for wanted, several in groupby(blocks, key=lambda block: any(take.lacks(*block) for take in takes)):
            if wanted:
                found = list(several)
                yield found[0][0], found[-1][1]


def fill(takes: Sequence[Recording], size: int, compute: Callable[[int, int], None]) -> int:
    """Have `compute(start, stop)` called for everything that is missing; returns the number of rows computed here.

    Rows that another process is at work on are left to it and waited for at the end.
    """
    pending, refused, computed, said, waited = deque(groups(takes)), 0, 0, False, 0.0
    while pending:
        start, stop = pending.popleft()
        with alone([shard for take in takes for shard in take.store.between(start, stop)]) as ours:
            if ours:
                refused = 0
                for first, last in list(stretches(takes, start, stop, size)):
                    compute(first, last)
                    computed += last - first
                continue
        pending.append((start, stop))
        refused += 1
        if refused >= len(pending):
            if not said and waited >= PATIENCE:
                said = True
                warnings.warn(
                    f"Another process is measuring the same ({takes[0].store.folder}): waiting for it.",
                    RuntimeWarning,
                    stacklevel=3,
                )
            time.sleep(PAUSE)
            waited += PAUSE
    return computed
