"""Every link from a page to code is to a file that has the name."""

import pytest

from .code_links import ROOT, broken, has, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_code_link_is_to_a_file_that_has_the_name(page):
    text = page.read_text(encoding="utf-8")
    assert not broken(text, page.parent)
    assert ".py#L" not in text, "a line number moves with every edit: link to the file and name what is in it"


def test_a_link_to_no_file_or_no_name_is_broken(tmp_path):
    body = "x = 1\nclass A:\n    def f(self):\n        return 1\n\nclass B:\n    y = 2 + 2\n"
    (tmp_path / "a.py").write_text(body)
    source = (tmp_path / "a.py").read_text()
    assert all(has(name, source) for name in ("x", "A", "A.f", "B.y", "return 1", "vqnp/a.py"))
    assert not any(has(name, source) for name in ("g", "A.g", "2 + 3", "y = 3", "= "))  # the last: several
    text = "[`f`](a.py) [`g`](a.py) [`f`](b.py) [f](a.py)"
    assert broken(text, tmp_path) == ["[`g`](a.py)", "[`f`](b.py)"]
