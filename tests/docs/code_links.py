"""[`name`](path.py#L12): a link to the line that defines the name, and the number that the line has now.

A link's text, in code, is a function, a class, `Class.method`, or a piece of a line. Line numbers move with
every edit, so nobody writes them: `python tests/docs/code_links.py` puts them into README.md and docs/,
and a test says where one has gone astray.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[`(?P<name>[^`]+)`\]\((?P<path>[^)#\s]+\.py)#L(?P<line>\d+)\)")


def pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def line_of(name: str, source: str) -> int:
    """The number of the line that defines a name, or of the only one that has such a piece in it; else 0."""
    lines, start = source.splitlines(), 0
    if re.fullmatch(r"\w+(\.\w+)*", name):
        for part in name.split("."):
            defines = re.compile(rf"\s*(?:def|class) {part}\b|{part} =")
            later = enumerate(lines[start:], start + 1)
            start = next((i for i, s in later if defines.match(s) and not s.endswith(": ...")), 0)  # no stub
            if not start:
                return 0
        return start
    having = [i for i, line in enumerate(lines, 1) if name in line]
    return having[0] if len(having) == 1 else 0


def relinked(text: str, page: Path) -> str:
    """The page's text with every such link at the right line; at line 0 if there is no such file or name."""

    def replace(link: re.Match[str]) -> str:
        there = page.parent / link["path"]
        line = line_of(link["name"], there.read_text(encoding="utf-8")) if there.is_file() else 0
        return f"[`{link['name']}`]({link['path']}#L{line})"

    return LINK.sub(replace, text)


if __name__ == "__main__":
    for page in pages():
        old = page.read_text(encoding="utf-8")
        if (new := relinked(old, page)) != old:
            page.write_text(new, encoding="utf-8")
            print(page.relative_to(ROOT), "relinked")
