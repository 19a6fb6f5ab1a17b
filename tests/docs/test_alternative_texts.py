"""Every figure of every page has words that say what it shows, for those who cannot see it."""

import re

import pytest

from .code_links import ROOT, pages

IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")


def without_words(text):
    """The figures of a page whose alternative text is missing, a name or a word or two."""
    return [path for alt, path in IMAGE.findall(text) if len(alt.split()) < 5]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_figure_has_words_that_say_what_it_shows(page):
    assert not without_words(page.read_text(encoding="utf-8"))


def test_a_figure_without_words_is_found():
    text = "![](a.png) ![nearest](b.png) ![Two digits and the path between them](c.png)"
    assert without_words(text) == ["a.png", "b.png"]
