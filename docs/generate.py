"""Write the pages of the site that come from the code: probes, formats, gallery, API and executed notebooks.

mkdocs calls `on_pre_build` before every build, so the site cannot say anything that the code does not. By hand:

    python docs/generate.py
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGES = HERE / "pages"
BOARD = HERE.parent / "analyses" / "board"
RESULTS = [*sorted(BOARD.glob("*.nc")), *sorted(BOARD.parent.glob("*/results.nc"))]
"""Measured results that the pictures are drawn from: the first that has the quantity, the board before analyses."""

API = {
    "Load and measure": ("load", "evaluate", "compare", "features", "Encoder"),
    "Results": ("contrast", "summary"),
    "Train": ("train", "finetune", "detect"),
}
PICTURES = {
    "level_recovery": ("profile", {}),
    "level_spectrum": ("levels", {}),
    "level_ladder": ("ladder", {}),
    "mask_response": ("response", {}),
    "reconstruction": ("reconstructions", {}),
    "attention_maps": ("attention", {}),
    "embedding": ("embedding", {}),
}
"""Probe -> the chart that shows it best, and its arguments; the others show their first variable by setting."""

GALLERY = {"over_layers": {"name": "linear_accuracy"}, "by_setting": {"name": "linear_accuracy"}}
"""Chart -> the arguments that it is shown with."""


def on_pre_build(config: Any) -> None:
    """The hook of mkdocs."""
    write_all()


def write_all() -> None:
    """Write every generated page; notebooks run in kernels of their own meanwhile."""
    sources = sorted((HERE / "notebooks").glob("*.py"))
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as pool:
        pages = pool.map(executed, sources)
        write_drawn()
        for source, text in zip(sources, pages, strict=True):
            write(f"notebooks/{source.stem}.md", text)


def write_drawn() -> None:
    """Write the pages that come from code and measured results."""
    from probekit import probes

    write("probes/index.md", probe_index())
    for name in probes.names():
        write(f"probes/{name}.md", probe_page(name))
    write("formats.md", format_page())
    write("protocols.md", protocol_page())
    write("board.md", board_page())
    write("gallery.md", gallery_page())
    write("api.md", api_page())


def write(name: str, text: str) -> None:
    """Write a page, if it changed: mkdocs would otherwise build for ever while it watches."""
    target = PAGES / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_file() or target.read_text() != text:
        target.write_text(text)


def probe_index() -> str:
    """The table of all probes and of all suites."""
    from probekit import probes
    from probekit.evaluation import SUITES

    rows = [f"| [{name}]({name}.md) | {probes.describe(name)} |" for name in probes.names()]
    text = ["# Probes", "", "A probe is one measure. `suite=` takes the name of one, a list of them, or a suite.", ""]
    text += ["| probe | what it measures |", "|---|---|", *rows, "", "## Suites", ""]
    text += ["Suites are frozen: a change is a new version, and the old one stays callable.", ""]
    text += ["| suite | version | what for | probes |", "|---|---|---|---|"]
    for name, suite in SUITES.items():
        listed = ", ".join(f"`{probe}`" for probe in suite.probes)
        text.append(f"| `{name}` | {suite.version} | {suite.summary} | {listed} |")
    return "\n".join(text) + "\n"


def probe_page(name: str) -> str:
    """One probe: definition, cost, what it needs, options, a picture, an example."""
    from probekit import probes

    probe = probes.find(name)
    module = inspect.getmodule(probe.run)
    text = [f"# {name}", "", probe.summary, ""]
    more = inspect.cleandoc((module.__doc__ if module else "") or "").partition("\n")[2].strip()
    if more and more not in probe.summary:
        text += [more, ""]
    text += picture(name, probe)
    text += ["## What it gives", ""]
    for variable in probe.variables:
        dims = ", ".join(variable.dims) or "none"
        units = "" if variable.units == "1" else f", in {variable.units}"
        good = {"higher": "higher is better", "lower": "lower is better", "none": "neither is better"}[variable.better]
        interval = (
            f"95 % interval: {variable.interval}" if variable.interval else f"no interval: {variable.no_interval}"
        )
        text += [f"**`{variable.name}`**: {variable.long_name}{units}; {good}; version {variable.version}.", ""]
        text += [f"- dims besides checkpoint and data: {dims}", f"- definition: {variable.protocol}"]
        text += [f"- {interval}", f"- reference: {variable.reference}", ""]
    text += ["## What it needs", "", f"- of checkpoint and images: {', '.join(probe.requires) or 'nothing special'}"]
    text += [f"- measured in the pass: {', '.join(probe.needs) or 'nothing'}", f"- cost: {cost(probe)}", ""]
    if probe.options:
        text += ["## Options", "", "| option | default |", "|---|---|"]
        text += [f"| `{key}` | `{value!r}` |" for key, value in probe.options.items()] + [""]
    text += ["## Run it", "", "```bash", f"probekit evaluate CHECKPOINT --suite {name} -o results.nc", "```", ""]
    return "\n".join(text)


def cost(probe: Any) -> str:
    """Forward passes of a probe, in words."""
    from probekit.collect.needs import EXTRA, LIMITS, NEEDS

    needs = [*probe.needs, *(name for names in probe.after.values() for name in names)]
    splits = sorted({NEEDS[need].split for need in needs if need in NEEDS and NEEDS[need].recorder})
    words = [f"one forward per {split} image, shared with all other probes" for split in splits]
    words += [f"extra passes `{need}`, bounded by `counts[{LIMITS[need]!r}]`" for need in needs if need in EXTRA]
    return "; ".join(dict.fromkeys(words)) or "no forward pass"


def picture(name: str, probe: Any) -> list[str]:
    """The chart of a probe on measured results, if there are any; as an SVG beside the page."""
    made = drawn(*chart_of(name, probe), PAGES / "probes" / f"{name}.svg")
    return (
        [f"![{probe.summary}]({name}.svg)", "", f"*Drawn from `{made.relative_to(HERE.parent)}`.*", ""] if made else []
    )


def chart_of(name: str, probe: Any) -> tuple[str, dict[str, Any]]:
    """The chart that shows a probe best, and its arguments."""
    return PICTURES.get(name, ("by_setting", {"name": probe.variables[0].name}))


def drawn(chart: str, arguments: dict[str, Any], target: Path | None = None) -> Path | None:
    """Draw a chart from the first results that have what it shows; the file of these, None if there are none."""
    from probekit import plot
    from probekit.errors import ResultsError

    for file in RESULTS:
        try:
            made = getattr(plot, chart)(opened(file), **arguments)
        except ResultsError:
            continue
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.save(target)
        return file
    return None


@cache
def opened(file: Path) -> Any:
    """A results file, read once for all charts."""
    from probekit import schema

    return schema.read(file)


def format_page() -> str:
    """Checkpoint formats, from the modules that read them."""
    from probekit.models import formats

    text = [
        "# Checkpoint formats",
        "",
        "`probekit.load` tries these in order; the first that understands a file reads it.",
        "",
    ]
    for module in formats.formats():
        first, _, rest = inspect.cleandoc(module.__doc__ or "").partition("\n\n")
        text += [f"## {module.NAME}", "", first.replace("\n", " "), "", rest, ""]
    return "\n".join(text)


def protocol_page() -> str:
    """The protocol of every variable, in one table."""
    text = [
        "# Protocols",
        "",
        "How every number comes about, with its constants. The same words stand in each results file.",
        "",
    ]
    text += ["| variable | protocol | reference | version |", "|---|---|---|---|"]
    for variable in variables():
        cells = (f"`{variable.name}`", variable.protocol, variable.reference, str(variable.version))
        text.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(text) + "\n"


def variables() -> Iterator[Any]:
    """Every result variable of every probe."""
    from probekit import probes

    for name in probes.names():
        yield from probes.find(name).variables


def gallery_page() -> str:
    """Every plot, with the line that draws it."""
    from probekit import plot
    from probekit.plot import charts

    text = [
        "# Gallery",
        "",
        "The functions of `probekit.plot`, drawn from measured results of this repository, and the line that draws it. "
        'It takes a dataset or the path of a results file, and returns an Altair chart: `.save("a.svg")` writes it.',
        "",
    ]
    for name in plot.CHARTS:
        arguments = GALLERY.get(name, {})
        summary = (inspect.getdoc(getattr(charts, name)) or "").partition("\n\n")[0].replace("\n", " ")
        text += [f"## {name}", "", summary, ""]
        file = drawn(name, arguments, PAGES / "gallery" / f"{name}.svg")
        if file is not None:
            given = ", ".join(map(repr, [file.relative_to(HERE.parent).as_posix(), *arguments.values()]))
            text += ["```python", f"probekit.plot.{name}({given})".replace("'", '"'), "```", ""]
            text += [f"![{summary}](gallery/{name}.svg)", ""]
    return "\n".join(text)


def board_page() -> str:
    """The board: what stands in its README, from the same files."""
    text = (BOARD / "README.md").read_text()
    return text if not RESULTS else re.sub(r"<!-- /?board -->\n", "", text)


def api_page() -> str:
    """The public functions, for mkdocstrings; and the rooms for whoever goes deeper."""
    import probekit

    text = ["# API", ""]
    for title, names in API.items():
        text += [f"## {title}", ""]
        for name in names:
            if name in probekit.__all__:
                found = getattr(probekit, name)
                text += [f"::: {found.__module__}.{found.__qualname__}", "    options:", "      heading_level: 3", ""]
    text += ["## Plot", ""]
    from probekit import plot

    text += [
        line
        for name in plot.CHARTS
        for line in (f"::: probekit.plot.charts.{name}", "    options:", "      heading_level: 3", "")
    ]
    return "\n".join(text)


def executed(source: Path) -> str:
    """A notebook kept as text (percent format), executed here, as Markdown with its outputs."""
    import jupytext
    from nbclient import NotebookClient

    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    os.environ["PROBEKIT_PROGRESS"] = "0"  # a page shows what a cell gives, not how long it took
    notebook = jupytext.read(source)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(HERE.parent)}}
    ).execute()
    text = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text += [cell.source, ""]
            continue
        text += ["```python", cell.source, "```", ""]
        text += [line for output in cell.outputs for line in shown(output)]
    return "\n".join(text) + "\n"


def shown(output: Any) -> list[str]:
    """One output of a cell, as Markdown."""
    if output.output_type == "stream":
        return [] if output.name == "stderr" else ["```text", output.text.rstrip(), "```", ""]
    data = output.get("data", {})
    if "image/svg+xml" in data:
        return ["".join(data["image/svg+xml"]), ""]
    return ["```text", str(data["text/plain"]).rstrip(), "```", ""] if "text/plain" in data else []


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    write_all()
