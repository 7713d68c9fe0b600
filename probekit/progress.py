"""Progress on standard error: what stage, how far, how fast, how long still.

On a terminal it is a bar, in a notebook a bar in the cell's output. Elsewhere (log files, batch jobs) it is lines: one
when a run starts, then at most one every 30 seconds. `PROBEKIT_PROGRESS=0` silences all, `PROBEKIT_PROGRESS=1` draws
bars everywhere.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from typing import Any

from probekit.errors import printable

EVERY = 30.0
"""Seconds between lines."""

REFRESH = 0.2
"""Seconds between two pictures of a bar in a notebook."""


def shown() -> bool:
    """Whether bars are drawn."""
    choice = os.environ.get("PROBEKIT_PROGRESS", "")
    return choice != "0" and (choice == "1" or (sys.stderr is not None and sys.stderr.isatty()))


def silent() -> bool:
    """Whether progress is switched off."""
    return os.environ.get("PROBEKIT_PROGRESS", "") == "0"


def in_notebook() -> bool:
    """Whether a kernel runs this: what is displayed lands in a notebook's cell."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


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
        first, self.done = self.done == 0 and steps > 0, self.done + steps
        now = time.monotonic()
        if (first and self.left(now) >= EVERY) or now - self.said >= EVERY:
            self.said = now
            say(f"{self.title}: {self.words(now)}")

    def left(self, now: float) -> float:
        """Seconds until the end, at the speed until now."""
        return (now - self.started) / max(self.done, 1) * max(self.total - self.done, 0)

    def words(self, now: float) -> str:
        """How far, how fast, how long still."""
        speed = self.done / max(now - self.started, 1e-9)
        fast = f", {speed:,.0f} {self.unit}/s" if speed >= 1 else ""
        return f"{self.done:,} of {self.total:,} {self.unit}{fast}, about {duration(self.left(now))} left"

    def close(self) -> None:
        """A line of a log needs no end."""


@dataclass
class _Cell(_Run):
    """A bar in the output of a notebook's cell, which ends as one line."""

    handle: Any = None

    def advance(self, steps: int) -> None:
        self.done += steps
        now = time.monotonic()
        if self.handle is None or now - self.said >= REFRESH:
            self.said = now
            title = escape(printable(self.title, line=True))
            bar = f'<progress value="{min(self.done, self.total)}" max="{self.total}" aria-label="{title}"></progress>'
            self.show(f"{self.title}: {self.words(now)}", bar)

    def close(self) -> None:
        if self.handle is not None:
            self.show(f"{self.title}: {self.done:,} {self.unit} in {duration(time.monotonic() - self.started)}")

    def show(self, line: str, bar: str = "") -> None:
        """Put the line, and the bar before it, where the last one was."""
        display: Any = import_module("IPython.display").display
        line = printable(line, line=True)
        content = {"text/plain": line, "text/html": f"<div>{bar} {escape(line)}</div>"}
        if self.handle is None:
            self.handle = display(content, raw=True, display_id=True)
        else:
            self.handle.update(content, raw=True)


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
    """Announce a run in a line, and follow it: the bars inside that count the same unit count towards it.

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
    one = _followed(title, total, unit)
    _run.append(one)
    try:
        yield
    finally:
        _run.remove(one)
        one.close()


def _followed(title: str, total: int, unit: str) -> _Run:
    """Progress of a known length without a terminal: a notebook's bar, or lines in a log."""
    return _Cell(title, total, unit) if in_notebook() and not silent() else _Run(title, total, unit)


@contextmanager
def bar(stage: str, total: int | None, unit: str = "images") -> Iterator[Callable[..., None]]:
    """A progress bar on standard error; yields `advance(n=1, note="")`.

    Args:
        stage: what is being done, e.g. "quadtree-r0.75: features".
        total: steps in all; None if unknown.
        unit: what a step is, for the speed.
    """
    if in_notebook() or not shown():
        outer = next((one for one in reversed(_run) if one.unit == unit), None)
        alone = None if outer or not total or silent() else _followed(stage, total, unit)
        followed = outer or alone

        def count(n: int = 1, note: str = "") -> None:
            if followed is not None:
                followed.advance(n)

        try:
            yield count
        finally:
            if alone is not None:
                alone.close()
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
