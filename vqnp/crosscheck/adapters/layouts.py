"""(N, D) ↔ "(1, D, N, 1)": how a layer wants N vectors of D dimensions, and how it gives them back.

A layout is any order of N and D with axes of length 1 among them: "(N, D)", "(1, N, D)", "(1, D, N, 1, 1)".
"""

from typing import Any, NamedTuple

from vqnp._check import fail


class Layout(NamedTuple):
    """The axes, each "N", "D" or "1"; arrays are NumPy's or any framework's that index as NumPy's do."""

    axes: tuple[str, ...]

    def into(self, z: Any) -> Any:
        """z: (N, D) in this layout."""
        a = z if self.axes.index("N") < self.axes.index("D") else z.T
        return a[tuple(None if axis == "1" else slice(None) for axis in self.axes)]

    def back(self, a: Any, N: int, D: int) -> Any:
        """(N, D) from an array in this layout, or else in whatever layout its shape tells."""
        lengths = {"N": N, "D": D, "1": 1}
        if tuple(a.shape) == tuple(lengths[axis] for axis in self.axes):
            rows = a[tuple(0 if axis == "1" else slice(None) for axis in self.axes)]
            return rows if self.axes.index("N") < self.axes.index("D") else rows.T
        long = tuple(length for length in a.shape if length > 1)
        return a.reshape(D, N).T if long == (D, N) and N != D else a.reshape(N, D)


def layouts(where: str, text: str) -> tuple[Layout, Layout]:
    """What goes in and what comes out, from "(1, D, N, 1)" for both or "(1, D, N, 1) -> (1, N, D)"."""
    parts = [part.strip() for part in str(text).split("->")]
    found = []
    for part in parts:
        axes = tuple(axis.strip() for axis in part[1:-1].split(","))
        well = part[:1] + part[-1:] == "()" and sorted(axes) == sorted(["N", "D"] + ["1"] * (len(axes) - 2))
        if not well or len(parts) > 2:
            fail(where, "layout", 'must be N, D and 1s as in "(1, D, N, 1)" or "(N, D) -> (1, N, D)"', text)
        found.append(Layout(axes))
    return found[0], found[-1]
