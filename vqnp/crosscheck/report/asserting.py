"""assert_conforms(adapter): the check as a test of anyone's; or as one test for each quantity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vqnp.crosscheck.report.checking import Allow, check
from vqnp.crosscheck.report.quantities import QUANTITIES
from vqnp.crosscheck.report.report import Report


def assert_conforms(adapter: Any, allow: Allow = (), **options: Any) -> Report:
    """Raise AssertionError with the whole report unless the layer is vqnp's, up to what is allowed.

    Parameters
    ----------
    adapter, allow, **options
        As in `check`.

    Returns
    -------
    Report
        For a further look, where everything passed.
    """
    report = check(adapter, allow=allow, **options)
    if not report.ok:
        raise AssertionError(f"\n{report}")
    return report


def conformance_tests(adapter: Any, allow: Allow = (), **options: Any) -> Callable[[str], None]:
    """A pytest function with one test for each quantity, and one for how the layer answers.

    Assign it to a name that pytest collects: `test_quantizer = conformance_tests(adapter)`. The layer is
    asked once, when the first of the tests runs. A quantity that the adapter does not give is skipped,
    with that as the reason.
    """
    import pytest

    reports: list[Report] = []

    @pytest.mark.parametrize("quantity", [*QUANTITIES, "answers"])
    def test_quantity(quantity: str) -> None:
        if not reports:
            reports.append(check(adapter, allow=allow, **options))
        report = reports[0]
        if quantity == "answers":
            assert not report.faults, "\n".join(report.faults)
            return
        row = next(row for row in report.rows if row.quantity == quantity)
        if row.result == "not checked":
            pytest.skip(f"not checked: the adapter does not give {quantity}")
        assert row.result == "pass", f"\n{report}"

    return test_quantity
