"""Rows land whole, in order, and a half-written chunk is never read."""

from __future__ import annotations

import errno
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from probekit.collect import store
from probekit.collect.store import Store
from probekit.errors import ProbeError, StorageError


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


def test_rows_and_layers_are_read_as_numpy_reads_them(tmp_path, chunks_of_ten) -> None:
    rng = np.random.default_rng(0)
    whole = {
        "deep": rng.normal(size=(25, 3, 2, 4)).astype(np.float32),
        "flat": rng.integers(0, 255, (25, 5)).astype(np.uint8),
        "one": rng.normal(size=25),
        "single": rng.normal(size=(25, 1, 2, 4)),
    }
    made = Store(tmp_path / "take", 25, {})
    for start in range(0, 25, 7):
        made.append({name: array[start : start + 7] for name, array in whole.items()}, nothing)
    for name, array in whole.items():
        stored = made[name]
        assert (stored.shape, stored.dtype, stored.nbytes) == (array.shape, array.dtype, array.nbytes)
        assert len(stored) == 25
        for key in (slice(None), slice(3, 17), slice(9, 10), slice(None, None, -2), 4, np.array([3, 1, 24]), -1):
            np.testing.assert_array_equal(stored[key], array[key])
        np.testing.assert_array_equal(np.asarray(stored), array)
    for key in ((slice(None), 1), (slice(5, 21), -1), (slice(None), 0, 1), (slice(2, 3), slice(0, 2)), (3, 2, 1, 0)):
        np.testing.assert_array_equal(made["deep"][key], whole["deep"][key])
        np.testing.assert_array_equal(made["single"][:, 0, 1], whole["single"][:, 0, 1])
    np.testing.assert_array_equal(made["flat"][2:20, 1:3], whole["flat"][2:20, 1:3])


def test_layers_may_have_different_widths(tmp_path, chunks_of_ten) -> None:
    rng = np.random.default_rng(0)
    whole = [rng.normal(size=(25, 2, width)).astype(np.float32) for width in (4, 8, 8, 16)]
    made = Store(tmp_path / "take", 25, {})
    for start in range(0, 25, 7):
        made.append({"pooled": [layer[start : start + 7] for layer in whole]}, nothing)
    stored = Store(tmp_path / "take", 25, {})["pooled"]
    for place, layer in enumerate(whole):
        np.testing.assert_array_equal(stored.layer(place), layer)
        np.testing.assert_array_equal(stored[3:21, place, 1], layer[3:21, 1])
    with pytest.raises(StorageError, match=r"different shapes: read them with layer\(number\)"):
        stored[:]


def test_many_rows_lie_in_shards_that_are_filled_in_any_order(tmp_path, chunks_of_ten, monkeypatch) -> None:
    monkeypatch.setattr(store, "SHARD", 12)
    made = Store(tmp_path / "take", 30, {})
    assert [(shard.start, shard.stop) for shard in made.shards] == [(0, 12), (12, 24), (24, 30)]
    for start, stop in ((24, 30), (0, 12), (12, 24)):
        assert not made.complete
        made.append(rows(start, stop), nothing, start)
    np.testing.assert_array_equal(Store(tmp_path / "take", 30, {})["pooled"][:], rows(0, 30)["pooled"])
    np.testing.assert_array_equal(made["pooled"][10:26, 1], rows(10, 26)["pooled"][:, 1])


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
    marker(tmp_path / "take").unlink()
    assert Store(tmp_path / "take", 5, {}).done == 0


def marker(folder):
    return folder / "000000000" / "done.json"


def changed(file, old: str, new: str) -> None:
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new, 1))


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

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        StorageError,
        match=r"the disk is full \(.*\)\. 10 of 25 images are stored and stay valid; run",
    ):
        made.append(rows(10, 20), nothing)
    after = Store(tmp_path / "take", 25, {})
    assert after.done == 10


def test_rows_of_different_lengths_are_refused(tmp_path) -> None:
    with pytest.raises(ProbeError, match="different lengths"):
        Store(tmp_path, 5, {}).append({"a": np.zeros(2), "b": np.zeros(3)}, nothing)


def chunk(folder):
    """The file of the first chunk."""
    return next((folder / "000000000").glob("*.rows"))


def summary(folder):
    return next((folder / "000000000").glob("*.npz"))


def flipped(file) -> None:
    content = bytearray(file.read_bytes())
    content[7] ^= 1
    file.write_bytes(content)


