"""Odd values in a results file end in a sentence or in a report, never in a traceback of ours."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import synthetic_results
import xarray as xr

from probekit import compare, contrast, report, summary
from probekit.errors import ProbekitError
from probekit.results import lining_up, seed_spread
from probekit.results.reading import opened

NAME = "linear_accuracy"
DEEP = '{"a":' * 3000 + "1" + "}" * 3000


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    found = synthetic_results.grid(ratios=(0.25, 0.75), patches=(4,), photos=(0.5, 0.9)).isel(layer=[0, 6])
    kept = (NAME, "representation_level", "level_share", "ssim", "example_", "embedding", "label", "expected_")
    return found[[name for name in found if str(name).startswith(kept)]]


def attribute(key: str, value: object):
    return lambda ds: ds[NAME].attrs.update({key: value})


def everywhere(key: str, value: object):
    return lambda ds: ds.attrs.update({key: value})


def fact(name: str, value: object):
    return lambda ds: ds.assign_coords({name: ("checkpoint", np.array([value] * ds.sizes["checkpoint"]))})


def labels(dim: str, values):
    return lambda ds: ds.assign_coords({dim: [values] * ds.sizes[dim] if np.ndim(values) == 0 else values})


def array(name: str, change):
    return lambda ds: ds.assign({name: change(ds[name]).assign_attrs(ds[name].attrs)})


ODD = {
    "version by": attribute("version", '{"by_data": 3}'),
    "version nan": attribute("version", float("nan")),
    "better list": attribute("better", [1]),
    "long_name number": attribute("long_name", 7),
    "protocol huge": attribute("protocol", "x" * 3_000_000),
    "protocol no json": attribute("protocol", '{"by_data": '),
    "options bytes": attribute("options", b"x"),
    "marks": attribute("mixed_protocols", "[1]"),
    "provenance list": everywhere("provenance", "[1]"),
    "provenance deep": everywhere("provenance", DEEP),
    "provenance odd": everywhere("provenance", '{"versions": 3, "records": 5, "command": {}, "suite": [1]}'),
    "reasons number": everywhere("not_applicable", 7),
    "reasons flat": everywhere("not_applicable", '{"a": 3}'),
    "schema text": everywhere("schema_version", "one"),
    "ratio text": fact("mask_ratio", "x"),
    "ratio complex": fact("mask_ratio", 1j),
    "ratio 7": fact("mask_ratio", 7.0),
    "patch -4": fact("patch_size", -4.0),
    "patch inf": fact("patch_size", np.inf),
    "seed None": fact("seed", None),
    "names twice": labels("checkpoint", "a"),
    "names empty": labels("checkpoint", ""),
    "names nan": labels("checkpoint", float("nan")),
    "names numbers": lambda ds: ds.assign_coords(checkpoint=np.arange(ds.sizes["checkpoint"])),
    "layers text": labels("layer", ["a", "b"]),
    "layers nan": labels("layer", float("nan")),
    "poolings mixed": labels("pooling", np.array([1, "a"], dtype=object)),
    "no level": lambda ds: ds.isel(level=slice(0, 0)),
    "level renamed": lambda ds: ds.rename(level="odd"),
    "values text": array(NAME, lambda a: a.astype(str)),
    "values complex": array(NAME, lambda a: a * 1j),
    "values inf": array(NAME, lambda a: a * 0 + np.inf),
    "values huge": array(NAME, lambda a: a * 0 + 1e308),
    "everything nan": lambda ds: ds.map(lambda a: a * np.nan if a.dtype.kind == "f" else a, keep_attrs=True),
    "values nan": array(NAME, lambda a: a * np.nan),
    "a dim gained": array(NAME, lambda a: a.expand_dims(odd=2)),
    "a dim lost": array(f"{NAME}_ci", lambda a: a.isel(bound=0, drop=True)),
    "images lost": array(f"{NAME}_image", lambda a: a.isel(image=0, drop=True)),
    "pictures lost": array("example_image", lambda a: a.isel(channel=0, drop=True)),
    "two channels": lambda ds: ds.isel(channel=[0, 1]),
    "one axis": lambda ds: ds.isel(axis=[0]),
    "no examples": lambda ds: ds.isel(example=slice(0, 0)),
    "no images": lambda ds: ds.isel(image=slice(0, 0)),
    "one image": lambda ds: ds.isel(image=[0]),
    "no checkpoint": lambda ds: ds.isel(checkpoint=slice(0, 0)),
    "own coordinates": lambda ds: ds.assign_coords(
        obj=("checkpoint", np.array([None, {}, [1]] + [1] * (ds.sizes["checkpoint"] - 3), dtype=object)),
        when=("checkpoint", np.arange(ds.sizes["checkpoint"]).astype("timedelta64[ns]"))),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_an_odd_value_is_a_sentence_or_no_harm(ds: xr.Dataset, case: str) -> None:
    odd = ds.copy(deep=True)
    changed = ODD[case](odd)
    odd = changed if isinstance(changed, xr.Dataset) else odd
    others = ds.assign_coords(checkpoint=[f"other {name}" for name in ds.checkpoint.values])
    uses = {
        "report": lambda: report.html(odd, script=""),
        "contrast": lambda: contrast(odd, baseline=str(ds.checkpoint.values[0])),
        "summary": lambda: summary(odd),
        "compare": lambda: compare([odd]),
        "compare with others": lambda: compare([odd, others]),
        "seeds": lambda: seed_spread(odd, "representation_level"),
        "lined up": lambda: lining_up.lined_up(lining_up.separated(opened(odd, "the test"))),
    }
    for use in uses.values():
        with contextlib.suppress(ProbekitError):
            use()
