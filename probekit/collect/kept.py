"""What was computed of a batch of images and serves the next checkpoint too: kept in memory while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """A least-recently-used cache of values by key, safe to share between threads.

    Args:
        room: the most that is kept, in the unit of `get`'s `size`.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._values: OrderedDict[Hashable, tuple[int, T]] = OrderedDict()
        self._used = 0
        self._lock = Lock()

    def get(self, key: Hashable, size: int, make: Callable[[], T]) -> T:
        """The value of `key`, made if it is not kept. A value of more than `room` is never kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][1]
        made = make()
        with self._lock:
            if size <= self.room and key not in self._values:
                self._values[key] = (size, made)
                self._used += size
                while self._used > self.room:
                    self._used -= self._values.popitem(last=False)[1][0]
        return made
