"""Progress on standard error: what stage, how far, how fast, how long still.

On a terminal it is a bar. Elsewhere (notebooks, log files, batch jobs) it is lines: one when a run starts, then at most
one every 30 seconds. `PROBEKIT_PROGRESS=0` silences both, `PROBEKIT_PROGRESS=1` draws bars everywhere.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from probekit.errors import printable

EVERY = 30.0
"""Seconds between lines."""


def shown() -> bool:
    """Whether bars are drawn."""
    choice = os.environ.get("PROBEKIT_PROGRESS", "")
    return choice != "0" and (choice == "1" or (sys.stderr is not None and sys.stderr.isatty()))


def silent() -> bool:
    """Whether nothing is said at all."""
    return os.environ.get("PROBEKIT_PROGRESS", "") == "0"


def say(line: str) -> None:
    """A line on standard error, unless that is silenced or closed."""
    if not silent():
        try:
            print(f"probekit: {printable(line, line=True)}", file=sys.stderr, flush=True)
        except (OSError, ValueError):  # a closed standard error loses the line, nothing else
            return


@dataclass
class _Run:
    """Work whose end is known: a line at its start, an estimate after its first batch, then at most one every 30 s."""

    title: str
    total: int
    unit: str
    done: int = 0
    started: float = field(default_factory=lambda: time.monotonic())
    said: float = field(default_factory=lambda: time.monotonic())

    def advance(self, steps: int) -> None:
        first, self.done = self.done == 0, self.done + steps
        now = time.monotonic()
        left = (now - self.started) / max(self.done, 1) * max(self.total - self.done, 0)
        if (first and left >= EVERY) or now - self.said >= EVERY:
            self.said = now
            speed = self.done / max(now - self.started, 1e-9)
            fast = f", {speed:,.0f} {self.unit}/s" if speed >= 1 else ""
            say(f"{self.title}: {self.done:,} of {self.total:,} {self.unit}{fast}, about {duration(left)} left")


_run: list[_Run] = []
"""The runs that are open, the innermost last."""


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(45), duration(130), duration(9000)
    ('45 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


@contextmanager
def run(title: str, total: int, plan: str, unit: str = "forwards") -> Iterator[None]:
    """Announce a run in a line, and follow it: the bars inside count towards it.

    Args:
        title: what is measured, e.g. "vit-mae-base on quadtree".
        total: steps in all; nothing is said of a run without any.
        plan: what the steps are.
        unit: what a step is.
    """
    if not total:
        yield
        return
    say(f"{title}: {plan}")
    _run.append(_Run(title, total, unit))
    try:
        yield
    finally:
        _run.pop()


@contextmanager
def bar(stage: str, total: int | None, unit: str = "images") -> Iterator[Callable[..., None]]:
    """A progress bar on standard error; yields `advance(n=1, note="")`.

    Args:
        stage: what is being done, e.g. "quadtree-r0.75: features".
        total: steps in all; None if unknown.
        unit: what a step is, for the speed.
    """
    if not shown():
        alone = None if _run or total is None or silent() else _Run(stage, total, unit)

        def count(n: int = 1, note: str = "") -> None:
            for one in _run[-1:] if alone is None else [alone]:
                one.advance(n)

        yield count
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]} {task.fields[note]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(printable(stage, line=True), total=total, rate="", note="")

        def advance(n: int = 1, note: str = "") -> None:
            progress.advance(task, n)
            speed = progress.tasks[0].speed
            progress.update(task, note=note, rate=f"{speed:,.0f} {unit}/s" if speed else "")

        yield advance
