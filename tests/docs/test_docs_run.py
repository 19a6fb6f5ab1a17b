"""Prose is true: the Python of README, CONTRIBUTING and docs/ runs, links lead somewhere, commands parse.

A page's ```python blocks run in order, in one namespace, in an empty folder; a failure's traceback
points to the line of the page. A block that cannot run is marked ```python no-run: and a reason.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vqnp.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
MATH = sorted((DOCS / "math").glob("*.md"))
SHELLS = ("bash", "console", "sh", "shell")


@dataclass(frozen=True)
class Block:
    """A fenced block: what its fence says, the number of its first line in the page, and its text."""

    info: str
    line: int
    text: str

    @property
    def language(self) -> str:
        return self.info.split()[0] if self.info else ""


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page; a fence that is never closed runs to the end, as in Markdown."""
    fence, info, start, lines = "", "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if not fence:
            if opening := re.match(r" {0,3}(`{3,}|~{3,})([^`]*)$", line):
                fence, info, start, lines = opening[1], opening[2].strip(), number + 1, []
        elif re.fullmatch(rf" {{0,3}}{re.escape(fence)}{fence[0]}*\s*", line):
            yield Block(info, start, "\n".join(lines))
            fence = ""
        else:
            lines.append(line)
    if fence:
        yield Block(info, start, "\n".join(lines))


def prose(text: str) -> str:
    """A page without its blocks, line numbers kept."""
    lines = text.splitlines()
    for block in blocks(text):
        for i in range(block.line - 1, block.line - 1 + len(block.text.splitlines())):
            lines[i] = ""
    return "\n".join(line if not line.lstrip().startswith(("```", "~~~")) else "" for line in lines)


def python_blocks(page: Path) -> list[Block]:
    """The blocks to run; each of the others says why not."""
    found = []
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language in ("python", "py", "python3"):
            mark = block.info.removeprefix(block.language).strip()
            if not mark:
                found.append(block)
            elif not re.fullmatch(r"no-run:? +\S.{5,}", mark):
                pytest.fail(f"{name(page)}:{block.line - 1}: a block's fence must be ```python, or "
                            f"```python no-run: and a reason; got {block.info!r}")  # fmt: skip
    return found


def run(page: Path) -> int:
    """Run a page's blocks; how many there were."""
    namespace = {"__name__": "__main__"}
    found = python_blocks(page)
    for block in found:
        # The lines above stand in as empty ones, so that a traceback has the page's own line numbers.
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        exec(code, namespace)
    return len(found)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name


def anchors(text: str) -> set[str]:
    """The #anchors that GitHub gives a page's headings, and those that it has by hand."""
    found: set[str] = set(re.findall(r"<a\s[^>]*(?:id|name)=\"([^\"]+)\"", text))
    for heading in re.findall(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$", prose(text), re.MULTILINE):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        n, unique = 0, slug
        while unique in found:
            n, unique = n + 1, f"{slug}-{n + 1}"
        found.add(unique)
    return found


def links(text: str) -> Iterator[tuple[int, str]]:
    """(line, target) of every link and picture outside code."""
    for number, line in enumerate(prose(text).splitlines(), 1):
        line = re.sub(r"`[^`]*`", lambda code: "`" * len(code[0]), line)
        for target in re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", line):
            yield number, target
        for target in re.findall(r"^\s{0,3}\[[^\]]+\]:\s*(\S+)", line):
            yield number, target
        for target in re.findall(r"<(?:img|a)\s[^>]*(?:src|href)=\"([^\"]+)\"", line):
            yield number, target


def broken(page: Path) -> list[str]:
    """What is wrong with a page's relative links, a sentence for each."""
    wrong = []
    for number, target in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / urllib.parse.unquote(path)).resolve() if path else page
        if not there.exists():
            wrong.append(f"{name(page)}:{number}: no such file: {target}")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text(encoding="utf-8")):
            wrong.append(f"{name(page)}:{number}: no such heading: {target}")
        elif anchor and there.suffix != ".md":
            line = re.fullmatch(r"L(\d+)(?:-L(\d+))?", anchor)
            length = len(there.read_text(encoding="utf-8").splitlines())
            if not line or int(line[2] or line[1]) > length:
                wrong.append(f"{name(page)}:{number}: no such line: {target}")
    return wrong


SECTIONS = ("equation", "forward", "backward", "check")
"""What a page of mathematics consists of; a page about code without a backward pass has no such section."""


