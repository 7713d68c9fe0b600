"""The sections of the page, each built only where there is something to show."""

from __future__ import annotations

from dataclasses import dataclass, field

from probekit.report.differences import Differences
from probekit.report.figure import Figure
from probekit.report.headline import Headline
from probekit.report.results import Results
from probekit.report.tables import Table


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it. `short` names it in the navigation."""

    key: str
    title: str
    short: str
    lead: str = ""
    figures: list[Figure] = field(default_factory=list)
    strips: list[object] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    after: list[str] = field(default_factory=list)


def build(results: Results, headline: Headline | None, differences: Differences) -> list[Section]:
    """All sections that have something to show, in reading order."""
    return [
        Section("numbers", "All numbers", "Numbers", "Every number with its interval. Click a heading to sort."),
        Section("provenance", "Where the numbers come from", "Provenance"),
    ]
