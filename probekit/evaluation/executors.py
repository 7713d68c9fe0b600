"""Where checkpoints are measured: processes of this machine, dask, Slurm, or anything that has `submit`.

An executor is any object with `submit(function, *args) -> future`, whose future has `result()`: those of
`concurrent.futures`, `dask.distributed.Client`, `submitit.AutoExecutor`. A call that is submitted returns its own
errors as values, so an exception from `result()` means that the executor lost it: it is submitted again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

from probekit import cache
from probekit.errors import ProbeError
from probekit.terminal import end_with_parent

Result = TypeVar("Result")

SPECS = "'local:N', 'dask:ADDRESS' or 'slurm[:PARTITION]'"

SUBMISSIONS = 4
"""How often a call is submitted in all before it is given up as lost."""

LOSSES = 20
"""How many processes a call may lose with `local:N`, where a lost process costs little: it resumes from the cache."""

POLL = 0.02
"""Seconds between looks at the futures."""


class Executor(Protocol):
    """What `compare` asks of an executor."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Start `function(*args)` somewhere; returns a future with `result()`."""


# --- opening ----------------------------------------------------------------------------------------------------------


@contextmanager
def opened(executor: str | Executor) -> Iterator[Executor]:
    """The executor that a text names, closed afterwards; one that was given as an object stays open.

    Raises:
        ProbeError: a text that names none, an object without `submit`, a package that is not installed, or a scheduler
            that does not answer.
    """
    if not isinstance(executor, str):
        if not callable(getattr(executor, "submit", None)):
            raise ProbeError(
                f"executor={executor!r}: expected {SPECS}, or an object with submit(function, *args), such as a "
                "concurrent.futures.ProcessPoolExecutor."
            )
        yield executor
        return
    kind, _, rest = executor.partition(":")
    if kind not in _KINDS:
        raise ProbeError(f"executor={executor!r}: expected {SPECS}.")
    engine, close = _KINDS[kind](rest)
    try:
        yield engine
    finally:
        close()


def _local(text: str) -> tuple[Executor, Callable[[], None]]:
    if not text.isdecimal() or not int(text):
        raise ProbeError(f"executor='local:{text}': expected a number of processes, such as 'local:4'.")
    workers = LocalWorkers(int(text))
    return workers, workers.close


def _dask(address: str) -> tuple[Executor, Callable[[], None]]:
    if not address:
        raise ProbeError("executor='dask': expected the scheduler's address, such as 'dask:tcp://10.0.0.1:8786'.")
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ProbeError("executor='dask:...' needs a package: pip install 'mae-probekit[dask]'.") from error
    try:
        client: Any = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise ProbeError(f"No dask scheduler answers at {address} ({error}). Start one: `dask scheduler`.") from error
    return client, client.close


def _slurm(text: str) -> tuple[Executor, Callable[[], None]]:
    try:
        from submitit import AutoExecutor
    except ImportError as error:
        raise ProbeError("executor='slurm' needs a package: pip install 'mae-probekit[slurm]'.") from error
    partition, _, query = text.partition("?")
    settings: dict[str, Any] = {
        name: int(value) if value.isdecimal() else value for name, value in parse_qsl(query, strict_parsing=bool(query))
    }
    if partition:
        settings["slurm_partition"] = partition
    try:
        executor = AutoExecutor(folder=str(cache.folder("slurm", "%j")), cluster="slurm")
        executor.update_parameters(**{"name": "probekit", "timeout_min": 24 * 60, **settings})
    except (RuntimeError, NameError) as error:
        raise ProbeError(f"executor='slurm:{text}': {error}") from error
    return executor, lambda: None


_KINDS: dict[str, Callable[[str], tuple[Executor, Callable[[], None]]]] = {
    "local": _local,
    "dask": _dask,
    "slurm": _slurm,
}


# --- processes of this machine ----------------------------------------------------------------------------------------


