"""A run's directory: what lies where, and how it survives being killed at any moment.

    config.json, model.safetensors, ...   the finished checkpoint, as `probekit.load` and transformers read it
    settings.json                         every setting that the weights depend on, and the conditions of the run
    log.jsonl                             one line per `log_every` steps: step, loss, lr, images_per_second, images_seen
    state/step-N.pt                       model, optimizer and loss sums after N steps; the newest two
    snapshots/0.125/ ...                  checkpoints at shares of training
    finished.json                         written last: final loss, seconds of training, digests of the weights

Every file is there whole or not at all (`probekit.files`). A state is written after the log lines of its steps; going
on cuts the log back to the state's step, so no step is in it twice.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from probekit.errors import ProbekitError, StorageError, TrainingError
from probekit.files import opened, read_bytes, read_json, unwritable, write_text, written_whole
from probekit.locks import Lock
from probekit.models import records
from probekit.seals import seal, unsealed_size
from probekit.training.settings import EARLIER

KEPT_STATES = 2

KEPT = "The last good state is kept: make room, then give the same command to go on from it."
"""What errors of the disk say."""

LAST = ".checkpoint"
"""Where the finished checkpoint is built before its files go into the run's directory."""


class RunDirectory:
    """Reads and writes one run's files; knows nothing of models.

    Args:
        path: of the directory.
        earlier: settings that older directories do not name, and what those runs were trained with.
    """

    def __init__(self, path: str | os.PathLike[str], *, earlier: Mapping[str, Any] = EARLIER) -> None:
        self.path = Path(path)
        self.earlier = dict(earlier)
        self.log_path = self.path / "log.jsonl"
        self.states = self.path / "state"

    def open(self, record: dict[str, Any], conditions: dict[str, Any]) -> list[str]:
        """Create the directory, or check that it belongs to the same run.

        Args:
            record: the settings, all of which must agree.
            conditions: processes, threads, device and versions: where they differ the run may go on, but not to
                the same bits.

        Returns:
            Sentences about conditions that differ.

        Raises:
            TrainingError: the directory holds a run of other settings, or something that is no run.
        """
        before = self.verify(record)
        if before is None:
            text = json.dumps({"settings": record, "conditions": conditions}, indent=1)
            write_text(self.path / "settings.json", text, kept=KEPT)
            return []
        return [
            f"{key} was {before.get(key)!r} and is {value!r}"
            for key, value in conditions.items()
            if before.get(key) != value
        ]

    def verify(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """The conditions of the run that is here; None where a new run can begin. Writes nothing.

        Raises:
            TrainingError: the directory holds a run of other settings, or something that is no run.
        """
        file = self.path / "settings.json"
        if not os.path.lexists(file):
            if self.path.is_dir() and any(entry.name[0] != "." for entry in self.path.iterdir()):
                raise TrainingError(
                    f"{self.path} is not empty and holds no settings.json, so it is no training run. "
                    "Name a new directory."
                )
            return None
        try:
            found = read_json(file, what="the record of a training run", error=TrainingError)
            before, conditions = self.earlier | found["settings"], dict(found["conditions"])
            differing = [key for key in sorted({*record, *before}) if record.get(key) != before.get(key)]
        except StorageError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrainingError(f"{file} is no record of a training run ({error}). Name a new directory.") from error
        if differing:
            listed = "; ".join(f"{key}: {before.get(key)!r} there, {record.get(key)!r} now" for key in differing)
            raise TrainingError(
                f"{self.path} holds a run with other settings ({listed}). Repeat those settings to continue that run, "
                "or name another directory."
            )
        return conditions

    def recorded(self) -> dict[str, Any]:
        """The settings recorded in the directory; empty if they cannot be read (`verify` raises the reason)."""
        try:
            return self.earlier | dict(read_json(self.path / "settings.json")["settings"])
        except (KeyError, TypeError, ValueError):
            return {}

    @property
    def finished(self) -> dict[str, Any] | None:
        """What `finish` recorded, if the run came to its end; a damaged record is as good as none."""
        try:
            found = read_json(self.path / "finished.json")
        except ProbekitError:
            return None
        return found if isinstance(found, dict) else None

    def finish(self, facts: dict[str, Any]) -> None:
        """Mark the run as finished; its states are no longer needed."""
        record = facts | {"files": records.digests(self.path)}
        write_text(self.path / "finished.json", json.dumps(record, indent=1), kept=KEPT)
        shutil.rmtree(self.states, ignore_errors=True)

    def check_finished(self) -> None:
        """Raise where a file of the finished run is not as it was written.

        Raises:
            TrainingError: naming the files.
        """
        changed = records.changed(self.path)
        if changed:
            raise TrainingError(
                f"{self.path}: {', '.join(changed)} changed since the run finished, or its record finished.json did. "
                "Restore them from a copy, or name a new directory to train again."
            )

    def save_state(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps, then forget all but the newest few."""
        target = self.states / f"step-{step:09d}.pt"
        with written_whole(target, kept=KEPT, also=(RuntimeError,)) as part:  # torch's error for a full disk
            torch.save(state, part)
            seal(part)
        for old in sorted(self.states.glob("step-*.pt"))[:-KEPT_STATES]:
            old.unlink(missing_ok=True)

    def load_state(self, device: torch.device) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest readable state, and a sentence about each one that could not be read."""
        notes: list[str] = []
        for file in sorted(self.states.glob("step-*.pt"), reverse=True):
            try:
                with opened(file, what="a state of training", error=TrainingError) as stream:
                    if unsealed_size(stream) is None:
                        raise TrainingError("its content does not match its digest")
                return dict(torch.load(file, map_location=device, weights_only=True)), notes
            except Exception as error:  # torch raises anything on damaged files
                reason = str(error) if isinstance(error, ProbekitError) else type(error).__name__
                notes.append(f"{file.name} cannot be read ({reason}) and is left out")
        return None, notes

    def prepare(self, step: int) -> None:
        """Make ready to go on after `step`: drop later log lines and whatever a killed process was writing."""
        for part in [*self.path.glob("**/.*.part"), self.path / LAST]:  # the lock is held: nobody else writes here
            shutil.rmtree(part, ignore_errors=True)
        for state in self.states.glob("step-*.pt"):
            if int(state.stem.removeprefix("step-")) > step:  # it could not be read
                shutil.rmtree(state) if state.is_dir() and not state.is_symlink() else state.unlink()
        if os.path.lexists(self.log_path):
            write_text(self.log_path, "".join(line + "\n" for line in self._log_lines(step)), kept=KEPT)

    def _log_lines(self, step: int) -> Iterator[str]:
        """The whole lines of the log up to a step."""
        for line in read_bytes(self.log_path, error=TrainingError).decode(errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    yield line
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # damaged, or the last line, cut off when the process was killed

    def log(self, line: dict[str, Any]) -> None:
        """Append a line to the log."""
        try:
            with self.log_path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise unwritable(self.log_path, error, KEPT) from error

    def place(self, save: Callable[[Path], Any], name: str | None = None) -> None:
        """Have `save(folder)` write a checkpoint, then move it where it belongs.

        Args:
            save: writes files into the folder it is given.
            name: subfolder of the run's directory; None puts the files into the directory itself, one rename each.
        """
        target = self.path / (name or LAST)
        with written_whole(target, kept=KEPT) as folder:
            save(folder)
        if name is None:
            for file in sorted(target.iterdir()):
                os.replace(file, self.path / file.name)
            target.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; the lock of a process that is gone is taken over.

        Raises:
            BusyError: another process trains in this directory.
            StorageError: the directory cannot be made or written to.
        """
        lock = Lock(self.path / ".lock")
        if not lock.acquire():
            raise BusyError(f"Another process is training in {self.path}. Wait for it, or name another directory.")
        with lock:
            yield

    def read_log(self) -> list[dict[str, Any]]:
        """All lines of the log."""
        return [json.loads(line) for line in self._log_lines(sys.maxsize)] if self.log_path.is_file() else []


class BusyError(TrainingError):
    """Another process trains in the directory."""
