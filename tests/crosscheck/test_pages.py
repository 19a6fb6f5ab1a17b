"""The page of variants says what the table in the code says; and every dimension is in the fingerprint."""

import json
import re
from pathlib import Path

import pytest

import vqnp
from vqnp.crosscheck.variants.reference import SETTINGS
from vqnp.crosscheck.variants.table import TITLES, VARIANTS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "crosscheck-variants.md").read_text(encoding="utf-8")
ROWS = json.loads((DOCS / "studies" / "variants.json").read_text(encoding="utf-8"))["rows"]
TRAINED = {(row["setting"]["dimension"], row["setting"]["variant"]) for row in ROWS}
REPORTED_ONLY = ("evaluation_loss", "perplexity")
"""Dimensions that change what is said of a training, not the training."""

UNTRAINED = ("other", "mixed")
"""Variants that stand for many, or for two that were trained one by one."""


@pytest.mark.parametrize("dimension", VARIANTS)
def test_the_page_has_every_variant_with_its_advice_and_reference(dimension):
    section = PAGE.split(f"## {TITLES[dimension]}: `{dimension}`\n")[1].split("\n## ")[0]
    for name, variant in VARIANTS[dimension].items():
        assert f"| `{name}` | {variant.label} | {variant.advice or '-'} |" in section
        assert all(
            one in section or one.removeprefix("docs/") in section for one in variant.reference.split("; ")
        )


def test_every_advice_has_a_reference_and_every_setting_is_a_variant():
    assert all(v.reference for each in VARIANTS.values() for v in each.values() if v.advice)
    assert all(set(values) <= set(VARIANTS[dimension]) for dimension, values in SETTINGS.items())
    fingerprint = vqnp.crosscheck.check(vqnp.crosscheck.Reference()).fingerprint
    assert set(fingerprint) == set(VARIANTS) == set(TITLES)


@pytest.mark.parametrize("dimension", VARIANTS)
def test_every_section_says_what_the_variants_do_in_training(dimension):
    section = PAGE.split(f"## {TITLES[dimension]}: `{dimension}`\n")[1].split("\n## ")[0]
    said = next(part for part in section.split("\n\n") if part.startswith("**In training.**"))
    assert "](studies/variants.md" in said
    trained = {variant for where, variant in TRAINED if where == dimension}
    if dimension in REPORTED_ONLY:
        assert not trained and "only" in said
        return
    known_bugs = {name for name, variant in VARIANTS[dimension].items() if variant.advice} - {*UNTRAINED}
    assert trained and known_bugs <= trained <= set(VARIANTS[dimension])
    references = re.findall(r"<!--variants: (.*?)-->", said)  # whose numbers tests/docs/test_studies.py holds
    for variant in trained:
        assert any({f"dimension={dimension}", f"variant={variant}"} <= {*one.split()} for one in references)
