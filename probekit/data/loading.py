"""From an image set to batches of tensors: decoding in worker processes, or in one thread ahead of the caller.

One unit of work is a whole batch. Processes exchange 8-bit pixels, and a batch is normalised once, on the device: this
saves time against a `DataLoader` over single images. Nothing in a worker is random, so the bytes cannot depend on the
number of workers. The module knows an image set by what it reads of it (`Readable`), not by its class.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from probekit.data.preprocess import Preprocess
from probekit.errors import DataError


class Readable(Protocol):
    """What `batches` reads; every `ImageSet` fits."""

    spec: str
    split: str
    in_memory: bool
    channels: int
    grey_as_rgb: bool
    labels: np.ndarray | None

    def __len__(self) -> int: ...
    def picture(self, index: int) -> Any: ...
    def pixels(self, indices: np.ndarray) -> np.ndarray: ...
    def image_name(self, index: int) -> str: ...


Work = TypeVar("Work")
Result = TypeVar("Result")


def batches(
    image_set: Readable,
    size: int,
    preprocess: Preprocess | None,
    *,
    indices: np.ndarray | Sequence[int] | None,
    device: str,
    workers: int,
    prefetch: int,
) -> Iterator[dict[str, Any]]:
    """See `ImageSet.batches`."""
    if size < 1:
        raise DataError(f"Batches of {size} images were asked for; a batch has at least 1.")
    wanted = _checked_indices(image_set, indices)
    if preprocess is not None:
        preprocess.announce(image_set)
    chunks = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    return _batches(image_set, chunks, preprocess, device, workers, prefetch)


def _batches(
    image_set: Readable,
    chunks: list[np.ndarray],
    preprocess: Preprocess | None,
    device: str,
    workers: int,
    prefetch: int,
) -> Iterator[dict[str, Any]]:
    import torch

    decode = Decode(image_set, preprocess)
    processes = 0 if image_set.in_memory else workers
    for chunk, pixels in zip(chunks, ahead(decode, chunks, workers=processes, prefetch=prefetch), strict=True):
        image = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).contiguous()
        batch = {"image": image if preprocess is None else preprocess.normalise(image)}
        if image_set.labels is not None:
            batch["label"] = torch.from_numpy(image_set.labels[chunk]).to(device)
        yield batch | {"index": torch.from_numpy(chunk).to(device)}


def _checked_indices(image_set: Readable, indices: np.ndarray | Sequence[int] | None) -> np.ndarray:
    if indices is None:
        return np.arange(len(image_set), dtype=np.int64)
    wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
    if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(image_set)):
        raise DataError(
            f"{image_set.spec}: indices run from {wanted.min()} to {wanted.max()}, "
            f"but the {image_set.split} split has {len(image_set)} images."
        )
    return wanted


class Decode:
    """indices -> uint8 (len(indices), height, width, channels), preprocessed. A class, so that a process can get it."""

    def __init__(self, image_set: Readable, preprocess: Preprocess | None) -> None:
        self.image_set = image_set
        self.preprocess = preprocess

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        if self.preprocess is None:
            return self.image_set.pixels(indices)
        shape = len(indices), self.preprocess.height, self.preprocess.width, self.preprocess.channels
        out = np.empty(shape, dtype=np.uint8)
        if self.image_set.in_memory:
            images: Iterable[Any] = self.image_set.pixels(indices)
        else:
            images = (self.image_set.picture(int(index)) for index in indices)
        for row, (index, image) in enumerate(zip(indices, images, strict=True)):
            try:
                out[row] = self.preprocess(image)
            except DataError as error:
                raise DataError(f"{self.image_set.image_name(int(index))}: {error}") from error
        return out


def ahead(
    function: Callable[[Work], Result], work: Sequence[Work], *, workers: int, prefetch: int
) -> Generator[Result, None, None]:
    """`map(function, work)`, computed ahead: in `workers` processes, or with 0 in a thread beside the caller's.

    The order is that of `work`. A ProbekitError reaches the caller as it was raised. Leaving the iterator early ends
    the thread or the processes.
    """
    if workers < 0 or prefetch < 1:
        raise DataError(f"workers={workers}, prefetch={prefetch}: workers must be at least 0 and prefetch at least 1.")
    if workers and len(work) > 1:
        return _in_processes(function, work, min(workers, len(work)), prefetch)
    return _in_thread(function, work, prefetch)


class _Mapped:
    """`function` over `work` as the torch `Dataset` that a `DataLoader` distributes; errors travel as values."""

    def __init__(self, function: Callable[[Work], Result], work: Sequence[Work]) -> None:
        self.function = function
        self.work = work

    def __len__(self) -> int:
        return len(self.work)

    def __getitem__(self, index: int) -> Any:
        import torch

        try:
            result = self.function(self.work[index])
        except DataError as error:
            return error
        return torch.from_numpy(result) if isinstance(result, np.ndarray) else result


def _in_processes(
    function: Callable[[Work], Result], work: Sequence[Work], workers: int, prefetch: int
) -> Generator[Result, None, None]:
    import torch
    from torch.utils.data import DataLoader

    loader: DataLoader[Any] = DataLoader(
        _Mapped(function, work),  # type: ignore[arg-type]  # map-style, though no subclass of Dataset
        batch_size=None,
        num_workers=workers,
        prefetch_factor=prefetch,
        generator=torch.Generator(),  # or it would draw its seed from the global one, and change the caller's run
    )
    for result in loader:
        if isinstance(result, DataError):
            raise result
        yield result.numpy() if isinstance(result, torch.Tensor) else result  # type: ignore[misc]  # as `function` gave it


def _in_thread(
    function: Callable[[Work], Result], work: Iterable[Work], prefetch: int
) -> Generator[Result, None, None]:
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=prefetch)
    left = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not left.is_set():
            try:
                ready.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in work:
                if not put("result", function(item)):
                    return
        except BaseException as error:  # whatever it is, it belongs to the caller
            put("error", error)
        else:
            put("end", None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        left.set()
        thread.join()
