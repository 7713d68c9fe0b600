"""Ctrl-C and SIGTERM as a wish to stop, so that a state can be saved first."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

from probekit.terminal import within_patience


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a wish to stop after the running step; a second one stops at once.

    In a command, Ctrl-C ends even a step that takes long; SIGTERM, after which schedulers wait, lets it end.

    Yields a function that says whether to stop. Outside the main thread signals stay as they are.
    """
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            within_patience()
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # not the main thread
            before[number] = signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
