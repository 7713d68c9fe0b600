"""Commands that look and compute nothing: inspect, probes, checkpoints, data show, board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from probekit.cli import options as given


def data_show(
    spec: given.ImageSet,
    output: Annotated[str, typer.Option("--output", "-o", help="The picture to write: .png or .jpg.")] = "sheet.png",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    per_class: Annotated[int, typer.Option(help="Images per class.")] = 10,
    tile: Annotated[int, typer.Option(help="Pixels that an image is fitted into.")] = 96,
    masks: Annotated[bool, typer.Option(help="Tint the objects, where their masks are known.")] = False,
) -> None:
    """Write a contact sheet: some images of every class."""
    from probekit.data import contact_sheet, load

    image_set = load(spec, split)
    contact_sheet.write(image_set, output, per_class=per_class, tile=tile, masks=masks)
    typer.echo(f"{output}: {image_set.description or image_set}")


def inspect(
    checkpoint: given.Checkpoint,
    as_json: Annotated[bool, typer.Option("--json", help="The same facts, as JSON.")] = False,
    image_size: Annotated[str | None, typer.Option(help="Pixels of its images: a side, or HEIGHT,WIDTH.")] = None,
    interpolation: Annotated[str | None, typer.Option(help="How its images were resized.")] = None,
    crop_fraction: Annotated[float | None, typer.Option(help="Share of the shorter side that its crop keeps.")] = None,
    *,
    loading: given.Loading,
) -> None:
    """What a checkpoint is: format, architecture, targets, masks, every missing and left-over key, warnings."""
    from probekit.models import inspection, load

    more = {"image_size": image_size, "interpolation": interpolation, "crop_fraction": crop_fraction}
    loaded = load(loading.sources([checkpoint], **more)[0], device="cpu")
    facts = inspection.report(loaded)
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        from rich.console import Console

        inspection.show(facts, Console(highlight=False, soft_wrap=False))


def probes() -> None:
    """The probes, with one line each, and the suites they are in."""
    from probekit import probes as found
    from probekit.evaluation import SUITES

    for name in found.names():
        typer.echo(f"{name:20} {found.describe(name)}")
    typer.echo("\nSuites")
    for name, suite in SUITES.items():
        typer.echo(f"{name:20} {suite.summary} (version {suite.version})")
        for plan in suite.plans:
            typer.echo(f"{'':20}   {plan.data}: {', '.join(plan.words)}")


def checkpoints() -> None:
    """The checkpoints that ship with probekit, and what each was trained with: names for shipped:NAME."""
    from probekit.models import loading

    names = loading.shipped()
    for name in names:
        facts = json.loads((loading.shipped_path(name) / "config.json").read_text(encoding="utf-8"))["probekit"]
        said = {"ratio": facts["mask_ratio"], "patch size": facts["patch_size"], "seed": facts["seed"]}
        said |= {"images seen": facts["images_seen"], "data": (facts["data"] or "").partition(",")[0]}
        known = ", ".join(f"{key} {value}" for key, value in said.items() if value not in (None, ""))
        typer.echo(f"{name:22} {known}")
    typer.echo(f"{len(names)} checkpoints")


def board(
    folder: Annotated[str, typer.Argument(help="The folder of results files.")] = "analyses/board",
    page: Annotated[list[str] | None, typer.Option(help="A page to write into; FOLDER/README.md if none.")] = None,
    check: Annotated[bool, typer.Option(help="Write nothing; fail if a page says something else.")] = False,
) -> None:
    """Write the board of measured checkpoints into its pages, or check that they still say what the files say."""
    from probekit.report import board as boards

    pages = [Path(one) for one in page or []] or [Path(folder) / "README.md"]
    changed = boards.update(Path(folder), pages, check=check)
    for one in changed:
        typer.echo(f"{one}: {'differs from the results files' if check else 'written'}")
    if check and changed:
        raise typer.Exit(1)
