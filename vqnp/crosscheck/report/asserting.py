"""assert_conforms(adapter): the check as a test of anyone's; or as one test for each quantity."""

from collections.abc import Callable
from typing import Any

from vqnp.crosscheck.report.checking import Allow, check
from vqnp.crosscheck.report.quantities import QUANTITIES
from vqnp.crosscheck.report.report import Report


def assert_conforms(adapter: Any, allow: Allow = (), **options: Any) -> Report:
    """The report of `check`; AssertionError with it unless the layer is ours, up to what is allowed."""
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
        result = {row.quantity: row.result for row in report.rows}.get(quantity, "pass")
        if result == "not checked":
            pytest.skip(f"not checked: the adapter does not give {quantity}")
        assert result == "pass", f"\n{report}"
        assert quantity != "answers" or not report.faults, "\n".join(report.faults)

    return test_quantity
