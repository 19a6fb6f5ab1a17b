"""One process at a time, whatever became of the one before."""

import os
import socket
import subprocess
import sys

import pytest

from vqnp.cli import lock as module
from vqnp.cli.lock import Taken, lock

HOLDER = """
import sys, time
from pathlib import Path
from vqnp.cli.lock import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def without_locks(monkeypatch):
    """As on a file system that has none: the process named in the file decides."""

    def flock(file, operation):
        raise OSError("no locks available")

    if module.fcntl is not None:
        monkeypatch.setattr(module.fcntl, "flock", flock)


def test_it_is_held_once_and_leaves_nothing(tmp_path):
    path = tmp_path / "l"
    for _ in range(2):
        with lock(path):
            with pytest.raises(Taken) as caught, lock(path):
                pass
            assert caught.value.holder == f"process {os.getpid()}" and path.exists()
    assert os.listdir(tmp_path) == []


def test_an_error_within_releases_it(tmp_path):
    with pytest.raises(ZeroDivisionError), lock(tmp_path / "l"):
        1 / 0
    with lock(tmp_path / "l"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("locks", [True, False])
def test_a_killed_process_releases_it(tmp_path, monkeypatch, locks):
    if not locks:
        monkeypatch.setattr(module, "fcntl", None)
    path = tmp_path / "l"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Taken) as caught, lock(path):
            pass
        assert caught.value.holder == f"process {process.pid}"
    finally:
        process.kill()
        process.communicate()
    assert path.exists()
    with lock(path):
        pass


ME = os.getpid()


@pytest.mark.parametrize(
    ("text", "holder"),
    [("1 elsewhere", "process 1 on elsewhere"), (f"{ME} {socket.gethostname()}", f"process {ME}")],
    ids=["another machine", "this process"],
)
def test_without_the_systems_locks_the_named_process_holds_it(tmp_path, monkeypatch, text, holder):
    without_locks(monkeypatch)
    (tmp_path / "l").write_text(text)
    with pytest.raises(Taken, match=f"^{holder}$"), lock(tmp_path / "l"):
        pass
    assert (tmp_path / "l").read_text() == text


@pytest.mark.parametrize("text", ["", "nobody", "x y", "\0" * 50], ids=["empty", "word", "words", "zeros"])
def test_a_file_that_names_nobody_holds_nobody_up(tmp_path, monkeypatch, text):
    without_locks(monkeypatch)
    (tmp_path / "l").write_text(text)
    with lock(tmp_path / "l"):
        pass


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """Its last holder removes the file between our opening it and our locking it."""
    path, locks, opened = tmp_path / "l", module._lock, []

    def late(file):
        if not opened:
            path.unlink()
        opened.append(file)
        return locks(file)

    monkeypatch.setattr(module, "_lock", late)
    with lock(path):
        assert len(opened) == 2 and path.exists()
