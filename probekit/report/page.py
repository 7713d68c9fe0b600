"""The page: sections in order, their data as JSON, and the template that lays them out.

Jinja escapes all text. The data of charts and tables are packed (`packing`), so no name in a results file can end
their element; the only text inserted as it is comes from this package and from Vega.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import resources
from types import SimpleNamespace
from typing import Any

import jinja2
from markupsafe import Markup, escape

from probekit.constants import CONFIDENCE
from probekit.plot import by_masking, theme
from probekit.plot.differences import Differences
from probekit.plot.figure import Figure
from probekit.plot.headline import Headline, find
from probekit.plot.rows import Results
from probekit.report.packing import packed, trimmed
from probekit.report.sections import Section, build
from probekit.report.sentences import answer
from probekit.report.tables import long_table
from probekit.results.settings import facts, own_factors
from probekit.schema import plain


@dataclass(frozen=True)
class Report:
    """Everything that is shown, before it is laid out; `exporting` writes the same figures and tables to files."""

    results: Results
    headline: Headline | None
    headline_figures: list[Figure]
    sections: list[Section]
    differences: Differences
    facets: list[dict[str, Any]] = field(default_factory=list)

    @property
    def figures(self) -> list[Figure]:
        """All figures in reading order."""
        return self.headline_figures + [figure for section in self.sections for figure in section.figures]


def assemble(ds: Any, by: str | None = None) -> Report:
    """Read a dataset into everything that is to be shown; `by` is the reader's own grouping."""
    results = Results(ds, by=by)
    headline = find(results)
    differences = Differences(results, headline)
    figures = by_masking.figures(headline) if headline else []
    return Report(results, headline, figures, build(results, headline, differences), differences, facets(results))


DIFFERENCE_BITS = 14
"""Bits of the differences between all pairs of checkpoints, which are shown with four digits."""

MOST_VALUES = 12
"""Coordinates of the user's with more values than these are no groups to switch."""


def facets(results: Results) -> list[dict[str, Any]]:
    """Groups of checkpoints to switch on and off together: by ratio, patch size, seed, the user's own coordinates, and
    the untrained."""
    found = []
    for name in own_factors(results.ds):
        each = facts(results.ds, name)
        known = sorted({value for value in each if value is not None}, key=str)
        if 1 < len(known) <= MOST_VALUES:
            items = [
                {"label": plain(value), "indices": [i for i, one in enumerate(each) if one == value]} for value in known
            ]
            found.append({"title": name.replace("_", " ").capitalize(), "members": items})
    for key, title, unit in (("ratio", "Mask ratio", ""), ("patch", "Patch size", " px"), ("seed", "Seed", "")):
        members = [c for c in results.checkpoints if not c.untrained]
        values = sorted({getattr(c, key) for c in members if getattr(c, key) is not None})
        if len(values) > 1:
            items = [
                {"label": f"{value:g}{unit}", "indices": [c.index for c in members if getattr(c, key) == value]}
                for value in values
            ]
            found.append({"title": title, "members": items})
    untrained = [c.index for c in results.checkpoints if c.untrained]
    if untrained and len(untrained) < len(results.checkpoints):
        found.append({"title": "Baseline", "members": [{"label": "untrained", "indices": untrained}]})
    return found


def embedded(report: Report) -> Markup:
    """Everything that the page's script draws and lists."""
    differences = report.differences.as_json()
    for quantity in differences["quantities"]:
        quantity |= {key: trimmed(quantity[key], DIFFERENCE_BITS) for key in ("value", "half")}
    charts = {f"{figure.key}-{i}": panel.spec() for figure in report.figures for i, panel in enumerate(figure.panels)}
    names = [checkpoint.name for checkpoint in report.results.checkpoints]
    table = long_table(report.results)
    return Markup(packed({"charts": charts, "table": table, "differences": differences, "names": names}))


def meta(report: Report) -> str:
    """The line above the answer: how much was measured, on what, when."""
    results = report.results
    count = len(results.checkpoints)
    parts = [f"{count} checkpoint{'s' if count > 1 else ''}", f"on {', '.join(results.data)}"]
    suite = results.provenance.get("suite")
    if suite:
        parts.append(f"suite {suite}" if isinstance(suite, str) else f"probes {', '.join(map(str, suite))}")
    if results.provenance.get("created"):
        parts.append(str(results.provenance["created"])[:10])
    return " · ".join(parts)


