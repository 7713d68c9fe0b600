"""The steps of all kinds of runs: gradients over micro-batches and processes, the log, states, the end.

Everything random is a function of (seed, step), so the loop carries no generator. Accelerate finds the devices and
processes and averages gradients; precision is chosen by the rule in `recipe.choose_precision`. A subclass says what a
batch is, what its loss is, and what is done between steps.
"""

from __future__ import annotations

import abc
import contextlib
import math
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from probekit.errors import TrainingError
from probekit.training import objective
from probekit.training.directory import RunDirectory
from probekit.training.recipe import Recipe

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Stepping(abc.ABC):
    """A run; it resumes from the last state in its directory.

    Args:
        settings: what determines the weights; every "auto" resolved.
        accelerator: of accelerate; says which process this is.
        directory: where the run lives.
        model: all that is trained, on the device; its tensors are the run's state.
        groups: what the optimizer moves, in groups as torch takes them; `lr_scale` multiplies the rate of a group.
    """

    def __init__(
        self,
        settings: Recipe,
        accelerator: Accelerator,
        directory: RunDirectory,
        model: nn.Module,
        groups: list[dict[str, Any]],
    ) -> None:
        self.recipe, self.trained = settings, model
        self.accelerator, self.directory, self.device = accelerator, directory, accelerator.device
        self.share = share_of(settings, accelerator.num_processes)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, fused=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "float16")
        self.step = 0
        self.pending: list[tuple[int, Tensor]] = []
        """First step and losses, (steps,), of steps whose losses were not looked at yet."""
        self.sum, self.count = 0.0, 0
        self.seconds = 0.0

    # --- what a run is of -------------------------------------------------------------------------------------------

    loss: nn.Module
    """What accelerate prepared: called for every micro-batch."""

    @abc.abstractmethod
    def losses(self, batch: Any) -> Callable[[slice], Tensor]:
        """From the rows of a micro-batch to its share of the loss; whatever is drawn for the step is drawn here."""

    @abc.abstractmethod
    def stretches(self, log_every: int) -> Iterator[bool]:
        """Take the steps that are left.

        Yields whenever other runs may take their turn, and whether a stretch has ended there.
        """

    @abc.abstractmethod
    def visit(self) -> None:
        """Whatever is due after the present step, besides the log and states."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Write what the run is for, after the last step."""

    def extra_state(self) -> dict[str, Any]:
        """What a state holds besides weights, optimizer and log."""
        return {}

    def restore_extra(self, state: dict[str, Any]) -> None:  # noqa: B027  # most runs have nothing extra
        """Go to what `extra_state` gave."""

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0, before the scales of groups."""
        recipe = self.recipe
        return objective.learning_rate(step, recipe.steps, recipe.learning_rate, recipe.warmup)

    # --- one step ---------------------------------------------------------------------------------------------------

    def train_step(self, batch: Any) -> Tensor:
        """Forward, backward and update with this process's share of a batch; returns its share of the loss."""
        rate = self.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        loss = self.gradients(batch)
        self.pending.append((self.step + 1, loss.reshape(1)))
        if self.device.type == "cpu":  # before the update, so that a loss that is not finite leaves the weights good
            self.look_at_losses()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss

    def gradients(self, batch: Any) -> Tensor:
        """Accumulate the gradients of this process's share of the batch; returns its share of the loss, detached."""
        with self.products():
            return self._gradients(batch)

    def _gradients(self, batch: Any) -> Tensor:
        compute = self.losses(batch)
        world, parts = self.accelerator.num_processes, self.recipe.accumulate
        size = self.share // parts
        summed = torch.zeros((), device=self.device)
        for part in range(parts):
            rows = slice(part * size, (part + 1) * size)
            together = contextlib.nullcontext() if part == parts - 1 else self.accelerator.no_sync(self.loss)
            with together:
                with self.autocast():
                    loss = compute(rows)
                # Distributed training averages over processes; the loss is already a share of the whole.
                self.scaler.scale(loss * world if world > 1 else loss).backward()
            summed += loss.detach()
        return summed

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        precision = self.recipe.precision
        if precision not in DTYPES:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[precision])

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Matrix products of the run's precision: TF32 on a GPU where it was chosen, and nowhere else."""
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.recipe.precision == "tf32"
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    # --- the whole run ----------------------------------------------------------------------------------------------

    def go(
        self,
        *,
        save_every: float,
        log_every: int,
        stop: Callable[[], bool],
        track: Callable[[dict[str, Any], int], None],
        advance: Callable[..., None],
    ) -> Generator[None, None, bool]:
        """Train to the end, yielding whenever another run may take its turn.

        Returns False if `stop` asked to leave before the end.

        Args:
            save_every: seconds between states (one is also saved on leaving).
            log_every: steps between lines of the log; NaN is looked for at the same time on a GPU, each step elsewhere.
            track: is given each line of the log and its step.
            advance: is told how many images were trained on, and a note.
        """
        settings, note = self.recipe, ""
        started = saved = logged = time.monotonic()
        before, logged_step, told = self.seconds, self.step, self.step
        for ended in self.stretches(log_every):
            yield
            if not ended:
                continue
            self.seconds = before + time.monotonic() - started
            last = self.step == settings.steps
            if last or self.step % log_every == 0:
                self.look_at_losses()
                now = time.monotonic()
                line = self.log_line((self.step - logged_step) * settings.batch_size / (now - logged))
                logged, logged_step = now, self.step
                track(line, self.step)
                note = f"loss {line['loss']:.4f}"
            advance((self.step - told) * settings.batch_size, note)
            told = self.step
            self.visit()
            if last or not (self.accelerator.num_processes == 1 or self.step % log_every == 0):
                continue
            stopping = self.agree(stop())
            if stopping or self.agree(time.monotonic() - saved >= save_every):
                self.save_state()
                saved = time.monotonic()
            if stopping:
                return False
        return True

    def agree(self, wish: bool) -> bool:
        """The main process's decision, on all processes, whose clocks and signals differ."""
        if self.accelerator.num_processes == 1:
            return wish
        flag = torch.tensor(int(wish), device=self.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    def look_at_losses(self) -> None:
        """Add the steps' losses, summed over processes, to the running mean; stop where one is not finite."""
        if not self.pending:
            return
        steps = [first + row for first, found in self.pending for row in range(len(found))]
        losses = torch.cat([found for _, found in self.pending])
        self.pending.clear()
        if self.accelerator.num_processes > 1:
            losses = self.accelerator.reduce(losses, reduction="sum")
        for step, value in zip(steps, losses.double().tolist(), strict=True):
            if not math.isfinite(value):
                raise self.broken(f"The loss became {value} at step {step} of {self.recipe.steps}.", step)
            self.sum, self.count = self.sum + value, self.count + 1

    def broken(self, what: str, step: int) -> TrainingError:
        """The error that ends a run at a bad step; the state before that step is saved first, if it is still there."""
        if self.step < step and self.finite():
            self.write_state()
        state, _ = self.directory.load_state(torch.device("cpu"))
        kept = f"The last good state, after step {state['step']}, is kept" if state else "No state had been saved yet"
        return TrainingError(
            f"{what} {kept} in {self.directory.path}. Lower base_lr ({self.recipe.base_lr}) or lengthen warmup "
            f"({self.recipe.warmup}), in a new directory; in float16, try bfloat16 or float32."
        )

    def finite(self) -> bool:
        """Whether every weight is."""
        return all(torch.isfinite(norm) for norm in torch._foreach_norm(list(self.trained.parameters())))

    def log_line(self, speed: float) -> dict[str, Any]:
        """Write and return a line: the mean loss since the last one, the rate of the last step, images per second."""
        line = {
            "step": self.step,
            "images_seen": self.step * self.recipe.batch_size,
            "loss": self.sum / max(1, self.count),
            "lr": self.rate(self.step - 1),
            "images_per_second": round(speed, 2),
        }
        self.sum, self.count = 0.0, 0
        if self.accelerator.is_main_process:
            self.directory.log(line)
        return line

    # --- states and checkpoints -------------------------------------------------------------------------------------

    def save_state(self) -> None:
        """Everything that a later process needs; refused while a weight is not finite."""
        self.look_at_losses()
        if not self.finite():
            raise self.broken(f"A weight is no longer finite after step {self.step} of {self.recipe.steps}.", self.step)
        self.write_state()

    def write_state(self) -> None:
        """Write the state as it is now; the main process does."""
        if self.accelerator.is_main_process:
            self.directory.save_state(
                self.step,
                {
                    "step": self.step,
                    "model": self.trained.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "loss": (self.sum, self.count),
                    "seconds": self.seconds,
                    **self.extra_state(),
                },
            )

    def restore(self) -> list[str]:
        """Go to the newest readable state, if there is one; returns notes on states that could not be read."""
        state, notes = self.directory.load_state(self.device)
        self.accelerator.wait_for_everyone()
        if state is not None:
            self.trained.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.sum, self.count = state["loss"]
            self.restore_extra(state)
        if self.accelerator.is_main_process:
            self.directory.prepare(self.step)
        return notes


def share_of(settings: Recipe, processes: int) -> int:
    """Images of a batch that one process sees.

    Raises:
        TrainingError: the batch does not divide into processes and micro-batches.
    """
    parts = processes * settings.accumulate
    if settings.batch_size % parts:
        raise TrainingError(
            f"batch_size={settings.batch_size} does not divide into {processes} process(es) x "
            f"accumulate={settings.accumulate} equal parts. Expected a multiple of {parts}."
        )
    return settings.batch_size // processes


def warn(notes: list[str], path: Path) -> None:
    """Say what makes a continued run differ from an uninterrupted one."""
    for note in notes:
        warnings.warn(f"{path}: {note}.", stacklevel=3)
