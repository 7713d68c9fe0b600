"""The verdict as a page in the terminal, and as JSON: the same facts, gathered once."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from probekit.models.architecture import count
from probekit.models.card_checks import RECORDED
from probekit.models.checkpoint import Checkpoint

UNKNOWN = "not recorded"


def report(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything known about a checkpoint, as JSON takes it. Reads every weight (scan and sha256).

    Keys: name, source, format, architecture, parameters, decoder (bool), pixel_targets ("normalised", "plain" or None),
    vit_patch_size, image_size, grid, poolings, every field of the card, missing, left_over, notes, warnings, sha256.
    """
    card, verdict, model = checkpoint.card, checkpoint.verdict, checkpoint.model
    targets = {True: "normalised", False: "plain", None: None}[card.normalised_targets]
    facts = {name: getattr(card, name) for name in ("patch_size", *RECORDED)}
    return {
        "name": card.name,
        "source": checkpoint.source,
        "format": verdict.format,
        "architecture": card.architecture,
        "parameters": count(model),
        "decoder": verdict.decoder,
        "pixel_targets": targets,
        "vit_patch_size": card.vit_patch_size,
        "image_size": list(card.image_size),
        "grid": list(model.grid(*card.image_size)),
        "poolings": list(model.poolings),
        **{name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()},
        "missing": list(verdict.missing),
        "left_over": list(verdict.left_over),
        "notes": list(verdict.notes),
        "warnings": list(verdict.warnings),
        "sha256": card.sha256,
    }


def show(facts: dict[str, Any], console: Console) -> None:
    """Print a report as a page."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(facts):
        table.add_row(name, Text(value, style="dim" if value == UNKNOWN else ""))
    parts: list[Any] = [Text(facts["name"], style="bold underline"), table]
    for title, key, empty, style in (
        ("Warnings", "warnings", "none", "yellow"),
        ("Missing keys", "missing", "none", ""),
        ("Left-over keys", "left_over", "none", ""),
        ("Notes", "notes", None, ""),
    ):
        lines = facts[key] or ([empty] if empty else [])
        if lines:
            parts.append(Text(f"\n{title}" + (f" ({len(facts[key])})" if facts[key] else ""), style="bold"))
            parts += [Padding(Text(line, style=style if facts[key] else "dim"), (0, 0, 0, 2)) for line in lines]
    console.print(Group(*parts))


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the page's table."""
    built, decoder = facts["architecture"], facts["architecture"].get("decoder")
    height, width = facts["image_size"]
    rows = [
        ("Source", facts["source"]),
        ("Format", facts["format"]),
        ("Encoder", f"{_part(built)}, {_tokens(built)}"),
        ("Decoder", "no: an encoder alone" if decoder is None else _part(decoder)),
        ("Images", f"{height} x {width} pixels in patches of {facts['vit_patch_size']} ({_by(facts['grid'])} patches)"),
        ("Mask ratio", _known(facts["mask_ratio"])),
        ("Patch size", UNKNOWN if facts["patch_size"] is None else f"{facts['patch_size']} pixels (the mask unit)"),
        ("Pixel targets", _targets(facts)),
        ("Normalisation", _normalisation(facts)),
        ("Resizing", f"{facts['interpolation']}, centre crop of {facts['crop_fraction']:.3g}"),
        ("Poolings", ", ".join(facts["poolings"])),
    ]
    rows += [
        (name.replace("_", " ").capitalize(), _known(facts[name]))
        for name in ("data", "epochs", "images_seen", "seed", "licence")
    ]
    return [*rows, ("Parameters", f"{facts['parameters']:,}"), ("sha256", facts["sha256"])]


def _part(built: dict[str, Any]) -> str:
    shape = f"width {built['width']}, depth {built['depth']}, {built['num_heads']} heads"
    return f"{shape}, layer-norm epsilon {built['layer_norm_eps']:g}, {built['parameters']:,} parameters"


def _tokens(built: dict[str, Any]) -> str:
    registers = f" and {built['registers']} registers" if built["registers"] else ""
    return ("[CLS]" if built["class_token"] else "no [CLS]") + registers


def _targets(facts: dict[str, Any]) -> str:
    meaning = {"normalised": "normalised per patch", "plain": "plain pixels"}
    return meaning.get(facts["pixel_targets"], UNKNOWN + (" (taken as plain pixels)" if facts["decoder"] else ""))


def _normalisation(facts: dict[str, Any]) -> str:
    mean, std = (", ".join(f"{value:.4g}" for value in facts[name]) for name in ("mean", "std"))
    return f"mean {mean}; deviation {std}" + ("" if facts["normalisation_known"] else " (assumed: ImageNet's)")


def _known(value: Any) -> str:
    return UNKNOWN if value is None else f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)


def _by(grid: list[int]) -> str:
    return f"{grid[0]} x {grid[1]}"
