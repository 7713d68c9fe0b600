"""Two processes on the CPU give the loss, the gradients and the run of one process at the same effective batch."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch
import warm
from one_process import measure

from probekit.training.directory import RunDirectory


def launch(processes: int, script: str, *arguments: object) -> None:
    """What `torchrun --nproc-per-node N script arguments` does, without the launcher."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    running = []
    for rank in range(processes):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        environment = os.environ | {key: str(value) for key, value in (ranks | where).items()}
        running.append(warm.start(Path(__file__).with_name(script), *arguments, env=environment))
    try:
        for process in running:
            process.join(600)
            assert process.exitcode == 0
    finally:
        for process in running:
            process.kill()
            process.join()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("processes")
    measure(folder / "one", accumulate=1)
    launch(2, "one_process.py", folder / "two", 2)
    return folder / "one", folder / "two"


def test_loss_and_gradients(outputs: tuple[Path, Path]) -> None:
    (loss, one, processes), (loss_of_two, two, processes_of_two) = (
        torch.load(f"{path}.pt", weights_only=True) for path in outputs
    )
    assert (processes, processes_of_two) == (1, 2)
    torch.testing.assert_close(loss_of_two, loss, rtol=1e-6, atol=1e-7)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-7)


def test_whole_runs(outputs: tuple[Path, Path]) -> None:
    one, two = ([json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()] for path in outputs)
    assert [line["step"] for line in one] == [line["step"] for line in two] == [5, 10]
    for first, second in zip(one, two, strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)


def test_a_busy_cell_is_left_by_all_processes(tmp_path: Path) -> None:
    """Another program trains in the first cell, so both processes go on to the second one together."""
    with RunDirectory(tmp_path / "r0.5-p4-s0").locked():
        launch(2, "one_grid.py", tmp_path)
    assert not (tmp_path / "r0.5-p4-s0" / "settings.json").exists()
    assert (tmp_path / "r0.75-p4-s0" / "finished.json").is_file()
