"""The steps of one run: batches, masks, gradients, states and snapshots.

Everything random is a function of (seed, step), so the loop carries no generator. Accelerate finds the devices and
processes and averages gradients; precision is chosen by the rule in `settings.choose_precision`.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from probekit.data import ImageSet, Preprocess, TrainingStream
from probekit.errors import TrainingError
from probekit.training import graphs, objective
from probekit.training.building import compile_blocks, create_model, fused_attention
from probekit.training.cards import save_checkpoint
from probekit.training.directory import RunDirectory
from probekit.training.settings import Settings, draw_masks, hidden_patches, interior, on_device
from probekit.training.starting import Start

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Run:
    """One training run, from wherever its directory stands to its end.

    Args:
        settings: what determines the weights.
        image_set: a train split.
        accelerator: of accelerate; says which process this is.
        directory: where the run lives.
        workers: processes that decode images.
        start: the weights that the run begins with; None = fresh ones.
    """

    def __init__(
        self,
        settings: Settings,
        image_set: ImageSet,
        accelerator: Accelerator,
        directory: RunDirectory,
        *,
        workers: int = 0,
        start: Start | None = None,
    ) -> None:
        self.settings = settings = on_device(settings, accelerator.device)
        self.accelerator, self.directory, self.device = accelerator, directory, accelerator.device
        self.image_set, self.start = image_set, start
        self.share = share_of(settings, accelerator.num_processes)
        self.model = create_model(settings, start).to(self.device).train()
        groups = objective.parameter_groups(self.model, settings.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, fused=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "float16")
        if settings.compile:
            compile_blocks(self.model)
        self.objective = objective.MaskedLoss(self.model)
        self.loss = accelerator.prepare_model(self.objective)
        self.stream = TrainingStream(
            image_set,
            self.share,
            preprocess(settings),
            seed=settings.seed,
            augment=settings.augment,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            workers=workers,
        )
        self.hidden_patches = hidden_patches(settings)
        self.step = 0
        self.pending: list[tuple[int, Tensor]] = []
        """First step and losses, (steps,), of steps whose losses were not looked at yet."""
        self.sum, self.count = 0.0, 0
        self.seconds = 0.0

    # --- one step ---------------------------------------------------------------------------------------------------

    def train_step(self, images: Tensor) -> Tensor:
        """Forward, backward and update with this process's share of a batch; returns its share of the loss."""
        settings = self.settings
        rate = objective.learning_rate(self.step, settings.steps, settings.learning_rate, settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.gradients(images)
        self.pending.append((self.step + 1, loss.reshape(1)))
        if self.device.type == "cpu":  # before the update, so that a loss that is not finite leaves the weights good
            self.look_at_losses()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss

    def gradients(self, images: Tensor) -> Tensor:
        """Accumulate the gradients of this process's share of the batch; returns its share of the loss, detached."""
        with self.products():
            return self._gradients(images)

    def _gradients(self, images: Tensor) -> Tensor:
        hidden, counted, total = self.masks()
        world, parts = self.accelerator.num_processes, self.settings.accumulate
        size = self.share // parts
        summed = torch.zeros((), device=self.device)
        for part in range(parts):
            rows = slice(part * size, (part + 1) * size)
            together = contextlib.nullcontext() if part == parts - 1 else self.accelerator.no_sync(self.loss)
            with together:
                with self.autocast():
                    loss = self.loss(images[rows], hidden[rows], None if counted is None else counted[rows], total)
                # Distributed training averages over processes; the loss is already a share of the whole.
                self.scaler.scale(loss * world if world > 1 else loss).backward()
            summed += loss.detach()
        return summed

    def masks(self) -> tuple[Tensor, Tensor | None, int]:
        """This process's rows of the step's masks, the patches that count, and how many count in the whole batch."""
        hidden, _ = draw_masks(self.settings, self.settings.batch_size, self.step)
        counted = None if self.settings.boundary else interior(hidden, self.settings.grid)
        total = max(1, int((hidden if counted is None else counted).sum()))
        first = self.accelerator.process_index * self.share
        rows = slice(first, first + self.share)
        return hidden[rows].to(self.device), None if counted is None else counted[rows].to(self.device), total

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        precision = self.settings.precision
        if precision not in DTYPES:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[precision])

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Matrix products of the run's precision: TF32 on a GPU where it was chosen, and nowhere else."""
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.settings.precision == "tf32"
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
        settings, note = self.settings, ""
        snapshots = settings.snapshot_steps()
        started = saved = logged = time.monotonic()
        before, logged_step, told = self.seconds, self.step, self.step
        for ended in self.stretches(log_every, set(snapshots)):
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
            if self.step in snapshots:
                self.write(f"snapshots/{snapshots[self.step]:g}")
            if last or not (self.accelerator.num_processes == 1 or self.step % log_every == 0):
                continue
            stopping = self.agree(stop())
            if stopping or self.agree(time.monotonic() - saved >= save_every):
                self.save_state()
                saved = time.monotonic()
            if stopping:
                return False
        return True

    def stretches(self, log_every: int, snapshots: set[int]) -> Iterator[bool]:
        """Take the steps that are left: as graphs, many between two visits, where that is possible; else one by one.

        Yields whenever other runs may take their turn, and whether a stretch has ended there.
        """
        steps = self.settings.steps
        if graphs.suits(self):
            ends = graphs.stretches(self.step, steps, log_every, snapshots)
            with graphs.GraphedSteps(self, ends) as graphed:
                for _ in ends:
                    for _ in graphed.advance():
                        yield False
                    yield True
            return
        with contextlib.closing(self.stream.iterate(self.step, steps)) as batches:  # type: ignore[type-var]
            for images in batches:
                self.train_step(images.to(self.device, non_blocking=True))
                yield True

    def agree(self, wish: bool) -> bool:
        """What the main process wishes: clocks and signals differ between processes, decisions must not."""
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
                raise self.broken(f"The loss became {value} at step {step} of {self.settings.steps}.", step)
            self.sum, self.count = self.sum + value, self.count + 1

    def broken(self, what: str, step: int) -> TrainingError:
        """The error that ends a run at a bad step; the state before that step is saved first, if it is still there."""
        if self.step < step and self.finite():
            self.write_state()
        state, _ = self.directory.load_state(torch.device("cpu"))
        kept = f"The last good state, after step {state['step']}, is kept" if state else "No state had been saved yet"
        return TrainingError(
            f"{what} {kept} in {self.directory.path}. Lower base_lr ({self.settings.base_lr}) or lengthen warmup "
            f"({self.settings.warmup}), in a new directory; in float16, try bfloat16 or float32."
        )

    def finite(self) -> bool:
        """Whether every weight is."""
        return all(torch.isfinite(norm) for norm in torch._foreach_norm(list(self.model.parameters())))

    def log_line(self, speed: float) -> dict[str, Any]:
        """Write and return a line: the mean loss since the last one, the rate of the last step, images per second."""
        settings = self.settings
        rate = objective.learning_rate(self.step - 1, settings.steps, settings.learning_rate, settings.warmup)
        line = {
            "step": self.step,
            "images_seen": self.step * settings.batch_size,
            "loss": self.sum / max(1, self.count),
            "lr": rate,
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
            raise self.broken(
                f"A weight is no longer finite after step {self.step} of {self.settings.steps}.", self.step
            )
        self.write_state()

    def write_state(self) -> None:
        """Write the state as it is now; the main process does."""
        if self.accelerator.is_main_process:
            self.directory.save_state(
                self.step,
                {
                    "step": self.step,
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "loss": (self.sum, self.count),
                    "seconds": self.seconds,
                },
            )

    def restore(self) -> list[str]:
        """Go to the newest readable state, if there is one; returns notes on states that could not be read."""
        state, notes = self.directory.load_state(self.device)
        self.accelerator.wait_for_everyone()
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.sum, self.count = state["loss"]
        if self.accelerator.is_main_process:
            self.directory.prepare(self.step)
        return notes

    def write(self, name: str | None = None) -> None:
        """Write the checkpoint as it is now: into a subfolder, or into the run's directory itself."""
        if self.accelerator.is_main_process:
            seen = self.step * self.settings.batch_size
            known_as = self.directory.path.name + ("" if name is None else f"@{name.split('/')[-1]}")
            with fused_attention(self.model):  # what readers of the checkpoint compute with
                facts = self.model, self.settings, self.image_set, seen, self.start
                self.directory.place(lambda to: save_checkpoint(to, known_as, *facts), name)


def preprocess(settings: Settings) -> Preprocess:
    """What images go through before the model."""
    return Preprocess(*settings.image_size, settings.mean, settings.std)


def share_of(settings: Settings, processes: int) -> int:
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
