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

import numpy as np
import xarray as xr

import probekit
from probekit import schema
from probekit.measures.inference import rank_correlation
from probekit.plot.published import series
from probekit.results.settings import settings_of

BLOCK = re.compile(r"(<!-- numbers -->\n).*?(<!-- /numbers -->)", re.S)
TINY = {"train": 40, "val": 20, "test": 40, "images": 16, "pairs": 20, "ladder": 30, "masked": 8, "shifted": 10}
"""How many images `--tiny` uses: enough to try the analysis out, too few to believe its numbers."""
TINY_STEPS = 20
"""Steps of the heads that are trained, where `--tiny` tries them out."""

RECIPES = ("no-boundary", "structure")
"""Folders of runs whose masks or loss differ from those of the plain grid."""


def shipped(beginning: str, *, untrained: bool = True) -> list[Any]:
    """The shipped checkpoints whose name begins so, and what the first run of each seed began as."""
    names = [f"shipped:{name}" for name in probekit.models.shipped() if name.startswith(beginning)]
    first = {name.rsplit("-s", 1)[1]: name for name in reversed(names)} if untrained else {}
    return names + [initialisation(first[seed]) for seed in sorted(first)]


def initialisation(source: str) -> Any:
    """The checkpoint that a run of ours began as: its architecture with the weights that its seed draws."""
    trained = probekit.load(source, device="cpu")
    record, decoder, card = trained.model.architecture, trained.model.architecture.decoder, trained.card
    model = probekit.models.MaskedAutoencoder.create(
        image_size=record.image_size, vit_patch_size=record.vit_patch_size, width=record.width, depth=record.depth,
        num_heads=record.num_heads, decoder_width=decoder.width, decoder_depth=decoder.depth,
        decoder_num_heads=decoder.num_heads, normalised_targets=card.normalised_targets, seed=card.seed,
    )  # fmt: skip
    fresh = probekit.load(model, name=f"untrained-s{card.seed}", mean=card.mean, std=card.std)
    fresh.card.images_seen, fresh.card.seed = 0, card.seed
    return fresh


def measure(
    doc: str,
    folder: Path,
    sources: Callable[[], list[Any]],
    suite: list[str],
    data: Any,
    counts: dict[str, int],
    *,
    snapshots: bool = False,
    **more: Any,
) -> None:
    """The command line of a `run.py`: measure, and write `results.nc` beside it (or `--output`).

    Args:
        doc: what `--help` says.
        folder: of the analysis.
        sources: the checkpoints that are measured where none are named.
        suite, data, counts: of `probekit.compare`.
        snapshots: measure the snapshots of runs too.
        more: further arguments of `probekit.compare`.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", help="checkpoints or folders of runs, instead of those that ship")
    parser.add_argument("--output", type=Path, default=folder / "results.nc")
    parser.add_argument("--data", default=data, help="another image set")
    parser.add_argument("--tiny", action="store_true", help="two checkpoints, few images: to try it out")
    parser.add_argument("--executor", help="e.g. local:2")
    args = parser.parse_args()
    found = [one for given in args.checkpoints for one in runs_in(given, snapshots)] or sources()
    found = found[:1] + found[-1:] if args.tiny else found
    more |= {"executor": args.executor} if args.executor else {}
    counts = counts | TINY if args.tiny else counts
    for options in more.get("options", {}).values() if args.tiny else ():
        options |= {"steps": min(options["steps"], TINY_STEPS)} if "steps" in options else {}
    coords = {"recipe": [recipe_of(one) for one in found]}
    ds = probekit.compare(found, suite, data=args.data, counts=counts, coords=coords, **more)
    print(schema.write(without_images(ds), args.output))


def runs_in(given: str, snapshots: bool = False) -> list[str]:
    """The runs or checkpoints below a folder, each after its snapshots if asked for; a checkpoint is itself."""
    runs = sorted(file.parent for file in Path(given).glob("*/config.json"))
    kept = [[*sorted(run.glob("snapshots/*")), run] if snapshots else [run] for run in runs]
    return [str(path) for part in kept for path in part] or [given]


def recipe_of(source: Any) -> str:
    """What a run's folder says of its masks: one of `RECIPES`, else "plain"."""
    parts = Path(source).parts if isinstance(source, str) else ()
    return next((name for name in RECIPES if name in parts), "plain")


