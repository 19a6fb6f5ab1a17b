"""The built site: links lead somewhere, figures have words, every public name is there, code is near.

.ci/run site builds it and runs these tests; VQNP_SITE is the folder of the site.
"""

import os
import re
from pathlib import Path

import pytest

from .site import ids, line, read, target

SITE = Path(os.environ.get("VQNP_SITE", "nowhere")).resolve()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SITE.is_dir(), reason="needs the built site: .ci/run site, with the extra docs"),
]
ROOT = Path(__file__).resolve().parents[2]
TWO_CLICKS = {
    "straight-through": "dz = dz_q + dL * 2 * c * beta * r",
    "EMA": "N = decay * state.N + (1 - decay) * n",
    "Laplace smoothing": "def laplace_smoothing(",
    "attention's backward": "def attention_backward(",
    "the blind spot": "def blind_spot(",
}


def pages():
    """The pages of prose and of the reference, without those of source files."""
    folders = (SITE / "source", SITE / "_static", SITE / "_sources")
    found = sorted(path for path in SITE.rglob("*.html") if not any(f in path.parents for f in folders))
    assert len(found) > 100
    return found


def name(path):
    return path.relative_to(SITE).as_posix()


def test_every_link_of_the_site_leads_to_a_page_and_to_a_place_on_it():
    broken = []
    for page in pages():
        for link in read(page).links:
            there = target(page, link)
            if there is None:
                continue
            path, anchor = there
            if path.is_dir():
                path = path / "index.html"
            if not path.is_file() or anchor and path.suffix == ".html" and anchor not in ids(path):
                broken.append(f"{name(page)}: {link}")
    assert not broken, "\n".join(broken[:50])


def test_a_page_asks_no_other_host_for_anything():
    loaded = {(name(page), uri) for page in pages() for uri in read(page).loaded if uri[:5] != "data:"}
    assert not {(page, uri) for page, uri in loaded if target(SITE / page, uri) is None}


def test_every_figure_has_words_that_say_what_it_shows():
    short = []
    for page in pages():
        for image in read(page).images:
            alt = image.get("alt", "")
            if len(alt.split()) < 5 or re.search(r"\.(png|svg|jpe?g)$", alt):
                short.append(f"{name(page)}: {image.get('src')}: {alt!r}")
    assert not short, "\n".join(short)


def test_every_page_has_a_language_a_title_one_main_heading_and_names_for_its_links():
    titles = {}
    for page in pages():
        found = read(page)
        assert found.language == "en" and found.title, name(page)
        assert found.headings.count("h1") <= 1, name(page)
        levels = [int(heading[1]) for heading in found.headings]
        assert all(after <= before + 1 for before, after in zip(levels, levels[1:])), (name(page), levels)
        assert not found.unnamed, (name(page), found.unnamed)
        titles.setdefault(found.title, []).append(name(page))
    assert titles


def test_every_source_page_has_a_title():
    for path in sorted((SITE / "source").rglob("*.html"))[::20]:
        assert re.search(r"<title>[^<]+</title>", path.read_text(encoding="utf-8")), name(path)


@pytest.mark.parametrize("what", TWO_CLICKS)
def test_from_the_first_page_it_is_two_clicks_to_the_line(what):
    text = TWO_CLICKS[what]

    def leads_to_the_line(page, link):
        there = target(page, link)
        return there and there[0].is_file() and "source" in there[0].parts and text in line(*there)

    first = SITE / "index.html"
    reached, prose = {first}, set(pages())
    for link in read(first).links:
        there = target(first, link)
        if there and there[0] in prose:
            reached.add(there[0])
    found = [link for page in reached for link in read(page).links if leads_to_the_line(page, link)]
    assert found, f"no page that the first page links to has a link to the line {text!r}"


def test_every_public_name_is_documented_once():
    import vqnp
    from vqnp import __all__ as top

    count = {}
    for page in (SITE / "api").rglob("*.html"):
        for each in read(page).ids:
            if each.startswith("vqnp."):
                count[each] = count.get(each, 0) + 1
    assert all(times == 1 for times in count.values())
    for package in vqnp.SUBPACKAGES:
        for each in getattr(getattr(vqnp, package), "__all__", ()):
            assert any(full.startswith("vqnp.") and full.rpartition(".")[2] == each for full in count), each
    index = read(SITE / "api" / "index.html")
    assert any(link.endswith("#vqnp.training.fit") for link in index.links) and "fit" in top


def test_a_math_page_links_from_its_equation_to_the_function():
    without = []
    for path in sorted((ROOT / "docs" / "math").glob("*.md")):
        page = SITE / "math" / f"{path.stem}.html"
        html = page.read_text(encoding="utf-8")
        shown = re.findall(r'<p class="view-source">(.*?)</p>', html, re.DOTALL)
        links = [target(page, link) for each in shown for link in re.findall(r'href="([^"]+)"', each)]
        if not links:
            without.append(path.stem)
        for file, anchor in filter(None, links):
            assert re.match(r"\s*(def|class) ", line(file, anchor)), (path.stem, file, anchor)
    assert not without
