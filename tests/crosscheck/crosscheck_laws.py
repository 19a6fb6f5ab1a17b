"""What the tests of the fingerprint share: draws of plants, and when a fingerprint is right."""

from hypothesis import strategies as st

from vqnp.crosscheck import VARIANTS

sizes = st.tuples(st.integers(3, 17), st.integers(2, 9))
"""K and D."""


def plants_of(table):
    """One plant, or two in different dimensions."""
    one = st.sampled_from([(d, v) for d, variants in table.items() for v in variants])
    return st.lists(one, min_size=1, max_size=2, unique_by=lambda plant: plant[0]).map(dict)


def named_and_no_other(report, right, plants, unsure=()):
    """Each plant is named; elsewhere the right variant is, or the report says that it cannot tell.

    In the dimensions of `unsure` it may be that it cannot tell the plant either, but it never names another.
    """
    by_name = {f.dimension: f for f in report.findings}
    assert set(by_name) == set(VARIANTS)
    for dimension, variant in plants.items():
        f = by_name[dimension]
        if f.variant is None and dimension in unsure:
            assert not f.also or variant in f.also, report
        else:
            assert f.variant == variant, f"{dimension} is {variant}, and was taken for {f.variant}\n{report}"
    for dimension, variant in right.items():
        f = by_name[dimension]
        if dimension not in plants:
            assert f.variant in (variant, None), f"a false alarm: {dimension} {f.variant}\n{report}"
            assert f.variant or not f.also or variant in f.also, report
