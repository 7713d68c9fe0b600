"""A user's own comparison in the browser: every case at three widths, light, dark and printed; colours are the
legends'."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Browser, Page
from packed_page import content, with_data
from report_cases import CASES, families, two_grids

from probekit import report

COLOURED = """[...document.querySelectorAll('[data-chart]')].map(place => {
  const spec = probekit.charts[place.dataset.chart];
  const ours = spec.layer.map(one => one.encoding.color).find(one => one && one.field && one.scale && one.scale.domain
    && one.type !== 'quantitative' && one.legend !== null);
  if (!ours) return null;
  const text = value => ({ratio: v => `ratio ${v}`, patch: v => `${v} px`}[ours.field] || String)(value);
  const bare = ['none', 'transparent', 'rgba(0, 0, 0, 0)'];
  const styled = css => bare.includes(css.fill) ? css.stroke : css.fill;
  const colour = node => styled(getComputedStyle(node));
  const marks = {};
  const bars = spec.layer.some(one => one.mark.type === 'bar'); // before bars stand marks of families, in one colour
  const inside = bars ? '.mark-rect path' : '.mark-symbol path, .mark-line path, .mark-rect path';
  for (const node of place.querySelectorAll(inside)) {
    const item = node.__data__ && (node.__data__.datum ? node.__data__ : node.__data__.items && node.__data__.items[0]);
    if (node.closest('.role-legend') || !item || !item.datum || item.datum.untrained) continue;
    const value = item.datum[ours.field];
    if (value !== undefined && value !== null) (marks[text(value)] ||= new Set()).add(colour(node));
  }
  const legend = {};
  for (const node of place.querySelectorAll('.role-legend-symbol path'))
    legend[text(node.__data__.datum.value)] = colour(node);
  for (const entry of place.closest('figure').querySelectorAll('.legend li:not(.group)'))
    legend[entry.textContent] = getComputedStyle(entry.querySelector('.swatch')).color;
  return [place.dataset.chart, Object.fromEntries(Object.entries(marks).map(([k, v]) => [k, [...v]])), legend];
}).filter(one => one)"""
"""For each chart with named colours: its name, value -> colours of the marks, and entry -> colour of the legend."""


def settled(page: Page, width: int) -> None:
    page.resize(width)
    page.wait(f"window.innerWidth === {width}")
    page.run("new Promise(done => setTimeout(done, 300))")  # charts follow the width on the next frames


def check_width(page: Page, width: int) -> None:
    settled(page, width)
    assert page.run("document.documentElement.scrollWidth") <= width
    rights = "[...document.querySelectorAll('.chart svg, h1, h2, h3')].map(s => s.getBoundingClientRect().right)"
    assert page.run(f"Math.max(...{rights})") <= width + 1


def check_colours(page: Page) -> int:
    """Marks have the colours of their legend entries; how many marks' values have an entry."""
    compared = 0
    for chart, marks, legend in page.run(COLOURED):
        for value, colours in marks.items():
            if value in legend:
                assert colours == [legend[value]], (chart, value, colours, legend)
                compared += 1
    return compared


@pytest.mark.parametrize("case", CASES)
def test_the_page_of_a_case(case: str, browser: Browser, script: str, tmp_path: Path) -> None:
    make, by = CASES[case]
    ds = make()
    file = report.write(ds, tmp_path / "report.html", by=by, script=script)
    assert file.stat().st_size < 15e6
    page = browser.page(file)
    try:
        for width in (1280, 400, 1920):
            check_width(page, width)
        assert page.run("document.querySelectorAll('.failed').length") == 0
        bare = "[...document.querySelectorAll('[data-chart]')].filter(c => !c.querySelector('svg path'))"
        assert page.run(f"{bare}.map(c => c.dataset.chart)") == []
        shown = page.run("document.body.textContent")
        assert all(str(name) in shown for name in ds.checkpoint.values)
        light = check_colours(page)
        assert light or case in ("one", "wrapped", "nothing known")
        check_dark_and_print(page)
        if case == "many":
            check_large(page)
        assert page.run("document.querySelectorAll('button:not([aria-label]):empty, img:not([alt])').length") == 0
        unnamed = "[...document.querySelectorAll('input, select')].filter(c => !c.labels.length)"
        assert page.run(f"{unnamed}.length") == 0
        assert page.complaints == []
    finally:
        page.close()


