"""A command and its terminal: Ctrl-C ends it soon and with one line; output without a reader is no error.

Output may go nowhere: a pipe whose reader has gone, a closed descriptor, a full disk. What a command writes to files
does not depend on it.
"""

from __future__ import annotations

import atexit
import errno
import functools
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TextIO

from probekit.errors import ProbekitError, printable
from probekit.files import reason
from probekit.stopping import STOPPED

PATIENCE = 1.2
"""Seconds after Ctrl-C in which a command may tidy up."""


class Tolerant:
    """A text stream whose reader may go: from then on what is written is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: int | None = None
        """Number of the system's error that ended the output, if any."""

    def write(self, text: str) -> int:
        return int(self._tried(self._stream.write, text) or len(text))

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def _tried(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.fault is not None:
            return None
        try:
            return function(*args)
        except OSError as error:
            self.fault = error.errno or errno.EIO
            with suppress(OSError, ValueError):  # what is buffered must not fail again when the interpreter ends
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_descriptors() -> None:
    """Point closed standard descriptors to nowhere, so that no file that is opened later takes their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process


@contextmanager
def tolerant() -> Iterator[Tolerant]:
    """Standard output and error that never raise; yields the former."""
    open_descriptors()
    before = sys.stdout, sys.stderr
    for stream in before:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    out, err = Tolerant(sys.stdout), Tolerant(sys.stderr)
    streams: tuple[Any, Any] = out, err
    sys.stdout, sys.stderr = streams
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        if out.fault is None and err.fault is None:
            sys.stdout, sys.stderr = before


@contextmanager
def errors_alone(library: str) -> Iterator[None]:
    """Hold back what a library logs below the level of an error.

    Args:
        library: name of its logger, e.g. "timm".
    """
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def say(text: str) -> None:
    """One line on standard error."""
    print(f"probekit: {printable(text)}", file=sys.stderr, flush=True)


def leave_soon_on_interrupt(line: str) -> list[bool]:
    """Have Ctrl-C raise KeyboardInterrupt, and end the process where that takes longer than `PATIENCE`.

    Args:
        line: printed in that case.

    Returns:
        A list that is no longer empty once Ctrl-C has come.
    """

    def end() -> None:
        say(line)
        end_now()

    def interrupted(number: int, frame: FrameType | None) -> None:
        if interrupted_before:
            end()
        interrupted_before.append(True)
        within_patience()
        raise KeyboardInterrupt

    def lost(found: Any) -> None:
        """Where the interrupt came in the middle of a callback, Python would print it and go on."""
        if issubclass(found.exc_type, KeyboardInterrupt):
            end()
        before(found)

    interrupted_before: list[bool] = []
    before = sys.unraisablehook
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, interrupted)
        sys.unraisablehook = lost
        _ends[:] = [end]
    return interrupted_before


_ends: list[Callable[[], None]] = []
"""What ends the present command where it does not end by itself."""


def within_patience() -> None:
    """End the command that runs, if one does, after `PATIENCE`: to be called on Ctrl-C."""
    for end in _ends:
        timer = threading.Timer(PATIENCE, end)
        timer.daemon = True
        timer.start()


def end_now() -> NoReturn:
    """End this process and its helpers without more ado.

    (Waiting for libraries to wind up takes seconds, and the interpreter may end by the signal instead of the code.)
    """
    for child in multiprocessing.active_children():
        child.kill()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, RuntimeError):
            stream.flush()
    os._exit(STOPPED)


def stoppable(command: Callable[..., Any], kept: str) -> Callable[..., Any]:
    """A command that ends with one line and exit code 130 on Ctrl-C.

    Args:
        command: the function.
        kept: what is safe, unless the interrupt says it.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        handler, hook, ends = signal.getsignal(signal.SIGINT), sys.unraisablehook, list(_ends)
        interrupted = leave_soon_on_interrupt(f"stopped. {kept}".rstrip())
        try:
            return command(*args, **kwargs)
        except (Exception, KeyboardInterrupt) as stopped:
            asked = isinstance(stopped, KeyboardInterrupt)
            if not asked and not interrupted:
                raise
            # Where a library is imported the interrupt turns into another exception, whose words say nothing.
            say((asked and str(stopped)) or f"stopped. {kept}".rstrip())
            raise SystemExit(STOPPED) from None
        finally:  # who called it from Python goes on, and has its own way with Ctrl-C
            _ends[:], sys.unraisablehook = ends, hook
            with suppress(ValueError, TypeError):  # not the main thread, or a handler that Python did not set
                signal.signal(signal.SIGINT, handler)

    return run


def run_command(command: Callable[[], object], *, answers: bool = False) -> None:
    """Run a command as a process of its own: one line for each warning, and one for an error that was expected.

    Args:
        command: the command; `SystemExit` ends it as usual.
        answers: whether its answer is standard output alone, so that losing that is a failure.

    Raises:
        SystemExit: with code 2 after a `ProbekitError`, 1 if an answer could not be written, else the command's own.
    """
    # The line of source that warns says nothing to the caller of a command.
    warnings.formatwarning = lambda message, *_, **__: f"probekit: {printable(str(message))}\n"
    atexit.register(gc.freeze)  # Python would look through all that is left, for a second and more, and then end
    with tolerant() as out:
        try:
            command()
        except ProbekitError as error:
            say(str(error))
            sys.exit(2)
        except KeyboardInterrupt:  # while options were read
            say("stopped.")
            end_now()
        except SystemExit as left:
            if left.code == STOPPED:
                end_now()
            out.flush()
            if answers and out.fault not in (None, errno.EPIPE):
                say(f"standard output cannot be written: {reason(OSError(out.fault, ''))}")
                sys.exit(1)
            raise


def end_with_parent() -> None:
    """Have this helping process end when the process that started it does, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for, args=(parent,), name="probekit-parent", daemon=True).start()


def _wait_for(parent: Any) -> None:
    parent.join()
    os._exit(1)