def piped(file) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGES = {
    "a bit": lambda folder: flipped(chunk(folder)),
    "short": lambda folder: chunk(folder).write_bytes(chunk(folder).read_bytes()[:-9]),
    "empty": lambda folder: chunk(folder).write_bytes(b""),
    "gone": lambda folder: chunk(folder).unlink(),
    "a pipe": lambda folder: piped(chunk(folder)),
    "width": lambda folder: changed(marker(folder), "4]", "3]"),
    "type": lambda folder: changed(marker(folder), "<f4", "<i4"),
    "rows": lambda folder: changed(marker(folder), '"rows": 5', '"rows": 6'),
    "no JSON": lambda folder: marker(folder).write_text("{"),
    "empty marker": lambda folder: marker(folder).write_text(""),
    "no text": lambda folder: marker(folder).write_bytes(b"\xff" * 30),
    "deep": lambda folder: marker(folder).write_text("[" * 100_000),
    "other JSON": lambda folder: marker(folder).write_text('{"body": [], "digest": 1}'),
    "summary": lambda folder: summary(folder).write_bytes(summary(folder).read_bytes()[:-30]),
    "a bit of the summary": lambda folder: flipped(summary(folder)),
    "no summary": lambda folder: summary(folder).unlink(),
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


def test_rows_that_wait_to_be_written_keep_nothing_else_in_memory(tmp_path) -> None:
    """[CLS] of each image is a view of all its tokens, which are hundreds of times as large."""
    tokens = torch.ones(2, 4, 785, 8)
    views = {"cls": tokens[:, :, 0].numpy(), "layers": [tokens[:, 0, 0].numpy()] * 2}
    assert np.shares_memory(views["cls"], tokens.numpy())
    made = Store(tmp_path / "take", 5, {})
    made.append(views, nothing)
    kept = [part for parts in made.shards[0]._buffer.values() for layer in parts for part in layer]
    assert [part.shape for part in kept] == [(2, 4, 8), (2, 8), (2, 8)]
    assert not any(np.shares_memory(part, tokens.numpy()) for part in kept)


def test_a_summary_is_packed_as_numpy_packs_it() -> None:
    arrays = {"mean.0": np.arange(6.0).reshape(2, 3), "seen": np.ones(3, np.uint8), "one": np.float32(2)}
    expected = io.BytesIO()
    np.savez(expected, **arrays)
    given = dict(arrays)
    assert bytes(store.zipped(given)) == expected.getvalue()
    assert not given


def test_a_folder_that_vanishes_between_two_chunks_is_noticed(tmp_path, chunks_of_ten) -> None:
    made = Store(tmp_path / "take", 25, {})
    made.append(rows(0, 10), nothing)
    shutil.rmtree(tmp_path / "take")
    made.append(rows(10, 25), nothing)
    with pytest.warns(RuntimeWarning, match=r"are damaged \(There is no file .*is measured again"):
        assert not made.prove()
    assert made.done == 0
    with store.alone(made.shards) as ours:
        assert ours
        made.append(rows(0, 25), nothing)
    assert made.prove()
    np.testing.assert_array_equal(made["pooled"][:], rows(0, 25)["pooled"])


def test_nothing_of_what_was_killed_or_damaged_stays(tmp_path, chunks_of_ten) -> None:
    made = Store(tmp_path / "take", 25, {})
    made.append(rows(0, 10), nothing)
    kept = sorted(os.listdir(tmp_path / "take" / "000000000"))
    (tmp_path / "take" / "000000000" / "000000010-abc.rows").write_text("no marker speaks of it")
    (tmp_path / "take" / "000000000" / ".x.part").mkdir()
    with store.alone(made.shards):
        assert sorted(os.listdir(tmp_path / "take" / "000000000")) == kept
    assert sorted(os.listdir(tmp_path / "take")) == ["000000000"]  # the lock is gone


def test_rows_of_another_shape_are_refused(tmp_path, chunks_of_ten) -> None:
    made = Store(tmp_path / "take", 25, {})
    made.append(rows(0, 10), nothing)
    with pytest.raises(StorageError, match="other shapes or types"):
        made.append({"pooled": np.zeros((15, 3, 2, 5), np.float32)}, nothing)


def test_a_process_that_waited_takes_over_what_the_other_wrote(tmp_path) -> None:
    waiting, first = Store(tmp_path / "take", 5, {}), Store(tmp_path / "take", 5, {})
    with store.alone(first.shards) as ours:
        assert ours
        with store.alone(waiting.shards) as theirs:
            assert not theirs
        first.append(rows(0, 5), nothing)
    with store.alone(waiting.shards) as ours:
        assert ours
        assert waiting.complete
