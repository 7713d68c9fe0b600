"""Ctrl-C while a command is still being imported: this module imports next to nothing, so that it comes first."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

STOPPED = 130
"""Exit code after Ctrl-C."""


def end_on_interrupt() -> None:
    """Have Ctrl-C end this process at once, with one line: nothing has begun that would need tidying up.

    (An exception would not do: imports turn it into other exceptions, and the interpreter remembers one that was raised
    while a text was executed, and then ends by the signal, whoever caught it.)
    """
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: Any) -> None:
    with suppress(OSError):  # standard error is closed
        os.write(2, b"probekit: stopped.\n")
    os._exit(STOPPED)
