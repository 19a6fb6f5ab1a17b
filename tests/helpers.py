"""What several test files share: how a wrong argument is refused, in Python and on the command line."""

from contextlib import contextmanager

import pytest

from vqnp import InputError
from vqnp.cli import main


@contextmanager
def refused(argument, needed="", got="", *, where=None, error=InputError):
    """The block must raise an InputError with these fields; its sentence is tested once, in test_check.py.

    with refused("x", "must have last axis 4", "shape (3, 5)", where="Linear.forward"):
        Linear(4, 2).forward(np.zeros((3, 5), np.float32))

    `argument`, and `where` if given, are the whole field: an error that blames another argument is found.
    `needed` and `got` are parts of theirs: give the part that matters here, such as "[0, 8)", or nothing.
    `error` is the class, exactly: NonFiniteError for NaN and infinity. `with ... as caught` gives pytest's
    ExceptionInfo, where something else is to be looked at.
    """
    with pytest.raises(InputError) as caught:
        yield caught
    e = caught.value
    assert type(e) is error, f"{type(e).__name__}: {e}"
    assert e.argument == argument and where in (None, e.where), (e.where, e.argument)
    assert needed in e.needed and got in str(e.got), str(e)


def refused_command(capsys, *args):
    """The one sentence on standard error of a vqnp command that exits with 2."""
    try:
        status = main([str(a) for a in args])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2 and captured.out == ""
    lines = captured.err.splitlines()
    assert "Traceback" not in captured.err
    assert len(lines) == 1 and lines[0].startswith("vqnp"), captured.err
    return lines[0].split("error: ", 1)[1]
