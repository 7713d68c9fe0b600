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


def groups(recordings: Sequence[Recording]) -> list[tuple[int, int]]:
    """(start, stop) of the rows that one process takes on at a time: shards, unless a recorder must see all rows."""
    stores = [recording.store for recording in recordings]
    most = max((store.rows for store in stores), default=0)
    if any(store.whole and store.rows > SHARD and not store.complete for store in stores):
        return [(0, most)]
    return [(start, min(start + SHARD, most)) for start in range(0, most, SHARD)]


def stretches(recordings: Sequence[Recording], start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of consecutive rows in [start, stop) that are to be computed, in batches of `size`."""
    ends = {recording.store.rows for recording in recordings}
    cuts = sorted({start, stop, *(end for end in ends if start < end < stop)})
    for low, high in pairwise(cuts):
        blocks = [(first, min(first + size, high)) for first in range(low, high, size)]
        for wanted, several in groupby(blocks, key=lambda block: any(one.lacks(*block) for one in recordings)):
            if wanted:
                found = list(several)
                yield found[0][0], found[-1][1]


def fill(recordings: Sequence[Recording], size: int, compute: Callable[[int, int], None]) -> int:
    """Have `compute(start, stop)` called for everything that is missing; returns the number of rows computed here.

    Rows that another process is at work on are left to it and waited for at the end.
    """
    pending, refused, computed, said, waited = deque(groups(recordings)), 0, 0, False, 0.0
    while pending:
        start, stop = pending.popleft()
        with alone([shard for recording in recordings for shard in recording.store.between(start, stop)]) as ours:
            if ours:
                refused = 0
                for first, last in list(stretches(recordings, start, stop, size)):
                    compute(first, last)
                    computed += last - first
                continue
        pending.append((start, stop))
        refused += 1
        if refused >= len(pending):
            if not said and waited >= PATIENCE:
                said = True
                warnings.warn(
                    f"Another process is measuring the same ({recordings[0].store.folder}): waiting for it.",
                    RuntimeWarning,
                    stacklevel=3,
                )
            time.sleep(PAUSE)
            waited += PAUSE
    return computed
