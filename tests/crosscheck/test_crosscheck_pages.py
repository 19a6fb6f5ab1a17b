"""The page of variants says what the table in the code says; and every dimension is in the fingerprint."""

from pathlib import Path

import pytest

import vqnp
from vqnp.crosscheck.reference import SETTINGS
from vqnp.crosscheck.variants import TITLES, VARIANTS

PAGE = (Path(__file__).parents[2] / "docs" / "crosscheck-variants.md").read_text(encoding="utf-8")


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