def sections(text: str) -> list[str]:
    """Which of SECTIONS a page's headings begin with, in the order of the page."""
    firsts = re.findall(r"^## (\w+)", prose(text), re.MULTILINE)
    return [first.lower() for first in firsts if first.lower() in SECTIONS]


def has_backward(page: Path) -> bool:
    """Whether a file that the page's "Code:" links to defines an `op_backward`."""
    head = page.read_text(encoding="utf-8").partition("\n## ")[0]
    files = [page.parent / target for _, target in links(head) if target.endswith(".py")]
    assert files, f"{name(page)}: must begin with links to its code"
    return any(re.search(r"^def \w+_backward\(", file.read_text(encoding="utf-8"), re.M) for file in files)


def commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, arguments) of every call of vqnp in a page's shell blocks, and in its `code`."""
    text = page.read_text(encoding="utf-8")
    for number, line in enumerate(prose(text).splitlines(), 1):
        for code in re.findall(r"`(vqnp (?:train|evaluate|encode|decode|inspect|export)\b[^`\[]*)`", line):
            if not re.fullmatch(r"vqnp \w+", code):  # the command's name alone
                yield from ((number, call) for call in calls(code))
    for block in blocks(text):
        if block.language not in SHELLS:
            continue
        text = block.text.replace("\\\n", "  ")
        prompted = any(line.lstrip().startswith("$ ") for line in text.splitlines())
        for offset, line in enumerate(text.splitlines()):
            if prompted and not line.lstrip().startswith("$ "):
                continue  # what the command printed
            yield from ((block.line + offset, call) for call in calls(line.lstrip().removeprefix("$ ")))


def calls(line: str) -> Iterator[list[str]]:
    """The arguments of each vqnp in a line of shell, which may be a pipeline or a list of commands."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word and set(word) <= set(";|&()\n"):
            if (found := arguments(words)) is not None:
                yield found
            words = []
        else:
            words.append(word)


def arguments(words: list[str]) -> list[str] | None:
    """What a simple command gives to vqnp; None if it calls something else."""
    while words and re.match(r"\w+=", words[0]):  # NAME=value before a command
        words = words[1:]
    if words and words[0] in ("time", "env", "exec"):
        return arguments(words[1:])
    if words[1:3] == ["-m", "vqnp"] and re.match(r"python[\d.]*$", Path(words[0]).name):
        given = words[3:]
    elif words and Path(words[0]).name == "vqnp":
        given = words[1:]
    else:
        return None
    redirected = next((i for i, word in enumerate(given) if set(word) <= set("<>&")), len(given))
    return given[:redirected]


def missing(page: Path) -> list[str]:
    """What a page's `code` names and the repository has not: files, and names in Python."""
    wrong = []
    text = prose(page.read_text(encoding="utf-8"))
    for number, line in enumerate(text.splitlines(), 1):
        for code in re.findall(r"`([^`]+)`", line):
            if re.fullmatch(r"(?:vqnp|docs|tests|examples|\.ci)/[\w./-]*", code):
                if not (ROOT / code).exists():
                    wrong.append(f"{name(page)}:{number}: no such file: {code}")
            elif re.fullmatch(r"vqnp(?:\.\w+)+", code) and not exists(code):
                wrong.append(f"{name(page)}:{number}: no such name: {code}")
    return wrong


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        try:
            for attribute in parts[cut:]:
                found = getattr(found, attribute)
        except AttributeError:
            return False
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_python_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count = run(page)
    assert count or page not in MATH, "a page of mathematics must check itself"


@pytest.mark.parametrize("page", MATH, ids=name)
def test_every_math_page_goes_equation_forward_backward_check(page):
    text = page.read_text(encoding="utf-8")
    trees = [ast.parse(block.text) for block in python_blocks(page)]
    asserts = sum(isinstance(node, ast.Assert) for tree in trees for node in ast.walk(tree))
    assert asserts >= 3, "a page of mathematics must assert what it states"
    found = sections(text)
    assert found == [section for section in SECTIONS if section in found], "they must come in this order"
    assert {"equation", "forward", "check"} <= set(found)
    assert "backward" in found or not has_backward(page), "its code has a backward pass: derive it"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_and_anchor_resolves(page):
    assert not broken(page)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_line_is_one_that_vqnp_takes(page):
    parser = build_parser()
    for number, given in commands(page):
        try:
            parser.parse_args(given)
        except SystemExit as stop:
            assert stop.code == 0, f"{name(page)}:{number}: vqnp does not take {shlex.join(given)}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_and_name_in_the_prose_exists(page):
    assert not missing(page)


