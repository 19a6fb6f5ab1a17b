"""Source files as pages of the site, and links to them that name a line by what is on it.

A page links to code as on GitHub, [`ema_update`](../../vqnp/ops/ema.py). Here the link leads to the page of
that file, at the line that defines the name, or that has the piece of text in it.
"""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
from functools import lru_cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer, TextLexer
from sphinx import addnodes
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
LINK = re.compile(
    r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])+)\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)"
)
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?^ {0,3}\1`*\s*?$", re.MULTILINE | re.DOTALL)
SCHEME = "source:"
PAGES = {f"{name}.md": f"more/{name.lower()}.myst" for name in ("README", "CHANGELOG", "CONTRIBUTING")}
PAGES["examples/one_page.py"] = "more/one_page.myst"


def line_of(name: str, path: Path) -> int | None:
    """The line that defines a name or Class.method, or the only one with this text; None: there is none."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        found = [n for n, line in enumerate(lines, 1) if name in line]
        return found[0] if len(found) == 1 else None
    at = 0
    for part in name.split("."):
        defines = re.compile(rf"\s*(?:def|class) {part}\b|\s*{part}(: .*)? =")
        at = next((n for n, line in enumerate(lines[at:], at + 1) if defines.match(line)), 0)
        if not at:
            return None
    return at


def source_uri(path: Path, name: str = "") -> str:
    """source:path#line-N, which `relative_links` makes a link from wherever it stands."""
    if path.is_dir():
        path = path / "__init__.py"
    line = line_of(name, path) if name and path.suffix == ".py" else None
    return SCHEME + path.relative_to(ROOT).as_posix() + (f"#line-{line}" if line else "")


def outside_fences(text: str, change: Any) -> str:
    """The page with `change` applied to all that is not in a fenced block."""
    out, at = [], 0
    for fence in FENCE.finditer(text):
        out += [change(text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*out, change(text[at:])])


def rewritten(text: str, folder: Path, here: Path) -> str:
    """A page of `folder`, its links to files outside of docs/ made links to pages of the site.

    here: the folder in which the text becomes a page, for a file that docs/ includes from outside
    """

    def change(link: re.Match[str]) -> str:
        target = (folder / link["path"]).resolve()
        if not target.exists() or not target.is_relative_to(ROOT):
            return link[0]  # Sphinx says that it leads nowhere
        inside = target.relative_to(ROOT).as_posix()
        if inside in PAGES:
            target = DOCS / PAGES[inside]
        if target.is_dir() and (target / "README.md").is_file():
            target = target / "README.md"
        if target.is_relative_to(DOCS) and target.suffix != ".py":
            up = "../" * len(here.relative_to(DOCS).parts)
            inside = target.relative_to(DOCS).as_posix()
            return f"{link['image']}[{link['text']}]({up}{inside}{link['anchor'] or ''})"
        name = re.fullmatch(r"`([^`]+)`", link["text"].strip())
        return f"[{link['text']}]({source_uri(target, name[1] if name else '')})"

    return outside_fences(text, lambda prose: LINK.sub(change, prose))


def on_source_read(app: Sphinx, docname: str, content: list[str]) -> None:
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        content[0] = rewritten(content[0], path.parent, path.parent)
    for file in re.findall(r"\(source:([^)#]+)", content[0]):
        app.env.note_dependency(ROOT / file)  # whose lines may move


# --- links from every page ---


def relative_links(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """source:... as a path from this page; a link [source] behind every signature of the reference."""
    if app.builder.format != "html":
        return
    for signature in list(doctree.findall(addnodes.desc_signature)):
        if signature.get("module") and signature.get("fullname"):
            uri = uri_of(signature["module"], signature["fullname"])
            if uri:
                link = nodes.inline("", "[source]", classes=["viewcode-link"])
                signature += nodes.reference("", "", link, refuri=uri)
    for reference in doctree.findall(nodes.reference):
        uri = reference.get("refuri", "")
        if uri.startswith(SCHEME):
            path, _, anchor = uri.removeprefix(SCHEME).partition("#")
            there = app.builder.get_relative_uri(docname, f"source/{path}")
            reference["refuri"] = there + (f"#{anchor}" if anchor else "")
            reference["internal"] = True


@lru_cache(maxsize=None)
def uri_of(module: str, fullname: str) -> str | None:
    """Where an object of the package is defined; None for a value without a place, such as a constant."""
    thing: Any = importlib.import_module(module)
    for part in fullname.split("."):
        thing = getattr(thing, part, None)
    thing = getattr(thing, "fget", None) or getattr(thing, "func", thing)
    thing = inspect.unwrap(getattr(thing, "py_func", thing))
    try:
        path, (lines, line) = Path(inspect.getsourcefile(thing) or ""), inspect.getsourcelines(thing)
    except (TypeError, OSError):
        return None
    while lines and lines[0].lstrip().startswith("@"):  # to the name, past what decorates it
        lines, line = lines[1:], line + 1
    if not path.is_relative_to(ROOT):
        return None
    return f"{SCHEME}{path.relative_to(ROOT).as_posix()}#line-{line}"


# --- the pages of the files ---


def files() -> list[Path]:
    """Every Python file of the package, the tests and the examples, and what a page links to beside them."""
    folders = ("vqnp", "tests", "examples", ".ci")
    found = {path for folder in folders for path in (ROOT / folder).rglob("*.py")}
    for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]:
        text = rewritten(page.read_text(encoding="utf-8"), page.parent, DOCS)
        found |= {ROOT / path for path in re.findall(r"\(source:([^)#]+)", text)}
    return sorted(path for path in found if "__pycache__" not in path.parts)


def write_pages(app: Sphinx, error: Exception | None) -> None:
    """A page for each file, with a number and an anchor for each line.

    They are written here and not by the theme, which would draw the whole navigation on each.
    """
    if error or app.builder.format != "html":
        return
    for path in (DOCS / "sound").glob("*.wav"):  # which a page plays in <audio>, unknown to Sphinx
        there = Path(app.outdir) / "sound" / path.name
        there.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, there)
    formatter = HtmlFormatter(linenos="inline", linespans="line", wrapcode=True)
    template = Template((DOCS / "_ext" / "source.html").read_text(encoding="utf-8"))
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        lexer = PythonLexer() if path.suffix == ".py" else TextLexer()
        page = Path(app.outdir) / "source" / f"{name}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        newest = max(path.stat().st_mtime, Path(__file__).stat().st_mtime)
        if page.is_file() and page.stat().st_mtime > newest:
            continue
        code = highlight(path.read_text(encoding="utf-8"), lexer, formatter)
        root = "../" * (name.count("/") + 1)
        page.write_text(template.substitute(name=escape(name), root=root, code=code), encoding="utf-8")
