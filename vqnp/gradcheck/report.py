"""What a gradient check found: ⟨∂L/∂a, v⟩ by backward and by differences, for each argument a."""

from dataclasses import dataclass
from typing import Self


class GradcheckError(AssertionError):
    """A backward pass is not the derivative that it should be, or does not follow the protocol.

    Examples
    --------
    >>> import numpy as np
    >>> from vqnp.gradcheck import gradcheck
    >>> wrong = gradcheck(lambda x: (x**2, x), lambda dy, x: dy * x, np.ones(3), rng=0)
    >>> wrong.raise_if_failed()
    Traceback (most recent call last):
        ...
    vqnp.gradcheck.report.GradcheckError: the gradient of x is not the derivative...
    """


@dataclass(frozen=True)
class Row:
    """One argument: ⟨gradient, v⟩ by backward and by differences, in the draw with the largest error."""

    argument: str
    analytic: float
    numeric: float
    error: float


@dataclass(frozen=True)
class GradcheckReport:
    """A row for each argument, and the tolerance; as a truth value, whether all errors are within it.

    Examples
    --------
    >>> import numpy as np
    >>> from vqnp.gradcheck import gradcheck
    >>> report = gradcheck(lambda x: (x**2, x), lambda dy, x: 2 * dy * x, np.ones(3), rng=0)
    >>> bool(report), [row.argument for row in report.rows], report.worst < 1e-6
    (True, ['x'], True)
    """

    rows: tuple[Row, ...]
    rtol: float

    @property
    def worst(self) -> float:
        """The largest relative error of all arguments; infinite if a derivative is not finite."""
        return max((row.error for row in self.rows), default=0.0)

    @property
    def ok(self) -> bool:
        """Whether every argument's error is within the tolerance."""
        return self.worst <= self.rtol

    def __bool__(self) -> bool:
        return self.ok  # so that `assert gradcheck(...)` checks the gradient

    def __str__(self) -> str:
        width = max([8, *(len(row.argument) for row in self.rows)]) + 2
        lines = [f"{'argument':<{width}}{'by backward':>16}{'by differences':>16}{'relative error':>16}"]
        for r in self.rows:
            mark = "" if r.error <= self.rtol else "  <- wrong"
            lines.append(f"{r.argument:<{width}}{r.analytic:>16.8g}{r.numeric:>16.8g}{r.error:>16.1e}{mark}")
        return "\n".join([*lines, f"{'ok' if self.ok else 'FAILED'} at {self.rtol:.0e}"])

    def raise_if_failed(self) -> Self:
        """Return self, or raise GradcheckError with the wrong arguments and the table."""
        wrong = ", ".join(row.argument for row in self.rows if not row.error <= self.rtol)
        if wrong:
            raise GradcheckError(f"the gradient of {wrong} is not the derivative\n{self}")
        return self