def test_every_page_is_in_the_index():
    index = DOCS / "README.md"
    listed = {(DOCS / target).resolve() for _, target in links(index.read_text(encoding="utf-8"))}
    assert {page for page in DOCS.rglob("*.md") if page != index} <= listed


ARCHITECTURE = DOCS / "architecture.md"


def contract() -> list[set[str]]:
    """The layers that architecture.md quotes, from the top: the names on each line."""
    (quoted,) = [b.text for b in blocks(ARCHITECTURE.read_text(encoding="utf-8")) if b.language == "ini"]
    return [set(re.findall(r"\w+", line)) for line in quoted.splitlines()[1:]]


def test_the_architecture_quotes_the_import_contract():
    (quoted,) = [b.text for b in blocks(ARCHITECTURE.read_text(encoding="utf-8")) if b.language == "ini"]
    assert f"\n{quoted}\n" in (ROOT / "setup.cfg").read_text(encoding="utf-8")


def test_the_architecture_lists_every_layer_in_the_order_of_the_contract():
    text = ARCHITECTURE.read_text(encoding="utf-8")
    listed = re.findall(r"^\| `vqnp/(\w+)(?:/|\.py)` \|", text, re.MULTILINE)
    package = ROOT / "vqnp"
    tree = [*package.glob("*.py"), *(path.parent for path in package.glob("*/__init__.py"))]
    assert sorted(listed) == sorted({path.stem for path in tree} - {"__init__"})
    height = {name: -i for i, line in enumerate(contract()) for name in line}
    assert [height[name] for name in listed] == sorted(height.values())


# The test's own tools, on pages that are wrong.


@pytest.fixture
def page(tmp_path):
    """A function that writes a page and gives its path."""

    def write(text: str) -> Path:
        path = tmp_path / "page.md"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_failing_block_names_the_page_and_its_line(page):
    path = page("# A page\n\n```python\na = 1\n```\n\ntext\n\n```python\nb = 2\nassert a == b\n```\n")
    with pytest.raises(AssertionError) as failure:
        run(path)
    assert failure.traceback[-1].path == path and failure.traceback[-1].lineno + 1 == 11


def test_a_block_is_skipped_only_for_a_reason(page):
    assert python_blocks(page("```python no-run: it takes an hour\n1 / 0\n```\n")) == []
    with pytest.raises(pytest.fail.Exception, match="page.md:1"):
        python_blocks(page("```python no-run\n1 / 0\n```\n"))


def test_a_link_to_nowhere_is_found(page):
    text = "## Two words\n[a](#two-words) [b](page.md#two-words) [c](https://x.y) `[d](no.md)`\n"
    assert broken(page(text)) == []
    assert broken(page("[a](no.md)\n\n[b](#no)\n\n```\n[c](no.md)\n```\n")) == [
        "page.md:1: no such file: no.md",
        "page.md:3: no such heading: #no",
    ]


def test_commands_are_found_in_any_dress(page):
    path = page(
        "```console\n$ python3 -m venv .venv && .venv/bin/vqnp train --epochs 3\nvqnp printed this\n"
        "$ A=1 python -m vqnp inspect runs/a > out.txt  # a remark\n```\n"
        "```bash\nvqnp encode runs/a \\\n  --out 'a b.npz' | cat\n```\n```text\nvqnp nothing\n```\n"
        "`vqnp train` and `vqnp decode a b`\n"
    )
    assert list(commands(path)) == [
        (13, ["decode", "a", "b"]),
        (2, ["train", "--epochs", "3"]),
        (4, ["inspect", "runs/a"]),
        (7, ["encode", "runs/a", "--out", "a b.npz"]),
    ]


def test_a_math_page_without_its_sections_is_found(page):
    head = "# A page\n[c](c.py)\n\n## Equation\n"
    path = page(f"{head}\n```\n## Check\n```\n\n## Forward: a score\n### Backward\n")
    code = path.parent / "c.py"
    code.write_text("def op_backward(dy, cache):\n    return dy\n")
    assert sections(path.read_text()) == ["equation", "forward"]
    assert has_backward(path)
    code.write_text("def backward(dy, cache):\n    return dy\n")
    assert not has_backward(path)
