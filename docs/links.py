"""Find links that lead nowhere: in the built site, and in the Markdown files that are read on a code host.

    python docs/links.py build/site          # what is broken (exit code 1), then every address outside, unvisited

Nothing is fetched: an address with a scheme is listed only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
LINKS = ("href", "src", "data")
"""Attributes that hold an address."""

FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\](?:\([^)]*\))?)*\]\(\s*<?([^\s)>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(\s*<?([^\s)>]+)>?")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.M)


class Page(HTMLParser):
    """Names that a page can be entered at, and the addresses that it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if value and (key == "id" or (key == "name" and tag == "a")):
                self.names.add(value)
            elif value and key in LINKS and not (tag == "link" and ("rel", "canonical") in attrs):
                self.links.append(value)


@cache
def page(file: Path) -> Page:
    """One page of the site, read once."""
    found = Page()
    found.feed(file.read_text(encoding="utf-8"))
    return found


def broken_in_site(site: Path) -> list[str]:
    """`page: link, reason` of every internal link of a built site that leads nowhere."""
    return [
        f"{file.relative_to(site)}: {link}, {reason}"
        for file in sorted(site.rglob("*.html"))
        for link in dict.fromkeys(page(file).links)
        if not outside(link)
        for reason in [fault(link, file, site)]
        if reason
    ]


def fault(link: str, file: Path, site: Path) -> str:
    """Why an internal link of a page leads nowhere; "" if it does not."""
    parts = urlsplit(link)
    path = unquote(parts.path)
    target = site / path.lstrip("/") if path.startswith("/") else file.parent / path if path else file
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "no such file"
    if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target.resolve()).names:
        return "no such anchor"
    return ""


def outside(link: str) -> bool:
    """Whether an address leaves the site (also mail, and data within the page itself)."""
    parts = urlsplit(link)
    return bool(parts.scheme or parts.netloc)


def links_of(markdown: str) -> Iterator[str]:
    """The addresses of links and pictures in a Markdown text, code blocks left out."""
    prose = FENCE.sub("", markdown)
    yield from (found[1] for pattern in (LINK, PICTURE) for found in pattern.finditer(prose))


def anchors(markdown: str) -> set[str]:
    """The anchors that a code host gives to the headings of a Markdown text."""
    names: dict[str, int] = {}
    out = set()
    for heading in HEADING.findall(FENCE.sub("", markdown)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        count = names[name] = names.get(name, -1) + 1
        out.add(f"{name}-{count}" if count else name)
    return out


def broken_in_markdown(files: Iterable[Path], generated: Iterable[Path] = ()) -> list[str]:
    """`file: link, reason` of every relative link in Markdown files that leads nowhere.

    Args:
        files: Markdown files.
        generated: files that a build writes; links to them hold, whether they are there or not.
    """
    out, written = [], {path.resolve() for path in generated}
    for file in files:
        for link in dict.fromkeys(links_of(file.read_text(encoding="utf-8"))):
            parts = urlsplit(link)
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if outside(link) or target in written:
                continue
            if not target.exists():
                out.append(f"{file}: {link}, no such file")
            elif parts.fragment and target.suffix == ".md" and parts.fragment not in anchors(target.read_text()):
                out.append(f"{file}: {link}, no such anchor")
    return out


def markdown_files(root: Path = ROOT) -> list[Path]:
    """The Markdown files that are read on a code host."""
    folders = ("analyses", "benchmarks", "checkpoints", ".github")
    return [*root.glob("*.md"), *(file for folder in folders for file in sorted((root / folder).rglob("*.md")))]


def main() -> None:
    site = Path(sys.argv[1])
    broken = broken_in_site(site) + broken_in_markdown(markdown_files())
    print(*broken, sep="\n")
    away = {link for file in site.rglob("*.html") for link in page(file).links}
    away |= {link for file in markdown_files() for link in links_of(file.read_text(encoding="utf-8"))}
    print("Outside, not visited:", *sorted(link for link in away if link.startswith("http")), sep="\n  ")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
