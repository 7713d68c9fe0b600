"""Rows land whole, in order, and a half-written chunk is never read."""

from __future__ import annotations

import errno
import json
import threading

import numpy as np
import pytest

from probekit.collect import store
from probekit.collect.store import Store
from probekit.errors import ProbeError


def rows(start: int, stop: int) -> dict[str, np.ndarray]:
    return {"pooled": np.arange(start, stop, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 2, 4), np.float32)}


def nothing() -> dict[str, np.ndarray]:
    return {}


@pytest.fixture
def chunks_of_ten(monkeypatch):
    monkeypatch.setattr(store, "CHUNK_IMAGES", 10)


def test_rows_come_back_as_they_went_in(tmp_path, chunks_of_ten) -> None:
    made = Store(tmp_path / "take", 25, {})
    for start in range(0, 25, 7):
        made.append(rows(start, min(start + 7, 25)), nothing)
    read = Store(tmp_path / "take", 25, {})
    assert read.complete
    np.testing.assert_array_equal(read["pooled"][:], rows(0, 25)["pooled"])


def test_one_layer_is_one_chunk_along_layers(tmp_path) -> None:
    made = Store(tmp_path / "take", 5, {})
    made.append(rows(0, 5), nothing)
    assert made["pooled"].chunks == (5, 1, 2, 4)


def test_a_killed_run_goes_on_after_the_last_whole_chunk(tmp_path, chunks_of_ten) -> None:
    killed = Store(tmp_path / "take", 25, {})
    killed.append(rows(0, 12), nothing)  # written
    killed.append(rows(12, 15), nothing)  # still in memory when the process dies
    again = Store(tmp_path / "take", 25, {})
    assert again.done == 12
    assert not again.complete
    with pytest.raises(ProbeError, match="12 of 25 rows"):
        again["pooled"]
    again.append(rows(12, 25), nothing)
    np.testing.assert_array_equal(Store(tmp_path / "take", 25, {})["pooled"][:], rows(0, 25)["pooled"])


def test_rows_without_a_marker_do_not_exist(tmp_path) -> None:
    made = Store(tmp_path / "take", 5, {})
    made.append(rows(0, 5), nothing)
    (tmp_path / "take" / "done.json").unlink()
    assert Store(tmp_path / "take", 5, {}).done == 0


@pytest.mark.parametrize("marker", ["", "{", json.dumps({"done": 5, "rows": 6})])
def test_a_broken_or_foreign_marker_counts_for_nothing(tmp_path, marker) -> None:
    made = Store(tmp_path / "take", 5, {})
    made.append(rows(0, 5), nothing)
    (tmp_path / "take" / "done.json").write_text(marker)
    assert Store(tmp_path / "take", 5, {}).done == 0


def test_a_whole_take_writes_only_at_the_end_and_keeps_its_summary(tmp_path, chunks_of_ten) -> None:
    made = Store(tmp_path / "take", 25, {}, whole=True)
    made.append(rows(0, 20), nothing)
    assert not (tmp_path / "take").exists()
    made.append(rows(20, 25), lambda: {"mean": np.ones(3)})
    np.testing.assert_array_equal(Store(tmp_path / "take", 25, {}).summary()["mean"], np.ones(3))


def test_a_full_disk_says_what_is_safe_and_the_way_out(tmp_path, chunks_of_ten, monkeypatch) -> None:
    made = Store(tmp_path / "take", 25, {})
    made.append(rows(0, 10), nothing)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(made, "_replace", full)
    with pytest.raises(ProbeError, match=r"the disk is full\. 10 of 25 images are stored and stay valid; run .* again"):
        made.append(rows(10, 20), nothing)
    after = Store(tmp_path / "take", 25, {})
    assert after.done == 10


def test_rows_of_different_lengths_are_refused(tmp_path) -> None:
    with pytest.raises(ProbeError, match="different lengths"):
        Store(tmp_path, 5, {}).append({"a": np.zeros(2), "b": np.zeros(3)}, nothing)


def chunk(folder):
    """A file of the first chunk."""
    return next(path for path in sorted((folder / "rows.zarr" / "pooled" / "c").rglob("*")) if path.is_file())


def flipped(file) -> None:
    content = bytearray(file.read_bytes())
    content[7] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "a bit": lambda folder: flipped(chunk(folder)),
    "short": lambda folder: chunk(folder).write_bytes(chunk(folder).read_bytes()[:-9]),
    "empty": lambda folder: chunk(folder).write_bytes(b""),
    "gone": lambda folder: chunk(folder).unlink(),
    "description": lambda folder: (folder / "rows.zarr" / "pooled" / "zarr.json").write_text("{"),
    "group": lambda folder: (folder / "rows.zarr" / "zarr.json").write_text(""),
    "summary": lambda folder: (folder / "summary.npz").write_bytes((folder / "summary.npz").read_bytes()[:-30]),
    "no summary": lambda folder: (folder / "summary.npz").unlink(),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_rows_are_noticed_and_measured_again(tmp_path, how) -> None:
    """Even where the rows are zeros, as what is missing would read."""
    zeros = {name: array * 0 for name, array in rows(0, 5).items()}
    Store(tmp_path / "take", 5, {}).append(zeros, lambda: {"mean": np.ones(3)})
    assert Store(tmp_path / "take", 5, {}).complete
    DAMAGES[how](tmp_path / "take")
    with pytest.warns(RuntimeWarning, match="are damaged .* is measured again"):
        again = Store(tmp_path / "take", 5, {})
    assert again.done == 0
    again.append(rows(0, 5), lambda: {"mean": np.ones(3)})
    np.testing.assert_array_equal(Store(tmp_path / "take", 5, {})["pooled"][:], rows(0, 5)["pooled"])


def test_a_process_that_waited_takes_over_what_the_other_wrote(tmp_path) -> None:
    waiting, first = Store(tmp_path / "take", 5, {}), Store(tmp_path / "take", 5, {})
    with store.alone([first]):
        first.append(rows(0, 5), nothing)
    with store.alone([waiting]):
        assert waiting.complete


def test_two_processes_do_not_write_the_same_rows_at_once(tmp_path) -> None:
    held = threading.Event()
    done = threading.Event()

    def hold() -> None:
        with store.alone([Store(tmp_path / "take", 5, {})]):
            held.set()
            done.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    threading.Timer(0.2, done.set).start()
    with (
        pytest.warns(RuntimeWarning, match="Another process is measuring the same"),
        store.alone([Store(tmp_path / "take", 5, {})]),
    ):
        assert done.is_set()
    other.join()
