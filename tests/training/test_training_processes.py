"""Two processes on the CPU give the loss, the gradients and the run of one process at the same effective batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from conftest import SIZES, some_images
import torch
from accelerate import Accelerator
import probekit
from probekit.training.directory import RunDirectory
from probekit.training.loop import Run
from probekit.training.settings import resolve
options = dict(mask_ratio=0.75, patch_size=4, images=80, seed=0, boundary={boundary})
settings = resolve("tiny", SIZES, data="noise", data_fingerprint="-", accumulate={accumulate}, **options)
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == {processes}
run = Run(settings, some_images(), accelerator, RunDirectory("{output}-none"))
loss = run.gradients(run.stream.batch(0))
loss = accelerator.reduce(loss, reduction="sum")
if accelerator.is_main_process:
    found = {{name: p.grad for name, p in run.model.named_parameters() if p.grad is not None}}
    torch.save((loss, found), "{output}.pt")
probekit.train(some_images(), **options, output={output!r}, device="cpu", threads=1, log_every=5, accumulate={accumulate},
               **SIZES)
if accelerator.num_processes > 1:
    torch.distributed.destroy_process_group()
"""


def launch(output: Path, processes: int, *, boundary: bool, accumulate: int = 1) -> None:
    """What `accelerate launch --cpu --num_processes N` does, without the launcher."""
    here = str(Path(__file__).parent)
    code = SCRIPT.format(here=here, output=str(output), processes=processes, boundary=boundary, accumulate=accumulate)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(processes):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
        environment = {key: str(value) for key, value in (ranks | where).items()} if processes > 1 else {}
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", code], env=os.environ | environment, stderr=subprocess.PIPE, text=True
            )
        )
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("processes")
    launch(folder / "one", 1, boundary=False)
    launch(folder / "two", 2, boundary=False, accumulate=2)
    return folder / "one", folder / "two"


def test_loss_and_gradients(outputs: tuple[Path, Path]) -> None:
    (loss, one), (loss_of_two, two) = (torch.load(f"{path}.pt", weights_only=True) for path in outputs)
    torch.testing.assert_close(loss_of_two, loss, rtol=1e-6, atol=1e-7)
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-7)


def test_whole_runs(outputs: tuple[Path, Path]) -> None:
    one, two = ([json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()] for path in outputs)
    assert [line["step"] for line in one] == [line["step"] for line in two] == [5, 10]
    for first, second in zip(one, two, strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
