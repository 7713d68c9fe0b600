"""Altair charts that a notebook shows without a network.

Altair's default renderer writes a page that loads Vega from the internet, so that without a connection a cell stays
empty, without a word. These charts show as SVG unless the reader has chosen a renderer:
`altair.renderers.enable("html")` brings back tooltips. Saving, combining and converting them is Altair's own business.
"""

from __future__ import annotations

from typing import Any

import altair as alt

UNCHOSEN = "default"
"""Altair's name for the renderer that nobody chose."""


class OfflineChart(alt.Chart):
    """One chart."""

    def _repr_mimebundle_(self, *args: Any, **given: Any) -> Any:
        return as_svg(self) if unchosen() else super()._repr_mimebundle_(*args, **given)


class OfflineConcatChart(alt.ConcatChart):
    """Charts side by side."""

    def _repr_mimebundle_(self, *args: Any, **given: Any) -> Any:
        return as_svg(self) if unchosen() else super()._repr_mimebundle_(*args, **given)


def unchosen() -> bool:
    """Whether the reader has left Altair's renderer as it was."""
    return bool(alt.renderers.active == UNCHOSEN)


def as_svg(chart: alt.TopLevelMixin) -> dict[str, str]:
    """What a notebook shows of a chart, by MIME type."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    return {"image/svg+xml": svg, "text/plain": f"{type(chart).__name__}: chart.save(path) writes it"}
