"""A built page of the site: its links, images, headings and anchors, by the standard library's parser."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from html.parser import HTMLParser
from pathlib import Path


@dataclass
class Page:
    """What the checks ask of a page."""

    title: str = ""
    language: str = ""
    headings: list[str] = field(default_factory=list)  # h1, h2, ... in the order of the page
    links: list[str] = field(default_factory=list)  # href and src, as they are written
    loaded: list[str] = field(default_factory=list)  # what the browser asks for without a click
    images: list[dict[str, str]] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)  # links and buttons without text, title or label
    ids: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._open: list[tuple[str, dict[str, str], list[str]]] = []  # links, buttons, the title; their text

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        a = {key: value or "" for key, value in attributes}
        page = self.page
        if "id" in a:
            page.ids.append(a["id"])
        if tag == "html":
            page.language = a.get("lang", "")
        elif re.fullmatch("h[1-6]", tag):
            page.headings.append(tag)
        elif tag == "img":
            page.images.append(a)
            for *_, text in self._open:
                text.append(a.get("alt", ""))
        page.links += [a[key] for key in ("href", "src") if key in a]
        if tag in ("script", "img", "audio", "source", "iframe") and "src" in a:
            page.loaded.append(a["src"])
        if tag == "link" and a.get("rel") == "stylesheet":
            page.loaded.append(a["href"])
        if tag in ("a", "button", "title"):
            self._open.append((tag, a, []))

    def handle_data(self, data: str) -> None:
        for *_, text in self._open:
            text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            _, a, text = self._open.pop()
            words = "".join(text).strip()
            if tag == "title":
                self.page.title = self.page.title or words
            elif not (words or a.get("title") or a.get("aria-label") or "href" not in a and tag == "a"):
                self.page.unnamed.append(str(a))


@lru_cache(maxsize=None)
def read(path: Path) -> Page:
    """A page of prose or of the reference."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.page


@lru_cache(maxsize=None)
def ids(path: Path) -> frozenset[str]:
    """Every anchor of a page."""
    return frozenset(map(unescape, re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8"))))


def target(page: Path, link: str) -> tuple[Path, str] | None:
    """The file and the anchor that a link leads to; None for a link to another host."""
    parts = urllib.parse.urlsplit(unescape(link))
    if parts.scheme or parts.netloc:
        return None
    path = (page.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else page
    return path, urllib.parse.unquote(parts.fragment)


@lru_cache(maxsize=None)
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def line(path: Path, anchor: str) -> str:
    """The text of a line of a source file, which has an anchor of its own; empty for any other place."""
    text = _text(path)
    start = text.find(f'<span id="{anchor}">')
    if not anchor.startswith("line-") or start < 0:
        return ""
    end = text.find('<span id="line-', start + 1)
    end = end if end > 0 else len(text)
    plain = re.sub("<[^>]+>", "", re.sub('<span class="linenos">.*?</span>', "", text[start:end]))
    return unescape(plain).split("\n", 1)[0]
