"""A process that is killed in the middle of a pass: the same call goes on, and its numbers are those of one that was
not."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import warm
import xarray as xr
from tiny_measured import SPEC, tiny

PROBES = ["linear_probe", "attention_distance", "reconstruction", "level_spectrum"]
COUNTS = {"train": 40, "val": 20, "test": 30, "images": 25, "pairs": 20, "pictures": 3}
CHILD = """
import os, signal, sys
import probekit
from probekit.collect import passes, store
from probekit.models import MaskedAutoencoder

store.CHUNK_IMAGES = 8
moment, number = sys.argv[3], int(sys.argv[4])
calls = []

def dying(owner, name, before):
    function = getattr(owner, name)
    def wrapped(*args, **kwargs):
        calls.append(name)
        if before and len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if not before and len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, wrapped)

if moment == "rows written, marker not":
    dying(store.Shard, "_replace", before=True)
elif moment == "in mid-forward":
    dying(passes, "forward", before=False)
forwards = []
trace = MaskedAutoencoder.trace
def counted(self, images, *args, **kwargs):
    forwards.append(len(images))
    return trace(self, images, *args, **kwargs)
MaskedAutoencoder.trace = counted
ds = probekit.evaluate(sys.argv[1], %r, %r, counts=%r, batch_size=4)
ds.to_netcdf(sys.argv[2])
print("forwards", sum(forwards))
""" % (PROBES, SPEC, COUNTS)  # noqa: UP031 - the text is full of braces


def run(checkpoint: Path, cache: Path, moment: str, number: int) -> CompletedProcess[str]:
    env = {**os.environ, "PROBEKIT_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return warm.run("-c", CHILD, checkpoint, f"{cache}.nc", moment, number, env=env)


def forwards(run: CompletedProcess[str]) -> int:
    assert run.returncode == 0, run.stderr
    return int(run.stdout.split()[-1])


def results(cache: Path) -> xr.Dataset:
    with xr.open_dataset(str(cache) + ".nc") as ds:
        record = json.loads(ds.attrs["provenance"])
        assert record["records"][0]["forwards"] > 0
        return ds.load().assign_attrs(provenance="")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return tiny().save(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def undisturbed(checkpoint: Path, tmp_path_factory) -> tuple[int, xr.Dataset]:
    cache = tmp_path_factory.mktemp("undisturbed") / "cache"
    return forwards(run(checkpoint, cache, "never", 0)), results(cache)


@pytest.mark.parametrize(
    ("moment", "number"), [("rows written, marker not", 3), ("rows written, marker not", 15), ("in mid-forward", 9)]
)
def test_a_killed_call_goes_on_and_gives_the_same(
    moment: str, number: int, checkpoint: Path, undisturbed: tuple[int, xr.Dataset], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    assert run(checkpoint, cache, moment, number).returncode == -signal.SIGKILL
    whole, expected = undisturbed
    assert 0 < forwards(run(checkpoint, cache, "never", 0)) < whole  # what was stored is not measured again
    found = results(cache)
    assert set(found.variables) == set(expected.variables)
    xr.testing.assert_identical(found, expected)  # bit for bit