def without_images(ds: xr.Dataset) -> xr.Dataset:
    """Results without their values by image, which no figure draws: a tenth of the size."""
    return ds.drop_vars([name for name in ds.data_vars if str(name).endswith("_image") and name not in schema.SHARED])


def opened(folder: Path) -> xr.Dataset:
    """The results of an analysis; simulations are not of checkpoints, and have no schema."""
    with xr.open_dataset(folder / "results.nc", engine="h5netcdf") as ds:
        return schema.upgrade(ds.load()) if "schema_version" in ds.attrs else ds.load()


def save(chart: Any, folder: Path, name: str) -> None:
    """A chart as SVG, PDF and PNG."""
    for suffix in ("svg", "pdf", "png"):
        chart.save(folder / f"{name}.{suffix}", **({"scale_factor": 1.25} if suffix == "png" else {}))


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(columns)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def one_each(ds: xr.Dataset, name: str, labels: dict[str, Any]) -> Any:
    """One number per checkpoint: the last layer, heads averaged, the given labels."""
    array = ds[name].sel({dim: label for dim, label in labels.items() if dim in ds[name].dims})
    array = array.isel(layer=-1) if "layer" in array.dims else array
    array = array.mean("head") if "head" in array.dims else array
    return array.squeeze([dim for dim in array.dims if dim != "checkpoint"], drop=True).transpose("checkpoint").values


def by_setting(ds: xr.Dataset, names: dict[str, dict[str, Any]], digits: int = 3) -> str:
    """A table of means over seeds with the range of seeds.

    Args:
        ds: results on one image set.
        names: variable -> labels of its dims; the last layer is taken of those that have layers, heads are averaged.
        digits: after the point.
    """
    columns = {name: one_each(ds, name, labels) for name, labels in names.items()}
    groups: dict[str, list[int]] = {}
    for setting in settings_of(ds):
        groups.setdefault(setting.words, []).extend(run.index for run in setting.runs)
    rows = []
    for words, indices in sorted(groups.items(), key=lambda item: (item[0] == "untrained", item[0])):
        cells = [words, str(len(indices))]
        for values in columns.values():
            low, high = values[indices].min(), values[indices].max()
            spread = f" ({low:.{digits}f} to {high:.{digits}f})" if len(indices) > 1 else ""
            cells.append(f"{values[indices].mean():.{digits}f}{spread}")
        rows.append(cells)
    titles = [str(ds[name].attrs["long_name"]) for name in names]
    return table(["setting", "runs", *titles], rows)


def beside_paper(ds: xr.Dataset, name: str, labels: dict[str, Any]) -> str:
    """A quantity along the ratio at 4 px beside what the paper has at 16 px (one unit of its ViT in both).

    Args:
        ds: results.
        name: `linear_accuracy` or `shape_bias`.
        labels: of the variable's other dims.
    """
    published = [one for one in series(name) if one.patch == one.vit_patch == 16]
    values, ratios, units = one_each(ds, name, labels), ds["mask_ratio"].values, ds["patch_size"].values
    here = [float(values[(ratios == one.ratio) & (units == 4)].mean()) for one in published]
    rows = [
        [f"{one.ratio:g}", f"{mean:.3f}", f"{one.value:.3f}"]
        for one, mean in zip(published, here, strict=True)
        if np.isfinite(mean)
    ]
    rank = rank_correlation(*zip(*[(x, y.value) for x, y in zip(here, published, strict=True) if x == x], strict=True))
    title = str(ds[name].attrs["long_name"])
    words = f"\nOrder of the ratios, here and in the paper: rank correlation {rank:+.2f} over {len(rows)} ratios.\n"
    return table(["ratio", f"{title}, here", f"{title}, the paper (ViT-B, ImageNet-1K)"], rows) + words


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