class LocalWorkers:
    """Processes of this machine, one call each: a killed process does not affect the others.

    Each has its share of the processor's cores, and a GPU of its own where there are several. A call whose process is
    lost runs again in a new one, up to `LOSSES` times. Processes start with the first call, or with `begin`, and end
    with the one that started them.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.begun = self.closed = False
        self._context = multiprocessing.get_context("spawn")
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="probekit-worker")
        self._count = count
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        self._started: list[_Process] = []

    def submit(self, function: Callable[..., Result], /, *args: Any) -> Future[Result]:
        """Run `function(*args)` in the next idle process."""
        self.begin()
        return self._threads.submit(self._run, function, *args)

    def begin(self) -> None:
        """Start the processes before the first call: their imports take seconds."""
        if not self.begun and not self.closed:
            self.begun = True
            _start_tracker()
            for slot in range(self._count):
                self._start(slot)

    def close(self) -> None:
        """Kill all processes at once."""
        self.closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._started):
            process.kill()
        self._threads.shutdown(wait=True)

    def _start(self, slot: int) -> None:
        process = _Process(slot, self._count, self._context)
        self._started.append(process)
        process.submit(_ready)
        self._idle.put(process)

    def _run(self, function: Callable[..., Result], *args: Any) -> Result:
        for loss in range(1, LOSSES + 1):
            process = self._idle.get()
            try:
                result = process.run(function, *args)
            except BrokenProcessPool:
                self._started.remove(process)
                if self.closed:
                    raise
                self._start(process.slot)
                if loss == LOSSES:
                    raise
                label = getattr(function, "label", "a call")
                print(f"probekit: a process was lost while it measured {label}; started again", file=sys.stderr)
            except BaseException:
                self._idle.put(process)
                raise
            else:
                self._idle.put(process)
                return result
        raise AssertionError("unreachable")


class _Process:
    """One process, which starts with its first call."""

    _starting = threading.Lock()

    def __init__(self, slot: int, count: int, context: Any) -> None:
        self.slot = slot
        self._pool = ProcessPoolExecutor(1, context, initializer=_settle, initargs=(slot, count))
        self._child: Any = None

    def run(self, function: Callable[..., Result], *args: Any) -> Result:
        return self.submit(function, *args).result()

    def submit(self, function: Callable[..., Result], *args: Any) -> Future[Result]:
        with self._starting:  # one at a time, to know which of this process's children is which
            before = set(multiprocessing.active_children())
            future = self._pool.submit(function, *args)
            if self._child is None:
                self._child = next(iter(set(multiprocessing.active_children()) - before), None)
        return future

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _start_tracker() -> None:
    """Start Python's process that deletes what a killed one leaves in shared memory, and have it do so in silence."""
    name, quiet = "PYTHONWARNINGS", "ignore:resource_tracker"
    before = os.environ.get(name)
    os.environ[name] = f"{before},{quiet}" if before else quiet
    try:
        resource_tracker.ensure_running()
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _settle(slot: int, count: int) -> None:
    """Set up a process that helps: its cores and GPU, no progress, no Ctrl-C of its own, an end with its parent."""
    os.environ["PROBEKIT_PROGRESS"] = "0"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    import torch
    from threadpoolctl import threadpool_limits

    share = max(1, cores() // count)
    torch.set_num_threads(share)
    threadpool_limits(share)
    if torch.cuda.device_count() > 1:
        torch.cuda.set_device(slot % torch.cuda.device_count())


def _ready() -> None:
    """Import what every call needs, before the first one comes."""
    from probekit.evaluation import tasks  # noqa: F401  # to have been imported is all that is wanted


# --- calls ------------------------------------------------------------------------------------------------------------


class Lost:
    """Placeholder for the result of a call that the executor lost."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def results(executor: Executor, calls: Sequence[Callable[[int], Result]]) -> Iterator[tuple[int, Result | Lost]]:
    """Yield (position, result) as calls end; each call receives its number of earlier attempts.

    A call that is lost is submitted again, up to `SUBMISSIONS` times in all. When the executor takes no more calls,
    those that are left are lost too.
    """
    dead = ""
    running: dict[int, tuple[Any, int]] = {}

    def submit(place: int, attempt: int) -> None:
        nonlocal dead
        try:
            running[place] = executor.submit(calls[place], attempt), attempt
        except Exception as error:  # whatever an engine raises when it is gone
            dead = f"the executor takes no more work ({type(error).__name__}: {error})"

    for place in range(len(calls)):
        if not dead:
            submit(place, 0)
    left = set(range(len(calls)))
    try:
        while left:
            for place in [place for place in left if place not in running]:
                left.remove(place)
                yield place, Lost(dead)
            for place in _ended(running):
                future, attempt = running.pop(place)
                try:
                    found: Result | Lost = future.result()
                except Exception as error:
                    found = Lost(f"the executor lost it {attempt + 1} times ({type(error).__name__}: {error})")
                    del future
                    if not dead and attempt + 1 < SUBMISSIONS:
                        submit(place, attempt + 1)
                        continue
                left.remove(place)
                yield place, found
    finally:
        for future, _ in running.values():
            with suppress(Exception):
                future.cancel()


def _ended(running: dict[int, tuple[Any, int]]) -> list[int]:
    """Positions of futures that are done: at least one, after waiting; the first, if futures cannot be asked."""
    while running:
        ended = [place for place, (future, _) in running.items() if not hasattr(future, "done") or future.done()]
        if ended:
            asked = [place for place in ended if hasattr(running[place][0], "done")]
            return asked or ended[:1]
        time.sleep(POLL)
    return []
