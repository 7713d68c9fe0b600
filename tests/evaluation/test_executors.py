"""Checkpoints measured elsewhere: the same numbers as here, and faults that take one checkpoint alone."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import warm
import xarray as xr
from tiny_measured import COUNTS, SPEC, tiny

import probekit
from probekit.collect.pass_settings import PassSettings, Preparation
from probekit.errors import ProbeError, ProbekitError
from probekit.evaluation import Plan, comparison, executors
from probekit.evaluation.executors import LocalWorkers, Lost
from probekit.evaluation.tasks import Measuring, Outlining

MEASURED: dict[str, Any] = {"suite": ["knn", "attention_distance"], "data": SPEC, "counts": COUNTS, "device": "cpu"}


@pytest.fixture
def saved(tmp_path: Path) -> list[str]:
    """Paths of three tiny checkpoints."""
    paths = []
    for seed in range(3):
        checkpoint = tiny(seed=seed)
        checkpoint.card.name = f"tiny{seed}"
        checkpoint.save(tmp_path / f"tiny{seed}")
        paths.append(str(tmp_path / f"tiny{seed}"))
    return paths


def same(ds: xr.Dataset, other: xr.Dataset) -> None:
    xr.testing.assert_identical(ds.assign_attrs(provenance=""), other.assign_attrs(provenance=""))


class Reversed:
    """Runs what it is given when a result is first asked for, the last one first, and loses some calls."""

    def __init__(self, lose: int = 0) -> None:
        self.lose = lose
        self.waiting: list[tuple[Future[Any], Any, tuple[Any, ...]]] = []
        self.calls: list[Any] = []

    def submit(self, function: Any, *args: Any) -> Future[Any]:
        outer, future = self, Future[Any]()

        class Asked:
            def result(self) -> Any:
                while outer.waiting:
                    waiting, function, args = outer.waiting.pop()
                    outer.calls.append((function.label, *args))
                    if outer.lose:
                        outer.lose -= 1
                        waiting.set_exception(ConnectionError("gone"))
                    else:
                        waiting.set_result(function(*args))
                return future.result()

        self.waiting.append((future, function, args))
        return Asked()  # type: ignore[return-value]


def test_whatever_has_submit_gives_what_one_process_gives(saved: list[str]) -> None:
    here = probekit.compare(saved, **MEASURED)
    engine = Reversed(lose=2)
    there = probekit.compare(saved, executor=engine, cache=False, **MEASURED)
    same(here, there)
    assert [call for call in engine.calls if call[1]] == [(path, 1) for path in engine_labels(engine, 1)]
    with ThreadPoolExecutor(2) as pool:
        same(here, probekit.compare(saved, executor=pool, cache=False, **MEASURED))


def engine_labels(engine: Reversed, attempt: int) -> list[str]:
    return [label for label, number in engine.calls if number == attempt]


def test_a_checkpoint_that_cannot_be_read_takes_itself_alone(saved: list[str], tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"no checkpoint")
    mixed = [saved[0], str(tmp_path / "broken.pth"), saved[1]]
    with pytest.raises(ProbekitError, match=r"1 of 3 checkpoints .*\n  .*broken\.pth: ") as raised:
        probekit.compare(mixed, executor=Reversed(), **MEASURED)
    kept = raised.value.results
    same(kept, probekit.compare([saved[0], saved[1]], **MEASURED))
    assert list(json.loads(kept.attrs["provenance"])["failed"]) == [str(tmp_path / "broken.pth")]
    with pytest.raises(ProbekitError, match=r"broken\.pth"):  # here it stops, unless it is told to go on
        probekit.compare(mixed, **MEASURED)
    with pytest.raises(ProbekitError, match="1 of 3") as again:
        probekit.compare(mixed, keep_going=True, **MEASURED)
    same(again.value.results, kept)


class Dying(Reversed):
    """Takes `calls` calls, then none."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def submit(self, function: Any, *args: Any) -> Future[Any]:
        if not self.left:
            raise ConnectionError("gone")
        self.left -= 1
        return super().submit(function, *args)


def test_a_scheduler_that_dies_leaves_what_was_measured(saved: list[str]) -> None:
    with pytest.raises(ProbekitError, match=r"1 of 3 .*\n.*tiny2\): the executor takes no more work .*gone") as raised:
        probekit.compare(saved, executor=Dying(5), **MEASURED)
    assert raised.value.results.checkpoint.values.tolist() == ["tiny0", "tiny1"]
    same(raised.value.results, probekit.compare(saved[:2], **MEASURED))