def protocols(results: Results) -> list[dict[str, str]]:
    """How each quantity was measured, and what its interval resamples or why it has none."""
    found = []
    for name in results.names:
        twin = f"{name}_ci"
        if twin in results.ds:
            interval = (
                f"Interval ({100 * CONFIDENCE:.0f} %): {results.attribute(twin, 'resamples') or 'not described'}."
            )
        else:
            interval = f"No interval: {results.no_interval(name)}."
        found.append(
            {"name": name, "title": results.title(name), "interval": interval}
            | {key: results.attribute(name, key) for key in ("protocol", "better", "version", "reference")}
        )
    return found


def records(results: Results) -> list[tuple[str, Any]]:
    """Provenance as foldable records, whatever was stored: one for each checkpoint and image set, then the rest."""
    stored = {key: value for key, value in results.provenance.items() if key not in ("command", "created", "suite")}
    found = []
    for key in ("checkpoints", "records"):
        value = stored.pop(key, None)
        if isinstance(value, dict):
            found += [(str(name), record) for name, record in value.items()]
        elif isinstance(value, list):
            found += [record_entry(i, record) for i, record in enumerate(value)]
    return found + [(key.replace("_", " ").capitalize(), value) for key, value in stored.items()]


def record_entry(position: int, record: Any) -> tuple[str, Any]:
    """A title for a record: the checkpoint and image set it is about."""
    if not isinstance(record, dict):
        return f"Record {position + 1}", record
    names = [str(record[key]) for key in ("checkpoint_name", "data_name") if key in record]
    rest = {key: value for key, value in record.items() if key not in ("checkpoint_name", "data_name")}
    return " on ".join(names) or f"Record {position + 1}", rest


def nested(value: Any) -> Markup:
    """A record of any depth: a list of terms for a mapping, else its items with commas.

    Example:
        >>> nested({"seeds": [0, 1], "note": None})
        Markup('<dl><div><dt>seeds</dt><dd>0, 1</dd></div><div><dt>note</dt><dd>none</dd></div></dl>')
    """
    if isinstance(value, Mapping):
        terms = [f"<div><dt>{escape(key)}</dt><dd>{nested(item)}</dd></div>" for key, item in value.items()]
        return Markup(f"<dl>{''.join(terms)}</dl>")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Markup(", ".join(map(nested, value)) or "none")
    return escape("none" if value is None else value)


def vega_bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script, from vl-convert."""
    import vl_convert

    return vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub calls the snippet required, it is not


def text(name: str) -> str:
    """The text of a file that ships with this package, e.g. "style.css"."""
    return resources.files("probekit.report").joinpath(name).read_text(encoding="utf-8")


def render(report: Report, *, script: str | None = None) -> str:
    """The whole page; see `probekit.report.html`."""
    results, headline = report.results, report.headline
    command, versions = results.provenance.get("command"), results.provenance.get("versions")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    with ThreadPoolExecutor(1) as pool:  # the data are packed while what stands before them is laid out
        data = SimpleNamespace(__html__=pool.submit(embedded, report).result)
        return environment.from_string(text("template.html")).render(
            version=versions.get("probekit", "") if isinstance(versions, dict) else "",
            light=Markup(theme.stylesheet(theme.LIGHT)),
            dark=Markup(theme.stylesheet(theme.DARK)),
            style=Markup(text("style.css")),
            answer=answer(headline),
            choice=headline.results.choose(headline.name).words if headline else "",
            meta=meta(report),
            headline_figures=report.headline_figures,
            sections=report.sections,
            protocols=protocols(results),
            records=[(name, nested(record)) for name, record in records(results)],
            command=shlex.join(map(str, command)) if isinstance(command, list) else command,
            created=results.provenance.get("created", ""),
            toggles={"names": [c.name for c in results.checkpoints], "facets": report.facets},
            data=data,
            vega=Markup(vega_bundle() if script is None else script),
            script=Markup(text("report.js")),
        )
