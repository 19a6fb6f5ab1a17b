"""[`name`](path.py): a link from a page to the file that defines the name.

A link's text, in code, is a function, a class, `Class.method`, a constant, or a piece of one line. It names
no line number, which every edit would move; the test says which names are no longer where the page says.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[`(?P<name>[^`]+)`\]\((?P<path>[^)#\s]+\.py)\)")


def pages() -> list[Path]:
    """README.md, CONTRIBUTING.md and every page of docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def has(name: str, source: str) -> bool:
    """Whether the source defines the name, or has exactly one line with such a piece in it."""
    if name.endswith(".py"):
        return True  # the text is the file itself
    lines = source.splitlines()
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        return sum(name in line for line in lines) == 1
    for part in name.split("."):
        defines = re.compile(rf"\s*(?:def|class) {part}\b|\s*{part}(: .*)? =")
        at = next((i for i, line in enumerate(lines) if defines.match(line)), None)
        if at is None:
            return False
        lines = lines[at:]
    return True


def broken(text: str, folder: Path) -> list[str]:
    """The links of a page in this folder whose file or name is not there."""
    found = []
    for link in LINK.finditer(text):
        there = folder / link["path"]
        if not there.is_file() or not has(link["name"], there.read_text(encoding="utf-8")):
            found.append(link[0])
    return found
