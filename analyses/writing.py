"""What the analyses share: where results go, how figures are saved, and how numbers get into a README.

Each analysis is a folder: `run.py` measures and writes `results.nc`, `figures.py` reads only that and writes figures
and the block of numbers in `README.md`, between two markers. A test compares the block with `results.nc`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import xarray as xr

import probekit
from probekit import schema

BLOCK = re.compile(r"(<!-- numbers -->\n).*?(<!-- /numbers -->)", re.S)
TINY = {"train": 40, "val": 20, "test": 40, "images": 16, "pairs": 20, "ladder": 30, "masked": 8, "shifted": 10}
"""How many images `--tiny` uses: enough to try the analysis out, too few to believe its numbers."""


def shipped(beginning: str, *, untrained: bool = True) -> list[str]:
    """Sources of the shipped checkpoints whose name begins so, and of the untrained ones."""
    names = [name for name in probekit.models.shipped() if name.startswith(beginning)]
    baseline = [name for name in probekit.models.shipped() if name.startswith("untrained")]
    return [f"shipped:{name}" for name in names + (baseline if untrained else [])]


def measure(
    doc: str, folder: Path, sources: Callable[[], list[str]], suite: list[str], data: Any, counts: dict[str, int]
) -> None:
    """The command line of a `run.py`: measure, and write `results.nc` beside it (or `--output`)."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", help="instead of those that ship")
    parser.add_argument("--output", type=Path, default=folder / "results.nc")
    parser.add_argument("--tiny", action="store_true", help="two checkpoints, few images: to try it out")
    parser.add_argument("--executor", help="e.g. local:2")
    args = parser.parse_args()
    chosen = args.checkpoints or sources()
    chosen = chosen[:1] + chosen[-1:] if args.tiny else chosen
    more = {"executor": args.executor} if args.executor else {}
    ds = probekit.compare(chosen, suite, data=data, counts=counts | TINY if args.tiny else counts, **more)
    print(schema.write(ds, args.output))


def opened(folder: Path) -> xr.Dataset:
    """The results of an analysis."""
    with xr.open_dataset(folder / "results.nc", engine="h5netcdf") as ds:
        return schema.upgrade(ds.load())


def save(chart: Any, folder: Path, name: str) -> None:
    """A chart as SVG, PDF and PNG."""
    for suffix in ("svg", "pdf", "png"):
        chart.save(folder / f"{name}.{suffix}", **({"scale_factor": 2} if suffix == "png" else {}))


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(columns)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def by_setting(ds: xr.Dataset, names: dict[str, dict[str, Any]], digits: int = 3) -> str:
    """A table of means over seeds with the range of seeds: a row for each setting, a column for each quantity.

    Args:
        ds: results on one image set.
        names: variable -> labels of its dims; the last layer is taken of those that have layers.
        digits: after the point.
    """
    from probekit.results.settings import settings_of

    rows = []
    settings = settings_of(ds)
    groups: dict[str, list[int]] = {}
    for setting in settings:
        groups.setdefault(setting.words, []).extend(run.index for run in setting.runs)
    for words, indices in groups.items():
        cells = [words, str(len(indices))]
        for name, labels in names.items():
            array = ds[name].isel(checkpoint=indices)
            array = array.isel(layer=-1) if "layer" in array.dims else array
            values = array.sel({dim: label for dim, label in labels.items() if dim in array.dims}).squeeze(drop=True)
            found = values.values.reshape(-1)
            low, high = found.min(), found.max()
            cells.append(
                f"{found.mean():.{digits}f}" + (f" ({low:.{digits}f} to {high:.{digits}f})" if len(found) > 1 else "")
            )
        rows.append(cells)
    titles = [str(ds[name].attrs["long_name"]) for name in names]
    return table(["setting", "runs", *titles], rows)


def write_numbers(folder: Path, text: str) -> None:
    """Replace the block of numbers of a README."""
    readme = folder / "README.md"
    old = readme.read_text()
    if not BLOCK.search(old):
        raise SystemExit(
            f"{readme} has no place for numbers: put <!-- numbers --> and <!-- /numbers --> where they go."
        )
    readme.write_text(BLOCK.sub(lambda found: found[1] + text + found[2], old))


def numbers_in(folder: Path) -> str:
    """The block of numbers that stands in a README."""
    found = re.search(r"<!-- numbers -->\n(.*?)<!-- /numbers -->", (folder / "README.md").read_text(), re.S)
    return found[1] if found else ""
