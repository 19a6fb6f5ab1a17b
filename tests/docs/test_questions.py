"""Every answer of docs/questions.md names its code, its test, and the study of its numbers."""

import json
import re

import pytest
from _prose import studies, unreferenced

from .code_links import LINK, ROOT

PAGE = ROOT / "docs" / "questions.md"
TEXT = PAGE.read_text(encoding="utf-8")
STUDIES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "docs" / "studies").glob("*.json"))
}
GROUPS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
ANSWERS = [answer for group in GROUPS for answer in re.split(r"^### ", group, flags=re.MULTILINE)[1:]]


def title(answer: str) -> str:
    return answer.partition("\n")[0]


def test_all_questions_are_there_in_order_under_the_groups_of_the_contents():
    assert [int(title(answer).partition(".")[0]) for answer in ANSWERS] == list(range(1, 59))
    head = TEXT.partition("\n## ")[0]
    spans = re.findall(r"^- \[(.*)\]\(.*\): (\d+) to (\d+)$", head, re.MULTILINE)
    for group, (name, first, last) in zip(GROUPS, spans, strict=True):
        numbers = re.findall(r"^### (\d+)\.", group, re.MULTILINE)
        assert (title(group), numbers[0], numbers[-1]) == (name, first, last)


@pytest.mark.parametrize("answer", ANSWERS, ids=title)
def test_an_answer_names_its_code_and_its_test_or_says_that_it_is_planned(answer):
    links = {link["name"]: link["path"] for link in LINK.finditer(answer)}
    code = [path for path in links.values() if path.startswith(("../vqnp/", "../examples/"))]
    tests = [name for name, path in links.items() if path.startswith("../tests/") and name[:5] == "test_"]
    assert code, "no link to what computes it"
    assert tests or "[planned]" in answer, "no link to a test, nor to what is planned"
    assert len(answer.partition("\n")[2].strip()) > 120, "no answer"


@pytest.mark.parametrize("answer", ANSWERS, ids=title)
def test_a_measured_number_has_its_study(answer):
    """A number with a decimal point is referenced, a study's setting, or asserted in a block of the page."""
    rows = [row for study in STUDIES.values() for row in study["rows"]]
    scales = {name: study["scale"] for name, study in STUDIES.items()}
    asserted = " ".join(re.findall(r"```python.*?```", TEXT, re.DOTALL))
    loose = unreferenced(answer, {"seeds": 3, "scale": scales, "rows": rows})
    assert not [number for number in loose if "." in number and number not in asserted]
    for study in studies(answer):
        assert f"](studies/{study}.md)" in answer, "the study of this number is not linked"


def test_every_study_answers_a_question():
    assert not [name for name in STUDIES if f"](studies/{name}.md)" not in TEXT]
