"""What all kinds of runs share: the directory's lock and record, the end, threads, trackers.

Nothing here changes the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, is_tensorboard_available, is_wandb_available

from probekit import schema
from probekit.checks import a_path
from probekit.errors import TrainingError, did_you_mean
from probekit.training import graphs
from probekit.training.cards import device_name
from probekit.training.directory import RunDirectory
from probekit.training.recipe import Recipe
from probekit.training.stepping import Stepping, warn
from probekit.training.values import as_declared

TRACKERS = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}


@dataclass(frozen=True)
class Conduct:
    """How a run is carried out: nothing that its weights depend on. As the arguments of `train`."""

    workers: int = 0
    save_every: float = 60.0
    log_every: int = 20
    tracker: str | None = None
    stop: Callable[[], bool] = lambda: False
    """Whether to leave, after saving a state."""
    advance: Callable[..., None] = lambda n=1, note="": None
    """Told how many images were trained on, and a note."""


def check_conduct(
    output: Any, device: Any, threads: Any, workers: Any, save_every: Any, log_every: Any, tracker: Any
) -> None:
    """Raise for impossible arguments among those that the weights do not depend on."""
    a_path("output", output, "the directory of the run", error=TrainingError)
    if device not in ("auto", "cpu"):
        raise TrainingError(
            f"device={device!r}: expected 'auto' or 'cpu'; choose among GPUs with CUDA_VISIBLE_DEVICES."
        )
    least = {"threads": (threads, int, 1), "workers": (workers, int, 0), "log_every": (log_every, int, 1)}
    for name, (value, kind, low) in (least | {"save_every": (save_every, float, 0)}).items():
        if value is not None and not as_declared(name, value, kind) >= low:
            raise TrainingError(f"{name}={value}: expected at least {low}.")
    if tracker is None:
        return
    if tracker not in TRACKERS:
        raise TrainingError(f"No tracker is called {tracker!r}. {did_you_mean(str(tracker), TRACKERS)}")
    if not TRACKERS[tracker]():
        raise TrainingError(f"tracker={tracker!r}: the package is not installed. Run: pip install {tracker}")


def carried_out(
    make: Callable[[], Stepping],
    settings: Recipe,
    accelerator: Accelerator,
    directory: RunDirectory,
    conduct: Conduct,
) -> Iterator[None]:
    """Run to the end, resuming from the last state; yields between stretches of steps.

    Args:
        make: the run, at its start; called unless it is finished.
        settings: of the run, every "auto" resolved.
        accelerator, directory, conduct: where and how.
    """
    with exclusive(directory, accelerator):
        notes = open_run(directory, settings, accelerator)
        total = settings.steps * settings.batch_size
        if directory.finished is not None:
            directory.check_finished()
            conduct.advance(total)
        else:
            run = make()
            warn([*notes, *run.restore()], directory.path)
            conduct.advance(run.step * settings.batch_size)
            yield from complete(run, conduct)
        accelerator.wait_for_everyone()


def open_run(directory: RunDirectory, settings: Recipe, accelerator: Accelerator) -> list[str]:
    """Record the settings in the directory, or compare them with those of the run that is there."""
    conditions = {
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "device": accelerator.device.type,
        "torch": torch.__version__,
    }
    if accelerator.device.type == "cuda":
        conditions["card"] = device_name(accelerator.device)
    notes = directory.open(settings.record(), conditions) if accelerator.is_main_process else []
    accelerator.wait_for_everyone()
    return [f"{note}, so the weights may differ in their last bits from an uninterrupted run" for note in notes]


def complete(run: Stepping, conduct: Conduct) -> Iterator[None]:
    """Train to the end and write what the run is for; a wish to stop becomes a KeyboardInterrupt after saving."""
    accelerator, settings, directory = run.accelerator, run.recipe, run.directory
    if conduct.tracker:
        plain = {
            key: value if isinstance(value, int | float | str) else str(value)
            for key, value in settings.record().items()
        }
        accelerator.init_trackers("probekit", config=plain)
    done = yield from run.go(
        save_every=conduct.save_every,
        log_every=conduct.log_every,
        stop=conduct.stop,
        track=lambda line, step: accelerator.log(line, step=step) if conduct.tracker else None,
        advance=conduct.advance,
    )
    if conduct.tracker:
        accelerator.end_training()
    if not done:
        raise KeyboardInterrupt(
            f"Stopped after step {run.step} of {settings.steps}; the state is saved. The same command "
            "goes on from there."
        )
    run.finish()
    if accelerator.is_main_process:
        losses = [line["loss"] for line in directory.read_log() if "loss" in line]
        facts = {
            "steps": run.step,
            "images_seen": run.step * settings.batch_size,
            "loss": losses[-1] if losses else None,  # None: the log was damaged
            "seconds": round(run.seconds, 1),
            "device": device_name(accelerator.device),
            "versions": schema.versions(("torch", "timm", "accelerate", "numpy")),
        }
        directory.finish(facts)


def on_stream(device: torch.device) -> AbstractContextManager[Any]:
    """On a GPU, a stream of one's own: graphs cannot be captured on the default one."""
    return torch.cuda.stream(graphs.new_stream(device)) if device.type == "cuda" else nullcontext()


@contextmanager
def using_threads(threads: int | None) -> Iterator[None]:
    """Torch with so many threads, and as before afterwards."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def exclusive(directory: RunDirectory, accelerator: Accelerator) -> Iterator[None]:
    """The directory's lock, held by the main process; where it is taken, every process of the launch learns it.

    (If the main process alone went on to the next cell of a grid, the others would never stop waiting.)
    """
    with ExitStack() as stack:
        refusal: list[TrainingError | None] = [None]
        if accelerator.is_main_process:
            try:
                stack.enter_context(directory.locked())
            except TrainingError as error:
                refusal[0] = error
        broadcast_object_list(refusal)
        if refusal[0] is not None:
            raise refusal[0]
        yield
