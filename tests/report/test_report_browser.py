"""The page in a real browser: no complaint, charts drawn, controls work, nothing overflows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import synthetic_results
from browser import Browser, Page

from probekit import report


@pytest.fixture(scope="module")
def page(browser: Browser, page_file: Path) -> Iterator[Page]:
    opened = browser.page(page_file)
    yield opened
    assert opened.complaints == []  # of whatever the tests of this module did


def rows(page: Page, column: int) -> list[str]:
    body = "[...document.querySelectorAll('#numbers-table tbody tr')]"
    return page.run(f"{body}.map(row => row.cells[{column}].textContent)")


def set_value(page: Page, element: str, value: str, event: str = "change") -> None:
    page.run(f"document.getElementById('{element}').value = {value!r}")
    page.run(f"document.getElementById('{element}').dispatchEvent(new Event('{event}', {{bubbles: true}}))")


def count(page: Page) -> int:
    return int(page.run("document.getElementById('number-status').textContent.split(' of ')[0].replaceAll(',', '')"))


def test_nothing_is_asked_of_the_network(page: Page) -> None:
    assert [address for address in page.requests if not address.startswith(("file:", "data:", "blob:"))] == []


def test_every_chart_has_marks_and_none_failed(page: Page) -> None:
    empty = page.run("""[...document.querySelectorAll('[data-chart]')].filter(c =>
        !c.querySelector('svg .mark-symbol path, svg .mark-line path, svg .mark-rect path, svg .mark-text text')
    ).map(c => c.dataset.chart)""")
    assert empty == []
    assert page.run("document.querySelectorAll('[data-chart]').length") > 40
    assert page.run("document.querySelectorAll('.failed').length") == 0


def test_lines_of_several_colours_have_a_legend_that_names_each(page: Page) -> None:
    charts = page.run("""[...document.querySelectorAll('[data-chart]')].map(c => ({
        key: c.dataset.chart,
        colours: [...new Set([...c.querySelectorAll('.mark-line path')].map(p => p.getAttribute('stroke')))],
        inside: [...c.querySelectorAll('.role-legend-symbol path')].map(
            p => p.getAttribute('fill') === 'transparent' ? p.getAttribute('stroke') : p.getAttribute('fill')),
        above: c.closest('figure').querySelectorAll('.legend li').length,
    }))""")
    several = [chart for chart in charts if len(chart["colours"]) > 1]
    assert "headline-curve-0" in [chart["key"] for chart in several]
    for chart in several:
        assert set(chart["colours"]) <= set(chart["inside"]) or chart["above"] >= len(chart["colours"]), chart


@pytest.mark.parametrize("width", [400, 1280, 1920])
def test_the_page_never_scrolls_sideways(page: Page, width: int) -> None:
    page.resize(width)
    page.wait(f"window.innerWidth === {width}")
    page.run("new Promise(done => setTimeout(done, 400))")  # charts follow the width on the next frames
    assert page.run("document.documentElement.scrollWidth") <= width
    right = "[...document.querySelectorAll('.chart svg')].map(s => s.getBoundingClientRect().right)"
    assert page.run(f"Math.max(...{right})") <= width + 1


def test_the_answer_is_in_the_first_screen(page: Page) -> None:
    page.resize(1280, 800)
    page.run("scrollTo(0, 0)")
    bottom = page.run("document.querySelector('.answer .chart').getBoundingClientRect().bottom")
    assert bottom < 800


def test_sorting_by_value_goes_both_ways_and_is_announced(page: Page) -> None:
    header = "document.querySelectorAll('#numbers-table thead th')[8]"
    for direction in ("ascending", "descending"):
        page.run(f"{header}.querySelector('button').click()")
        assert page.run(f"{header}.getAttribute('aria-sort')") == direction
        values = [float(text.replace("−", "-")) for text in rows(page, 8)]
        assert values == sorted(values, reverse=direction == "descending")


def test_sorting_works_from_the_keyboard(page: Page) -> None:
    page.run("document.querySelectorAll('#numbers-table thead button')[2].focus()")
    page.press("Enter", 13, "\r")
    names = rows(page, 2)
    assert names == sorted(names)
    assert page.run("document.querySelectorAll('#numbers-table thead th')[2].getAttribute('aria-sort')") == "ascending"


def test_filters_narrow_the_table(page: Page) -> None:
    everything = count(page)
    set_value(page, "filter-quantity", "shape_bias")
    assert 0 < count(page) < everything
    assert set(rows(page, 0)) == {"Shape bias"}
    set_value(page, "filter-quantity", "")
    set_value(page, "filter-text", "shapes knn untrained", "input")
    page.wait(f"document.getElementById('number-status').textContent.split(' of ')[0] !== '{everything:,}'")
    assert set(rows(page, 2)) == {"cifar10-untrained"}
    page.run("document.getElementById('filter-last').click()")
    assert set(rows(page, 6)) == {"6"}
    set_value(page, "filter-text", "no such thing", "input")
    page.wait("document.querySelectorAll('#numbers-table tbody tr').length === 0")
    set_value(page, "filter-text", "", "input")
    page.run("document.getElementById('filter-last').click()")
    page.wait(f"document.getElementById('number-status').textContent.startsWith('{everything:,} of')")


def test_pages_turn(page: Page) -> None:
    first = rows(page, 8)
    page.run("document.getElementById('page-next').click()")
    assert page.run("document.getElementById('page-status').textContent").startswith("Page 2 of")
    assert rows(page, 8) != first
    page.run("document.getElementById('page-back').click()")
    assert rows(page, 8) == first
    assert page.run("document.getElementById('page-back').disabled") is True


def test_a_number_without_interval_says_why(page: Page) -> None:
    set_value(page, "filter-quantity", "rankme")
    assert set(rows(page, 9)) == {"none: resampling with replacement biases it"}
    set_value(page, "filter-quantity", "")


def test_checkpoints_are_switched_off_in_all_charts(page: Page) -> None:
    symbols = "document.querySelectorAll('#chart-headline-curve-0 .mark-symbol path').length"
    everything = page.run(symbols)
    box = "document.querySelector('#choose fieldset input')"
    page.run(f"{box}.click()")
    page.wait(f"{symbols} < {everything}")
    assert page.run("document.getElementById('shown-count').textContent") != ""
    page.run("document.getElementById('show-all').click()")
    page.wait(f"{symbols} === {everything}")


def test_toggles_work_from_the_keyboard(page: Page) -> None:
    page.run("document.querySelector('#choose > summary').focus()")
    page.press("Enter", 13, "\r")
    page.wait("document.getElementById('choose').open")
    page.run("document.querySelector('#choose input').focus()")
    page.press(" ", 32, " ")
    page.wait("!document.querySelector('#choose input').checked")
    page.press("Escape", 27)
    page.wait("!document.getElementById('choose').open")
    page.run("document.getElementById('show-all').click()")


SPOKEN = {"button", "checkbox", "combobox", "DisclosureTriangle", "image", "link", "region", "searchbox"}
"""Roles that a screen reader announces by their name."""


def test_screen_readers_have_a_name_for_every_control_chart_and_picture(page: Page) -> None:
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    shown = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    spoken = [(role, name.strip()) for role, name in shown if role in SPOKEN]
    assert [role for role, name in spoken if not name] == []
    counted = {role: sum(role == one for one, _ in spoken) for role in SPOKEN}
    assert counted["combobox"] == 5
    assert counted["image"] >= page.run("document.querySelectorAll('[data-chart]').length")
    assert min(counted[role] for role in ("button", "checkbox", "link", "region", "searchbox")) >= 1


def test_tab_reaches_every_control_in_order(page: Page) -> None:
    page.run("document.activeElement.blur(); scrollTo(0, 0); getSelection().removeAllRanges()")
    controls = "a[href], button, input, select, summary, [tabindex='0']"
    page.run(
        f"window.places = [...document.querySelectorAll(`{controls}`)].filter(c => c.checkVisibility() && !c.disabled)"
    )
    wanted = page.run("places.length")
    found = []
    for _ in range(wanted + 1):
        page.press("Tab", 9)
        found.append(page.run("places.indexOf(document.activeElement)"))
    reached = [place for place in found if place >= 0]
    assert sorted(set(reached)) == list(range(wanted))
    assert all(after == (before + 1) % wanted for before, after in pairwise(reached))


def test_differences_follow_quantity_and_reference(page: Page) -> None:
    options = page.run("document.getElementById('difference-quantity').options.length")
    assert options > 5
    label = "document.querySelector('#chart-differences-0 .role-axis-label')?.textContent"
    before = page.run(label)
    choices = "[...document.getElementById('difference-quantity').options]"
    other = page.run(f"{choices}.findIndex(option => option.text.includes('photos'))")
    set_value(page, "difference-quantity", str(other))
    page.wait(f"{label} !== {before!r}")
    assert "cifar10" in page.run("document.querySelector('#chart-differences-0').textContent")
    assert "intervals exclude 0" in page.run("document.getElementById('difference-status').textContent")


def test_dark_and_light_are_dark_and_light(browser: Browser, page_file: Path) -> None:
    found = {}
    for dark in (False, True):
        page = browser.page(page_file, dark=dark)
        ground = page.run("getComputedStyle(document.documentElement).backgroundColor")
        text = page.run("getComputedStyle(document.querySelector('.chart .role-axis-label text')).fill")
        found[dark] = [sum(int(part) for part in colour[4:-1].split(",")) for colour in (ground, text)]
    assert found[False][0] > 700 > found[False][1]
    assert found[True][0] < 100 < found[True][1]


def test_print_has_all_charts_in_light(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    page = browser.page(page_file, dark=True)
    page.send("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.run("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("getComputedStyle(document.querySelector('.bar')).display") == "none"
    assert page.pdf(tmp_path / "report.pdf").stat().st_size > 100_000


def test_scripts_in_names_do_not_run(browser: Browser, script: str, tmp_path: Path) -> None:
    evil = "<img src=x onerror='window.bad=1'></script><script>window.bad=1</script>"
    ds = synthetic_results.grid(ratios=(0.5, 0.9), patches=(4,), seeds=(0,), photos=())
    ds = ds.assign_coords(checkpoint=[f"{name}{evil}" for name in ds.checkpoint.values])
    page = browser.page(report.write(ds, tmp_path / "evil.html", script=script))
    page.run("document.querySelector('#chart-headline-curve-0 .mark-symbol path').scrollIntoView({block: 'center'})")
    box = "document.querySelector('#chart-headline-curve-0 .mark-symbol path').getBoundingClientRect()"
    x, y = page.run(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({box})")
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.wait("document.querySelector('#vg-tooltip-element.visible') !== null")
    assert "onerror" in page.run("document.getElementById('vg-tooltip-element').textContent")
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0
    assert page.run("window.bad === undefined") is True
    assert page.complaints == []
