"""What is asked of any source of stored images, besides the source's own options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probekit.data.base import check_count, check_split
from probekit.errors import DataError, did_you_mean

SAMPLINGS = ("proportional", "balanced")
POLICIES = ("stop", "skip")


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which images of a source are wanted.

    Args:
        spec: what the caller wrote, for messages.
        split: "train", "val" or "test".
        count: number of images; None = all.
        exact: whether fewer images than `count` are an error.
        seed: of the draw of `count` images.
        sampling: "proportional" (the classes' own proportions) or "balanced" (as many of each class).
        on_unreadable: "stop" (an unreadable image raises a DataError when it is reached) or "skip" (every image is
            decoded once when the set is opened; unreadable ones are left out and counted in a warning).
        classes: names of the classes that are wanted, in this order; None = all. In a spec: `classes=cat,dog`.
        superclasses: class -> superclass, or superclass -> list of classes.
        whole: take everything as this split, instead of dividing it.
        exif: whether an EXIF orientation is applied. In a spec: `exif=off`.
        decode: "full", or "draft" / "draft:SIDE": JPEG files are decoded at a reduced size whose shorter side is still
            at least SIDE pixels (default 256). Faster, but another protocol: the pixels differ.
    """

    spec: str
    split: str
    count: int | None = None
    exact: bool = True
    seed: int = 0
    sampling: str = "proportional"
    on_unreadable: str = "stop"
    classes: Sequence[str] | None = None
    superclasses: Mapping[str, Any] | None = None
    whole: bool = False
    exif: bool = True
    decode: str = "full"

    def __post_init__(self) -> None:
        check_split(self.split)
        check_count(self.count)
        for name, known in (("sampling", SAMPLINGS), ("on_unreadable", POLICIES)):
            value = getattr(self, name)
            if value not in known:
                listed = " or ".join(map(repr, known))
                raise DataError(f"{self.spec}: {name}={value!r}: it is {listed}. {did_you_mean(value, known)}")
        if isinstance(self.classes, str):
            object.__setattr__(self, "classes", tuple(part.strip() for part in self.classes.split(",")))
        self.draft  # noqa: B018  # checks `decode`

    @property
    def draft(self) -> int:
        """The shorter side that a JPEG file is decoded at, at least; 0 = its own size."""
        kind, _, side = self.decode.partition(":")
        if kind not in ("full", "draft") or (side and not side.isdecimal()) or (kind == "full" and side):
            raise DataError(f"{self.spec}: decode={self.decode!r}: it is 'full', 'draft' or 'draft:SIDE', in pixels.")
        return int(side or 256) if kind == "draft" else 0

    @property
    def decoding(self) -> dict[str, Any]:
        """How files are decoded, for the facts of a set."""
        return {"exif": self.exif} | ({"draft": self.draft} if self.draft else {})
