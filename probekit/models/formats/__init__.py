"""Checkpoint formats, one file each, found by their presence.

A format is a module here with
    NAME     what the verdict calls it,
    RANK     formats are asked in this order, the most specific first,
    READS    what is read, for the README's table,
    SAY      what a caller must say because such files do not, for the same table,
    matches(found) -> bool   whether these are its names,
    read(found) -> Reading   the same tensors under timm's names (encoder) and ours (decoder), and what it knows
    besides.
A format renames; it never builds, guesses or drops in silence: building, checking and guessing are done once, for all.
Modules whose name begins with an underscore are shared by several formats. A format of another package is a module of
the same kind, named by an entry point of the group `probekit.formats`.
"""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from probekit import plugins
from probekit.errors import CheckpointError
from probekit.models.files import Found
from probekit.models.formats import _families, _preprocessor

GROUP = "probekit.formats"
"""Entry-point group of formats that other packages bring along."""


@dataclass
class Reading:
    """A checkpoint under canonical names.

    `stated` and `presumed` use the names of `Architecture`'s fields (a decoder's with `decoder_` in front) and of the
    card's (`card.STATED`). A caller may settle what is presumed, and may not contradict what is stated.

    Attributes:
        format: name of the format.
        encoder: tensors under timm's `VisionTransformer` names.
        decoder: tensors under the names of `Decoder`; empty if there is none.
        left_over: names in the file that belong to neither.
        missing: names a format may lack, and lacks.
        stated: what the file says that shapes do not tell.
        presumed: what the format's own code builds, or its publishers used, where the file does not say.
        notes, warnings: for the verdict.
        networks: the name of the network that was taken, and of the others in the file.
        module: the encoder on `meta`, where the format knows it exactly.
        compute: fills in tensors that the file leaves out because they follow from the image size.
        spell: from a canonical name ("encoder.norm.weight") to the file's own, for messages.
        ready: waits for values that are still being copied into the tensors.
    """

    format: str
    encoder: dict[str, Tensor]
    decoder: dict[str, Tensor] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stated: dict[str, Any] = field(default_factory=dict)
    presumed: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    networks: tuple[str, ...] = ()
    module: VisionTransformer | None = None
    compute: Callable[[Reading, tuple[int, int], str], None] | None = None
    spell: Callable[[str], str] = str
    ready: Callable[[], object] = lambda: None


@cache
def formats() -> tuple[ModuleType, ...]:
    """Every format, those of other packages too, in the order in which they are asked."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    found = [import_module(f"{__name__}.{name}") for name in names]
    for point in plugins.others(GROUP, names).values():
        try:
            module = plugins.loaded(point, "checkpoint format", CheckpointError)
        except CheckpointError as error:  # checkpoints of other formats can still be read
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
            continue
        lacking = [name for name in ("NAME", "RANK", "matches", "read") if not hasattr(module, name)]
        if lacking:
            warnings.warn(
                f"The checkpoint format {point.name} ({point.value}) lacks {', '.join(lacking)}: it is left out.",
                RuntimeWarning,
                stacklevel=2,
            )
        else:
            found.append(module)
    return tuple(sorted(found, key=lambda module: int(module.RANK)))


def read(found: Found) -> Reading:
    """Read with the first format that recognises the names.

    Raises:
        CheckpointError: none does; the message says what the names look like.
    """
    if (family := _families.other(found.tensors)) is not None and family.name in REFUSED:
        raise CheckpointError(f"{found.label} is {family.name}. {family.way}")
    for module in formats():
        if module.matches(found):
            reading: Reading = module.read(found)
            reading.stated = _preprocessor.read(found.preprocessor or {}) | reading.stated
            return reading
    raise CheckpointError(_unknown(found))


REFUSED = ("a LoRA adapter", "a video model: its patches extend in time (Conv3d)")
"""Families that are refused before a format looks: the names are those of a format, the arithmetic is not."""


def _unknown(found: Found) -> str:
    family = _families.other(found.tensors)
    kind = family.name if family else "a network of another family"
    way = family.way if family else _families.ADAPTED
    shown = ", ".join(list(found.tensors)[:4])
    known = ", ".join(module.NAME for module in formats())
    return (
        f"{found.label}: these are not the weights of a vision transformer; they look like {kind} "
        f"({len(found.tensors)} tensors: {shown}, ...). Expected one of the formats {known}. {way}"
    )
