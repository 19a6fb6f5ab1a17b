"""Every link from a page to a line of code is to the line that has the name."""

from pathlib import Path

import pytest
from code_links import ROOT, line_of, pages, relinked


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_code_link_is_at_the_line_that_has_the_name(page):
    text = page.read_text(encoding="utf-8")
    right = relinked(text, page)
    assert "#L0)" not in right, "no such file or name, or a piece of several lines"
    assert right == text, "lines have moved: python tests/docs/code_links.py"


def test_the_line_of_a_name():
    method = "    def f(self):\n        return "
    source = f"x = 1\n\nclass A:\n{method}1\n\nclass B:\n{method}x + x\n"
    assert [line_of(name, source) for name in ("x", "A", "B.f", "A.f", "g", "A.g")] == [1, 3, 8, 4, 0, 0]
    assert line_of("f", f"@overload\ndef f(): ...\n\n{source}") == 4 + 4 - 1
    assert line_of("return x + x", source) == 9 and line_of("return", source) == 0  # on two lines


def test_a_link_that_has_gone_astray_is_put_right(tmp_path):
    (tmp_path / "a.py").write_text("\n\ndef f(): pass\n")
    text = "[`f`](a.py#L1) [`g`](a.py#L3) [`f`](b.py#L9) [f](a.py#L1)"
    page = Path(tmp_path / "page.md")
    assert relinked(text, page) == "[`f`](a.py#L3) [`g`](a.py#L0) [`f`](b.py#L0) [f](a.py#L1)"
