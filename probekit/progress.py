"""Progress on the terminal: what stage, how far, how fast, how long still. Silent when the output is not a terminal
unless `PROBEKIT_PROGRESS=1`; `PROBEKIT_PROGRESS=0` silences it everywhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def shown() -> bool:
    """Whether progress is drawn."""
    choice = os.environ.get("PROBEKIT_PROGRESS", "")
    return choice != "0" and (choice == "1" or sys.stderr.isatty())


@contextmanager
def bar(stage: str, total: int | None, unit: str = "images") -> Iterator[Callable[..., None]]:
    """A progress bar on standard error; yields `advance(n=1, note="")`.

    Args:
        stage: what is being done, e.g. "quadtree-r0.75: features".
        total: steps in all; None if unknown.
        unit: what a step is, for the speed.
    """
    if not shown():
        yield lambda n=1, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]} {task.fields[note]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(stage, total=total, rate="", note="")

        def advance(n: int = 1, note: str = "") -> None:
            progress.advance(task, n)
            speed = progress.tasks[0].speed
            progress.update(task, note=note, rate=f"{speed:,.0f} {unit}/s" if speed else "")

        yield advance
