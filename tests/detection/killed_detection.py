"""Runs of detection that kill themselves (SIGKILL) and are taken up again; a program, which forks before any thread.

    python killed_detection.py DIRECTORY POINT ...

A point is `step:2` (in the second step, its gradients computed) or `file:3` (before the third file is put in its
place). The run of a point goes into DIRECTORY/POINT, an uninterrupted one into DIRECTORY/whole. `file:all` tries every
file, one after the other, and writes their number to DIRECTORY/files.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import probekit
from probekit.detection import loop

sys.path.insert(0, str(Path(__file__).parent))
from small_detection import SMALL, SOURCE


def die_at(owner: Any, name: str, call: int) -> None:
    """Let the process die when a function is called for the `call`-th time."""
    plain, seen = getattr(owner, name), itertools.count(1)

    def dying(*given: Any, **more: Any) -> Any:
        if next(seen) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*given, **more)

    setattr(owner, name, dying)


def run(output: Path, point: str = "") -> int:
    """A run in a process of its own; its end as `os.waitstatus_to_exitcode` tells it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        kind, _, call = point.partition(":")
        if kind == "step":
            die_at(loop.nn.utils, "clip_grad_norm_", int(call))
        elif kind == "file":
            die_at(os, "replace", int(call))
        probekit.detect(
            SOURCE, "shapes:scenes?size=32", output=output, test_images=4, device="cpu", threads=1, log_every=2,
            save_every=0.0, **SMALL,
        )  # fmt: skip
    finally:
        os._exit(1 if sys.exc_info()[0] else 0)


def killed_and_taken_up(root: Path, point: str) -> bool:
    """Whether the run was killed; then it was taken up again, and came to its end."""
    end = run(root / point, point)
    if end == -signal.SIGKILL:
        assert run(root / point) == 0, point
        return True
    assert end == 0, point
    return False


if __name__ == "__main__":
    place, *points = Path(sys.argv[1]), *sys.argv[2:]
    assert run(place / "whole") == 0
    for one in points:
        if one == "file:all":
            killed = itertools.takewhile(lambda call: killed_and_taken_up(place, f"file:{call}"), itertools.count(1))
            (place / "files").write_text(str(sum(1 for _ in killed)))
        else:
            assert killed_and_taken_up(place, one), f"{one} is never reached"