def test_a_full_disk_takes_only_the_checkpoint_that_met_it(saved: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are measured and kept; with room again, the same call measures the one that is missing."""
    handle, write, full = Measuring.handle, Path.write_bytes, ["tiny1"]

    def handling(self: Measuring, *args: Any) -> None:
        def writing(path: Path, content: bytes) -> int:
            if self.label in full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, content)

        monkeypatch.setattr(Path, "write_bytes", writing)
        handle(self, *args)

    monkeypatch.setattr(Measuring, "handle", handling)
    with pytest.raises(ProbekitError, match=r"1 of 3 .*\n  tiny1 .*the disk is full") as raised:
        probekit.compare(saved, executor=Reversed(), **MEASURED)
    assert raised.value.results.checkpoint.values.tolist() == ["tiny0", "tiny2"]
    full.clear()
    whole = probekit.compare(saved, executor=Reversed(), **MEASURED)
    made = {one["checkpoint_name"]: one["forwards"] for one in json.loads(whole.attrs["provenance"])["records"]}
    assert made["tiny0"] == made["tiny2"] == 0 < made["tiny1"]
    same(whole, probekit.compare(saved, cache=False, **MEASURED))


def test_calls_are_given_up_after_some_losses() -> None:
    engine = Reversed(lose=100)

    def call(attempt: int) -> int:
        return attempt

    call.label = "x"  # type: ignore[attr-defined]
    [(place, found)] = executors.results(engine, [call])
    assert place == 0
    assert isinstance(found, Lost)
    assert f"lost it {executors.SUBMISSIONS} times" in found.reason


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ("cluster", "expected 'local:N'"),
        ("local:0", "number of processes"),
        ("local:x", "number of processes"),
        ("dask", "the scheduler's address"),
        (3, r"object with submit\(function"),
    ],
)
def test_an_executor_that_is_none_is_named(executor: Any, message: str, saved: list[str]) -> None:
    with pytest.raises(ProbeError, match=message):
        probekit.compare(saved, executor=executor, **MEASURED)


def test_slurm_where_there_is_none_is_said(saved: list[str]) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(ProbeError, match=r"executor='slurm:gpu'"):
        probekit.compare(saved, executor="slurm:gpu", **MEASURED)


def die_once(marker: str) -> int:
    """Kill this process the first time."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@pytest.fixture
def quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes have torch when they start; the README's command with `local:2` starts them as users do."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: warm.CONTEXT)


@pytest.mark.usefixtures("quick_start")
def test_a_process_that_is_killed_is_replaced_and_all_end_with_their_parent(tmp_path: Path, capfd) -> None:
    workers = LocalWorkers(1)
    try:
        pid = workers.submit(die_once, str(tmp_path / "marker")).result()
        assert pid != os.getpid()
        assert "a process was lost" in capfd.readouterr().err
        assert len(workers._started) == 1
        started = workers.submit(time.sleep, 60)
        time.sleep(0.2)
    finally:
        before = time.monotonic()
        workers.close()
    assert time.monotonic() - before < 5
    assert started.done()
    assert not multiprocessing.active_children()  # ended, waited for, and none begun anew


KILLED = """
import multiprocessing, os, signal, time
from probekit.evaluation.executors import LocalWorkers

if __name__ == "__main__":
    name = f"own-{os.getpid()}"  # other processes of these tests have semaphores, too
    multiprocessing.current_process()._config["semprefix"] = f"/{name}"
    LocalWorkers(1).submit(time.sleep, 60)
    print(name, sum(name in file for file in os.listdir("/dev/shm")), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_said_of_what_a_killed_process_leaves(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    done = subprocess.run([sys.executable, "killed.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    name, there = done.stdout.split()
    assert int(there) > 0
    assert not [file for file in os.listdir("/dev/shm") if name in file]


@pytest.mark.usefixtures("own_cache")
def test_local_processes_give_what_one_process_gives(saved: list[str]) -> None:
    there = probekit.compare(saved, executor="local:2", **MEASURED)
    assert sum(record["forwards"] for record in json.loads(there.attrs["provenance"])["records"]) > 0
    same(there, probekit.compare(saved, cache=False, **MEASURED))


def test_workers_are_for_what_is_not_in_the_cache(own_cache: Path) -> None:
    ships = ["shipped:untrained-s0", "shipped:untrained-s1", "shipped:quadtree-r0.75-p16-s0"]
    expected = probekit.compare(ships, cache=False, **MEASURED)
    probekit.compare(ships[:1], **MEASURED)
    for left in (["quadtree-r0.75-p16-s0", "untrained-s1"], []):
        engine = Reversed()
        found = probekit.compare(ships, executor=engine, **MEASURED)
        assert sorted(engine_labels(engine, 0)) == left
        same(found, expected)


def test_what_takes_longest_does_not_begin_last() -> None:
    plans = {
        "a": ("quadtree",),
        "b": ("quadtree",),
        "c": ("photos",),
        "d": ("shapes", "photos"),
        "e": ("shapes", "photos"),
    }
    tasks = {
        place: Measuring("", label, [Plan(data, ("knn",)) for data in sets], PassSettings(), {}, "cpu", "proportional")
        for place, (label, sets) in enumerate(plans.items())
    }
    ordered = [task.label for task in comparison.leaders_first(tasks).values()]
    assert ordered == ["a", "c", "d", "e", "b"]  # one of each kind, then two image sets before one


def test_workers_share_a_checkpoint_and_measure_nothing_twice(saved: list[str]) -> None:
    there = probekit.compare(saved[:2], executor=Reversed(), shards=3, **MEASURED)
    told = json.loads(there.attrs["provenance"])
    alone = json.loads(probekit.compare(saved[:2], cache=False, **MEASURED).attrs["provenance"])["records"]
    for record in alone:
        assert sum(told["shard_forwards"][record["checkpoint_name"]]) == record["forwards"]
    assert [record["forwards"] for record in told["records"]] == [0, 0]
    same(there, probekit.compare(saved[:2], **MEASURED))
    with pytest.raises(ProbeError, match="Name an executor"):
        probekit.compare(saved, shards=2, **MEASURED)


# --- engines ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_submitit_measures_and_can_be_requeued(saved: list[str], tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit")
    executor = submitit.AutoExecutor(folder=tmp_path / "logs", cluster="local")
    executor.update_parameters(timeout_min=10)
    same(probekit.compare(saved[:1], executor=executor, **MEASURED), probekit.compare(saved[:1], **MEASURED))
    task = Outlining(saved[0], "tiny0", Preparation())
    again = task.checkpoint(0)
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert (again.function, again.args) == (task, (1,))


@pytest.mark.slow
def test_dask_measures_on_worker_processes(saved: list[str]) -> None:
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dask's own, of sockets that it closes late
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, protocol="tcp"
        )
        try:
            there = probekit.compare(saved, executor=f"dask:{cluster.scheduler_address}", cache=False, **MEASURED)
        finally:
            cluster.close()
    same(there, probekit.compare(saved, **MEASURED))
    with pytest.raises(ProbeError, match="No dask scheduler answers"):
        probekit.compare(saved, executor="dask:tcp://127.0.0.1:9", **MEASURED)


KILLS = 20


@pytest.mark.slow
def test_workers_killed_at_random_end_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty checkpoints on three image sets, four workers, twenty kills."""
    paths = []
    for seed in range(20):
        checkpoint = tiny(seed=seed)
        checkpoint.card.name = f"tiny{seed}"
        paths.append(str(checkpoint.save(tmp_path / f"tiny{seed}")))
    job = {**MEASURED, "data": [SPEC, "shapes", "photos"], "suite": ["knn", "low_level", "label_free"]}
    one = probekit.compare(paths, **job)
    monkeypatch.setenv("PROBEKIT_CACHE", str(tmp_path / "another"))
    stop, killed = threading.Event(), []

    def kill() -> None:
        draw = random.Random(0)
        while len(killed) < KILLS and not stop.wait(draw.uniform(0.5, 3)):
            children = multiprocessing.active_children()
            if children:
                victim = draw.choice(children)
                killed.append(victim.pid)
                victim.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        many = probekit.compare(paths, executor="local:4", **job)
    finally:
        stop.set()
        killer.join()
    same(many, one)
    forwards = [
        sum(record["forwards"] for record in json.loads(ds.attrs["provenance"])["records"]) for ds in (many, one)
    ]
    assert forwards[0] <= forwards[1]
    print(f"{len(killed)} workers were killed; {forwards[0]} of {forwards[1]} forwards by workers that lived on")
