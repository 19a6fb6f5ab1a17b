"""Docstrings in reStructuredText: the equation typeset, shapes as code, text as text.

Below each come the pages whose code uses the name and the tests that do: both run.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any

from equations import typeset
from sources import DOCS, ROOT, SCHEME
from sphinx.application import Sphinx

SECTIONS = (
    "Parameters", "Returns", "Yields", "Raises", "Warns", "References", "Attributes", "Examples", "Notes",
    "See Also",
)  # fmt: skip
MOST = 4
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def process(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Change the lines in place, before napoleon reads the sections."""
    if not lines:
        return
    head = _paragraph(lines, 0)
    equations, rest = typeset(" ".join(line.strip() for line in lines[:head]))
    out: list[str] = []
    if equations:
        out += [".. math::", "   :no-wrap:", "", r"   \begin{gathered}"]
        out += ["   " + r" \\ ".join(equations), r"   \end{gathered}", ""]
        if rest:
            shapes = "->" in rest and ":" in rest and len(rest) < 120
            out += [f"``{rest}``" if shapes else escaped(rest[0].upper() + rest[1:].rstrip(".") + "."), ""]
    else:
        out += [escaped(line) for line in lines[:head]] + [""]
    out += _body(_joined(lines[head:]))
    if what in ("function", "class") and name.count(".") >= 2:
        out += [""] + used(name.rpartition(".")[2])
    lines[:] = out


def _paragraph(lines: list[str], start: int) -> int:
    """The number of the line after the paragraph that begins at `start`."""
    end = start
    while end < len(lines) and lines[end].strip():
        end += 1
    return end


def _joined(lines: list[str]) -> list[str]:
    """A list of names of parameters that takes two lines, as one."""
    out: list[str] = []
    inside = False
    for i, line in enumerate(lines):
        if set(line) == {"-"}:
            inside = lines[i - 1] in ("Parameters", "Attributes")
        last = out[-1] if out else ""
        if inside and last.endswith(",") and not last.startswith(" ") and not line.startswith(" "):
            out[-1] += " " + line
        else:
            out.append(line)
    return out


def _body(lines: list[str]) -> list[str]:
    """The rest: shapes as code, text with nothing marked up, examples and headings as they are."""
    out, at, example = [], 0, False
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            example = False
            out.append("")
            at += 1
        elif line.strip() in SECTIONS and set("".join(lines[at + 1 : at + 2]).strip()) == {"-"}:
            out += [line, lines[at + 1]]
            at += 2
        elif line.lstrip().startswith(">>>") or example:
            example = True
            out.append(line)
            at += 1
        else:
            end = _paragraph(lines, at)
            block = lines[at:end]
            text = " ".join(part.strip() for part in block)
            if not line.startswith(" ") and "->" in text and re.match(r"[\w, *]+: ", text):
                out.append(f"``{text}``")
            elif not line.startswith(" ") and not _has_sections(block):
                out += _lists([escaped(part) for part in block])
            else:
                out += [escaped(part) for part in block]
            at = end
    return out


def _has_sections(block: list[str]) -> bool:
    return any(part.startswith(" ") for part in block) and not any(part.startswith("- ") for part in block)


def _lists(block: list[str]) -> list[str]:
    """A blank line before the first item of a list that follows text."""
    out: list[str] = []
    for part in block:
        if part.startswith("- ") and out and not out[-1].startswith(("- ", "  ")):
            out.append("")
        out.append(part)
    return out


def escaped(line: str) -> str:
    """A line of text in which reStructuredText finds nothing but `code`."""
    parts = re.split(r"(``?[^`]+``?)", line)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([*|\\])", r"\\\1", parts[i]).replace("`", "\\`")
        parts[i] = re.sub(r"_(?!\w)", r"\\_", parts[i])
    for i in range(1, len(parts), 2):
        parts[i] = "``" + parts[i].strip("`") + "``"
        if parts[i - 1] and (parts[i - 1][-1].isalnum() or parts[i - 1][-1] in "'\"."):
            parts[i - 1] += "\\ "
        if parts[i + 1] and (parts[i + 1][0].isalnum() or parts[i + 1][0] == "("):
            parts[i + 1] = "\\ " + parts[i + 1]
    return "".join(parts)


# --- where a name is used ---


@lru_cache(maxsize=1)
def counts() -> tuple[dict[str, Counter[str]], dict[str, Counter[str]]]:
    """How often each word is in the Python of each page and example, and in each file of tests."""
    pages, tests = {}, {}
    for page in sorted(DOCS.rglob("*.md")):
        blocks = PYTHON.findall(page.read_text(encoding="utf-8"))
        pages[page.relative_to(DOCS).with_suffix("").as_posix()] = _words(" ".join(blocks))
    for path in sorted((ROOT / "examples").rglob("*.py")):
        pages[path.relative_to(ROOT).as_posix()] = _words(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tests[path.relative_to(ROOT).as_posix()] = _words(path.read_text(encoding="utf-8"))
    return pages, tests


def used(name: str) -> list[str]:
    """Two lines: the pages and examples, and the tests, that use a name, most often first."""
    out = []
    for title, count in zip(("Used in", "Tested by"), counts()):
        users = sorted((-words[name], path) for path, words in count.items() if words[name])
        if users:
            out += [f"*{title}* " + ", ".join(_link(path) for _, path in users[:MOST]) + ".", ""]
    return out


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


def _link(path: str) -> str:
    return f"`{path} <{SCHEME}{path}>`__" if path.endswith(".py") else f":doc:`/{path}`"
