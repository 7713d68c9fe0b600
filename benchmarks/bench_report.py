"""What a results file costs to be read, contrasted and drawn, each in an interpreter of its own.

    python benchmarks/bench_report.py results.nc [--many 200]

Prints seconds, and as ratios of `import xarray`, which all of them need; sizes of the page, and of the page for many
checkpoints, made by repeating those of the file with other seeds and a little noise.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

from probekit import schema

RUNS = 3


def seconds(*command: str) -> float:
    """The quickest of a few runs of Python."""
    found = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        found.append(time.perf_counter() - start)
    return min(found)


def repeated(ds: xr.Dataset, count: int) -> xr.Dataset:
    """`count` checkpoints: those of the dataset again and again, each time as other seeds with other numbers."""
    draw = np.random.default_rng(0)
    own, size = [], ds.sizes["checkpoint"]
    for turn in range(-(-count // size)):
        part = ds.isel(checkpoint=slice(0, min(size, count - turn * size)))
        names = [f"{name}-again{turn}" if turn else str(name) for name in part.checkpoint.values]
        part = part.assign_coords(checkpoint=names, seed=part.seed + 10 * turn)
        noisy = {
            name: part[name] + draw.normal(0, 1e-3, part[name].shape).astype(part[name].dtype)
            for name in part.data_vars
            if part[name].dtype.kind == "f" and not str(name).startswith("example_")
        }
        with xr.set_options(keep_attrs=True):
            own.append(part.assign({name: array.assign_attrs(part[name].attrs) for name, array in noisy.items()}))
    return xr.concat(own, "checkpoint", data_vars="minimal", coords="minimal", compat="override", join="override")


def page(file: Path, folder: Path) -> tuple[float, float]:
    """Seconds of the report, and megabytes of its page."""
    target = folder / f"{file.stem}.html"
    spent = seconds("-m", "probekit.report", str(file), "-o", str(target))
    return spent, target.stat().st_size / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--many", type=int, default=200)
    asked = parser.parse_args()
    ds = schema.read(asked.file)
    baseline = str(ds.checkpoint.values[-1])
    name = next(name for name in schema.result_names(ds) if f"{name}_image" in ds and name.endswith("accuracy"))
    contrast = "import probekit; probekit.contrast({!r}, baseline={!r}, variables={!r})".format
    ground = seconds("-c", "import xarray")
    print(f"{asked.file}: {asked.file.stat().st_size / 1e6:.1f} MB, {ds.sizes['checkpoint']} checkpoints")
    print(f"import xarray            {ground:6.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        spent, size = page(asked.file, Path(folder))
        print(f"report from the file     {spent:6.2f} s  {spent / ground:5.2f}  {size:6.2f} MB")
        for what, variables in ((f"contrast, {name}", [name]), ("contrast, all variables", None)):
            spent = seconds("-c", contrast(str(asked.file), baseline, variables))
            print(f"{what:24} {spent:6.2f} s  {spent / ground:5.2f}")
        if asked.many:
            many = schema.write(repeated(ds, asked.many), Path(folder) / "many.nc")
            spent, size = page(many, Path(folder))
            print(f"report, {asked.many} checkpoints  {spent:6.2f} s  {spent / ground:5.2f}  {size:6.2f} MB")


if __name__ == "__main__":
    main()
