"""Results in, Altair charts out: the functions that notebooks call. The report draws with the same figures.

Every function takes a results dataset (from `evaluate`, `compare` or a file) and returns an Altair chart, which a
notebook shows (as SVG, without a network, see `showing`) and `chart.save("figure.svg")` (or .png, .pdf, .html) writes.
Common arguments:

- `data`: the image set; the first that has the quantity if None.
- `by`: a coordinate along `checkpoint` that groups and colours, the user's own included; None for the masking.
- further keyword arguments fix a dimension: `pooling="cls"`, `scaling="whitened"`, `k=20`. What is not fixed is chosen
  as the report does, and named in the chart's title.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from probekit.errors import ResultsError, did_you_mean
from probekit.plot import last_layer, pictures, theme
from probekit.plot.curves import layer_figure
from probekit.plot.differences import difference_figure
from probekit.plot.figure import Figure
from probekit.plot.headline import find
from probekit.plot.mask_curves import response_figure
from probekit.plot.pictures import Strip
from probekit.plot.recovery import profile_figure
from probekit.plot.rows import Results
from probekit.plot.showing import OfflineChart, OfflineConcatChart
from probekit.plot.similarities import similarity_figure
from probekit.plot.stacks import share_figure

Chart = alt.TopLevelMixin


def by_setting(
    ds: Any, name: str | None = None, *, data: str | None = None, by: str | None = None, **labels: Any
) -> Chart:
    """A quantity against mask ratio or patch size: a dot with its interval per checkpoint, lines through seed means.

    Args:
        ds: results, or the path of a results file.
        name: a result variable; the report's headline quantity if None.
        data, by, labels: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: an unknown quantity, image set, coordinate or label, or no number to draw.

    Example:
        >>> import probekit
        >>> chart = probekit.plot.by_setting("results.nc", "linear_accuracy", pooling="cls")  # doctest: +SKIP
        >>> chart.save("accuracy.svg")  # doctest: +SKIP
    """
    results = Results(ds, by=by, shown=labels)
    if name is None:
        headline = find(results)
        name = _quantity(results, None if headline is None else headline.name)
    name = _quantity(results, name)
    where = _where(results, name, data)
    return chart(last_layer.choice_figure(results, [name], where, name, f"{results.title(name)}, {where}"))


def over_layers(ds: Any, name: str, *, by: str | None = None, **labels: Any) -> Chart:
    """A quantity over the layers of each checkpoint, with bands where there are few.

    Args:
        ds: results, or the path of a results file.
        name: a result variable with the dim `layer`.
        by, labels: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: a quantity of one layer; no such quantity, image set, coordinate or label, or no number to draw.

    Example:
        >>> import probekit
        >>> chart = probekit.plot.over_layers("results.nc", "linear_accuracy", pooling="mean")  # doctest: +SKIP
    """
    results = Results(ds, by=by, shown=labels)
    figure = layer_figure(results, _quantity(results, name))
    if figure is None:
        raise ResultsError(f"{name} has one layer only: probekit.plot.by_setting draws it.")
    return chart(figure)


def levels(ds: Any, *, data: str | None = None, by: str | None = None, **labels: Any) -> Chart:
    """The level spectrum: shares of variance by level, stacked, for each scaling.

    Args:
        ds: results, or the path of a results file.
        data, by, labels: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: no such quantity, image set, coordinate or label, or no number to draw.

    Example:
        >>> import probekit
        >>> chart = probekit.plot.levels("results.nc", scaling="whitened")  # doctest: +SKIP
    """
    return _shares(ds, "level_share", "level", data, by, labels)


def ladder(ds: Any, *, data: str | None = None, by: str | None = None, **labels: Any) -> Chart:
    """The level ladder: shares of variance by rung, stacked, for each scaling.

    Args:
        ds: results, or the path of a results file.
        data, by, labels: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: no such quantity, image set, coordinate or label, or no number to draw.

    Example:
        >>> import probekit
        >>> chart = probekit.plot.ladder("results.nc", data="photos")  # doctest: +SKIP
    """
    return _shares(ds, "ladder_share", "rung", data, by, labels)


def profile(ds: Any, *, data: str | None = None, **labels: Any) -> Chart:
    """The recovery profile: gain by level and setting, what Theorem 1 asks for, amount and height.

    Args:
        ds: results, or the path of a results file.
        data, labels: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: no such quantity, image set, coordinate or label, or no number to draw.

    Example:
        >>> import probekit
        >>> chart = probekit.plot.profile("results.nc")  # doctest: +SKIP
    """
    results = Results(ds, shown=labels)
    return chart(profile_figure(results, _where(results, _quantity(results, "recovery_gain"), data)))


def response(
    ds: Any, name: str = "response_similarity", *, data: str | None = None, by: str | None = None, **labels: Any
) -> Chart:
    """The mask response: a quantity over the evaluation mask ratio, for each unit.

    Args:
        ds: results, or the path of a results file.
        name: a result variable with the dims `eval_mask_ratio` and `eval_patch_size`.
        data, by, labels: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: no such quantity, image set, coordinate or label, or no number to draw.

    Example:
        >>> import probekit
        >>> chart = probekit.plot.response("results.nc", "response_ssim")  # doctest: +SKIP
    """
    results = Results(ds, by=by, shown=labels)
    return chart(response_figure(results, name, _where(results, _quantity(results, name), data)))


def contrast(ds: Any, name: str | None = None, *, data: str | None = None, **labels: Any) -> Chart:
    """Differences to a baseline with their intervals.

    Args:
        ds: what `probekit.contrast` returned.
        name: a quantity, with or without `_difference`; the first if None.
        data, labels: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: no differences in the dataset, or no such quantity, image set or label.

    Example:
        >>> import probekit
        >>> differences = probekit.contrast("results.nc", baseline="untrained-s0")  # doctest: +SKIP
        >>> chart = probekit.plot.contrast(differences, "linear_accuracy")  # doctest: +SKIP
    """
    results = Results(ds, shown=labels)
    found = [one for one in results.names if one.endswith("_difference")]
    if not found:
        raise ResultsError("There are no differences in these results: give what probekit.contrast returned.")
    wanted = found[0] if name is None else f"{name.removesuffix('_difference')}_difference"
    name = _quantity(results, wanted)
    return chart(difference_figure(results, name, _where(results, name, data)))


def similarity(ds: Any, *, data: str | None = None, **labels: Any) -> Chart:
    """How alike checkpoints are, a heat map per metric.

    Args:
        ds: what `probekit.similarity` returned, or the path of a results file.
        data, labels: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: no such quantity, image set, coordinate or label, or no number to draw.

    Example:
        >>> import probekit
        >>> chart = probekit.plot.similarity(probekit.similarity(["a.pth", "b.pth"], "photos"))  # doctest: +SKIP
    """
    results = Results(ds, shown=labels)
    return chart(similarity_figure(results, _where(results, _quantity(results, "similarity"), data)))


def embedding(ds: Any, *, data: str | None = None) -> Chart:
    """t-SNE of features, coloured by class.

    Args:
        ds: results, or the path of a results file.
        data: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: no such quantity, image set, coordinate or label, or no number to draw.

    Example:
        >>> import probekit
        >>> chart = probekit.plot.embedding("results.nc")  # doctest: +SKIP
    """
    results = Results(ds)
    found = {figure.key.removeprefix("embedding-"): figure for figure in last_layer.embeddings(results)}
    return chart(found[_named(found, data, "embedding")])


def reconstructions(ds: Any, *, data: str | None = None) -> Chart:
    """Pictures: the input, and what each checkpoint makes of it.

    Args:
        ds: results, or the path of a results file.
        data: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: no such quantity, image set, coordinate or label, or no number to draw.

    Example:
        >>> import probekit
        >>> chart = probekit.plot.reconstructions("results.nc", data="photos")  # doctest: +SKIP
    """
    return _strips(pictures.reconstructions(Results(ds)), "reconstructions", data)


def attention(ds: Any, *, data: str | None = None) -> Chart:
    """Pictures: where [CLS] and an object token look in the last layer.

    Args:
        ds: results, or the path of a results file.
        data: see the module.

    Returns:
        An Altair chart.

    Raises:
        ResultsError: no such quantity, image set, coordinate or label, or no number to draw.

    Example:
        >>> import probekit
        >>> chart = probekit.plot.attention("results.nc", data="photos")  # doctest: +SKIP
    """
    return _strips(pictures.attention(Results(ds)), "attention", data)


def chart(figure: Figure | None) -> Chart:
    """A figure of the report as one Altair chart.

    Args:
        figure: what the modules of this package build, such as `probekit.plot.curves.layer_figure`.

    Returns:
        An Altair chart, its panels side by side.

    Raises:
        ResultsError: there is no figure, because nothing finite was measured.

    Example:
        >>> from probekit.plot.curves import layer_figure
        >>> shown = chart(layer_figure(Results("results.nc"), "linear_accuracy"))  # doctest: +SKIP
    """
    if figure is None:
        raise ResultsError("There is nothing to draw: no finite number was measured for this figure.")
    return OfflineConcatChart.from_dict(theme.concrete(figure.chart_spec()))


def _quantity(results: Results, name: str | None) -> str:
    """`name`, if it is a result that has a number."""
    if name is None or name not in results.names:
        known = ", ".join(results.names)
        raise ResultsError(
            f"These results have no quantity {name!r}. {did_you_mean(str(name), results.names)} Known: {known}."
        )
    if not results.measured(name):
        raise ResultsError(f"{name} has no finite number here; ds.attrs['not_applicable'] says why.")
    return name


def _where(results: Results, name: str, data: str | None) -> str:
    """The image set to show: `data`, or the first that has the quantity."""
    found = results.where(name)
    return _named(dict.fromkeys(found), data, name)


def _named(found: Any, data: str | None, what: str) -> str:
    known = list(found)
    if not known:
        raise ResultsError(f"There is no {what} in these results.")
    if data is not None and data not in known:
        raise ResultsError(f"There is no {what} on {data!r}. Known: {', '.join(known)}.")
    return known[0] if data is None else data


def _shares(ds: Any, name: str, dim: str, data: str | None, by: str | None, labels: dict[str, Any]) -> Chart:
    results = Results(ds, by=by, shown=labels)
    return chart(share_figure(results, name, dim, _where(results, _quantity(results, name), data)))


def _strips(strips: list[Strip], what: str, data: str | None) -> Chart:
    """A strip of pictures as a chart: a row per checkpoint, a column per kind."""
    found = {strip.key.removeprefix(f"{what}-"): strip for strip in strips}
    strip = found[_named(found, data, what)]
    return OfflineChart.from_dict(theme.concrete(pictures.strip_spec(strip)))
