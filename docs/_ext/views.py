"""What the site adds: links from equations to code, thumbnails, pages of files outside of docs/."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sources import DOCS, ROOT, SCHEME, rewritten, uri_of
from sphinx.application import Sphinx

CODE = re.compile(r"^```python\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
MOST = 6
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")


# --- "view the source of this equation" ---


def on_doctree_read(app: Sphinx, doctree: nodes.document) -> None:
    """Below the first equation of a math page, and the first of its backward pass: links to the functions."""
    docname = app.env.docname
    if not docname.startswith("math/"):
        return
    uris = functions((DOCS / docname).with_suffix(".md").read_text(encoding="utf-8"))
    for uri in uris.values():
        app.env.note_dependency(ROOT / uri.removeprefix(SCHEME).partition("#")[0])
    if not uris:
        return
    backward = {name: uri for name, uri in uris.items() if name.endswith("_backward")}
    sections = {section[0].astext(): section for section in doctree.findall(nodes.section)}
    chosen = {"Backward": backward or uris, "Equation": uris}
    for title, section in sections.items():
        if title in chosen and (block := next(section.findall(nodes.math_block), None)) is not None:
            _add_after(block, chosen[title])
            chosen.pop("Equation", None)
    if "Equation" in chosen and (block := next(doctree.findall(nodes.math_block), None)) is not None:
        _add_after(block, uris)


def functions(text: str) -> dict[str, str]:
    """The functions and classes of the files that a page names at its head, if the page uses them."""
    head = text.split("\n## ", 1)[0]
    code = CODE.findall(text)
    words = set(re.findall(r"\w+", " ".join(block or inline for block, inline in code)))
    found = {}
    for path in re.findall(r"\]\((?:\.\./)+(vqnp/[\w/]+)\.py\)", head):
        home = path.replace("/", ".").removesuffix(".__init__")
        for name, value in vars(importlib.import_module(home)).items():
            own = getattr(value, "__module__", "") or ""
            if name in words and name[0] != "_" and callable(value) and own.startswith(home):
                found[name] = uri_of(home, name)
    return {name: uri for name, uri in list(found.items())[:MOST] if uri}


def _add_after(block: nodes.Node, uris: dict[str, str]) -> None:
    line = nodes.paragraph("", "View the source of this equation: ", classes=["view-source"])
    for i, (name, uri) in enumerate(uris.items()):
        line += nodes.Text(", ") if i else nodes.Text("")
        line += nodes.reference("", "", nodes.literal("", name), refuri=uri)
    block.parent.insert(block.parent.index(block) + 1, line)


def on_page_context(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The captions of the navigation are headings, and have a level."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


# --- thumbnails, and the pages of a folder ---


def on_source_read(app: Sphinx, docname: str, content: list[str]) -> None:
    if docname == "index":
        content[0] += unlisted(content[0])
    if docname in FOLDERS:
        content[0] += tree(docname)
    if docname == "studies/README":
        content[0] = after_first_paragraph(content[0], grid(studies(content[0])))
    if docname == "gallery":
        content[0] = after_first_paragraph(content[0], grid(gallery(content[0])))


FOLDERS = {"studies/README": "studies", "benchmarks": "benchmarks", "README": "decisions"}


def tree(docname: str) -> str:
    """The pages of a folder, below the page that lists them."""
    return toctree([page for page in pages(DOCS / FOLDERS[docname]) if page != docname])


def unlisted(text: str) -> str:
    """A list of the pages that the first page has not yet given a place in the course."""
    found = [page for page in pages(DOCS) + pages(DOCS / "math") if page != "index"]
    more = [page for page in found if not re.search(rf"^{page}$", text, re.MULTILINE)]
    return toctree(more, ":caption: More") if more else ""


def pages(folder: Path) -> list[str]:
    """The names that Sphinx has for the pages of a folder."""
    return sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in folder.glob("*.md"))


def toctree(entries: list[str], *options: str) -> str:
    lines = ["", "```{toctree}", ":hidden:", *options, "", *(f"/{page}" for page in entries), "```", ""]
    return "\n".join(lines)


def studies(text: str) -> list[tuple[str, str, str]]:
    """Of each row of the table of studies: the title of the page, the image with its text, the link."""
    found = []
    for name in re.findall(r"^\| \[\w+\]\((\w+)\.md\) \|", text, re.MULTILINE):
        page = (DOCS / "studies" / f"{name}.md").read_text(encoding="utf-8")
        found.append((page.split("\n", 1)[0].removeprefix("# "), next(IMAGE.finditer(page))[0], f"{name}.md"))
    return found


def gallery(text: str) -> list[tuple[str, str, str]]:
    """Of each picture of the gallery: the title of its section, the image with its text, the link."""
    found = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title = section.split("\n", 1)[0]
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        if image := IMAGE.search(section):
            found.append((title, image[0], f"#{slug}"))
    return found


def grid(cards: list[tuple[str, str, str]]) -> str:
    """Cards in a grid: a thumbnail, and a link to where the picture is shown in full."""
    out = ["::::{grid} 1 2 3 3", ":gutter: 3", ":class-container: thumbnails", ""]
    for title, image, link in cards:
        alt, path = IMAGE.findall(image)[0]
        out += [":::{grid-item-card}", f":img-top: {path}", f":img-alt: Thumbnail: {' '.join(alt.split())}"]
        out += ["", f"[{title}]({link})", ":::", ""]
    return "\n".join([*out, "::::", ""])


def after_first_paragraph(page: str, addition: str) -> str:
    """A page with the addition after its title and first paragraph."""
    title, first, rest = page.split("\n\n", 2)
    return "\n\n".join([title, first, addition, rest])


# --- pages of files outside of docs/ ---

OUTSIDE = {"readme": "README.md", "contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
ONE_PAGE = """# One page

A whole VQ-VAE in 120 lines of plain NumPy, `examples/one_page.py`. A test compares it with vqnp, step
by step. Next: [linear](../math/linear.md), the first of the pages on mathematics.

```{literalinclude} ../../examples/one_page.py
:language: python
:linenos:
```
"""


def write(folder: Path) -> None:
    """Pages with what lies outside of docs/; the suffix tells them from those that git has."""
    texts = {"one_page": rewritten(ONE_PAGE, folder, folder)}
    for name, file in OUTSIDE.items():
        texts[name] = rewritten((ROOT / file).read_text(encoding="utf-8"), ROOT, folder)
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        path = folder / f"{name}.myst"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