def check_dark_and_print(page: Page) -> None:
    """Colours follow the theme, in charts as in legends; print is light."""
    grounds = {}
    for kind, media in (("dark", "screen"), ("light", "screen"), ("dark", "print")):
        scheme = [{"name": "prefers-color-scheme", "value": kind}]
        page.send("Emulation.setEmulatedMedia", media=media, features=scheme)
        ground = page.run("getComputedStyle(document.documentElement).backgroundColor")
        grounds[kind, media] = sum(int(part) for part in ground[4:-1].split(","))
        check_colours(page)
    assert grounds["dark", "screen"] < 100
    assert min(grounds["light", "screen"], grounds["dark", "print"]) > 700


def check_large(page: Page) -> None:
    """Text is painted before charts are drawn, and a table of 50,000 numbers sorts."""
    paint = page.run("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint < page.run("performance.now()") / 2
    assert (
        int(page.run("document.getElementById('number-status').textContent.split(' ')[2].replaceAll(',', '')")) > 50_000
    )
    page.run("document.querySelectorAll('#numbers-table thead button')[8].click()")
    assert page.run("document.querySelectorAll('#numbers-table tbody tr').length") == 25


def test_the_check_of_colours_can_fail(browser: Browser, script: str, tmp_path: Path) -> None:
    make, by = CASES["own coordinates"]
    text = report.html(make(), by=by, script=script)
    data, _ = content(text)
    charts = data["charts"]
    key = next(key for key in charts if key.startswith("headline") or key.startswith("amount"))
    for layer in charts[key]["layer"]:
        if "field" in layer["encoding"].get("color", {}) and layer["mark"]["type"] == "point":
            layer["encoding"]["color"] = {"value": "red"}
    (tmp_path / "wrong.html").write_text(with_data(text, data))
    page = browser.page(tmp_path / "wrong.html")
    with pytest.raises(AssertionError):
        check_colours(page)
    page.close()


SHAPED = """[...document.querySelectorAll('figure')].map(figure => {
  const commands = path => path.getAttribute('d').replace(/[^a-z]+/gi, '').toLowerCase();
  const keys = [...figure.querySelectorAll('.legend li:not(.group)')].filter(key => key.querySelector('.shape'));
  const legend = Object.fromEntries(keys.map(key => [key.textContent, commands(key.querySelector('.shape'))]));
  const marks = [...figure.querySelectorAll('.chart .mark-symbol path')].map(node => [node.__data__, node]);
  return [figure.id, legend, marks.filter(([item]) => item && item.datum).map(([item, node]) => [item.datum.kind,
    commands(node), item.datum.checkpoint])];
})"""
"""Of each figure: its name; family -> outline in the legend; family, outline and checkpoint of each mark."""


def outlines(page: Page) -> dict[str, tuple[dict[str, str], list[list[str]]]]:
    return {name: (legend, marks) for name, legend, marks in page.run(SHAPED)}


def test_families_on_one_axis_have_the_shapes_of_the_legend(browser: Browser, script: str, tmp_path: Path) -> None:
    page = browser.page(report.write(families(), tmp_path / "families.html", script=script))
    legend, marks = outlines(page)["figure-headline-comparison"]
    page.close()
    assert len(legend) == len(set(legend.values())) == 3
    assert len(marks) == 4
    assert all(legend[family] == drawn for family, drawn, _ in marks)


def test_two_grids_stand_on_one_axis_told_apart_by_shape(browser: Browser, script: str, tmp_path: Path) -> None:
    ds = two_grids()
    page = browser.page(report.write(ds, tmp_path / "grids.html", script=script))
    found = outlines(page)
    charts = page.run("document.querySelectorAll('#figure-amount-quadtree .chart').length")
    page.close()
    assert charts == 2  # the amount and the height: a panel each for all families
    for name, times in (("amount-quadtree", 2), ("level_share-quadtree", 2), ("ladder_share-quadtree", 2)):
        legend, marks = found[f"figure-{name}"]
        assert set(legend) == {"width 192", "width 384", "width 1024"}, name
        assert len(set(legend.values())) == 3, name
        assert all(legend[family] == drawn for family, drawn, _ in marks), name
        assert sorted(checkpoint for *_, checkpoint in marks) == sorted([*ds.checkpoint.values] * times), name
