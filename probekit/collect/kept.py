"""What was computed of a batch of images and serves the next checkpoint too: kept in memory while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What knows its size in bytes, as arrays and tensors do."""

    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Kept(Generic[T]):
    """A least-recently-used cache of values by key, safe to share between threads.

    Args:
        room: the most bytes that are kept.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._used = 0
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, made if it is not kept. A value larger than the room is never kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        made = make()
        with self._lock:
            if made.nbytes <= self.room and key not in self._values:
                self._values[key] = made
                self._used += made.nbytes
                while self._used > self.room:
                    self._used -= self._values.popitem(last=False)[1].nbytes
        return made
