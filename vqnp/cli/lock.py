"""One process at a time: a lock that the operating system releases when its holder ends, however it ends."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Taken(Exception):
    """Another process holds the lock: holder says which, "process 1234 on this machine"."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock that is the file at `path`, in which our process is named; Taken if another holds it.

    The file is removed at the end. One that a killed process has left does not hold anybody up: the lock is
    the operating system's (flock). Where there is none, as on some network drives, the process named in the
    file holds the lock for as long as it runs.
    """
    file = _locked(path)
    try:
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, f"{os.getpid()} {socket.gethostname()}\n".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while we hold it, so that it is ours
        os.close(file)


def _locked(path: Path) -> int:
    """A descriptor of the file at `path`, which is locked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(file):
                raise Taken(_holder(file))
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its last holder has removed it meanwhile


def _lock(file: int) -> bool:
    """Whether we have the lock now."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    pid, host = _named(file)
    return pid is None or (host == socket.gethostname() and not _runs(pid))  # elsewhere nobody can be asked


def _named(file: int) -> tuple[int | None, str]:
    """The process and the machine that the file names."""
    os.lseek(file, 0, os.SEEK_SET)
    words = os.read(file, 1000).decode(errors="replace").split()
    return (int(words[0]), words[1]) if len(words) == 2 and words[0].isdecimal() else (None, "")


def _holder(file: int) -> str:
    pid, host = _named(file)
    if pid is None:
        return "another process"
    return f"process {pid}{'' if host == socket.gethostname() else f' on {host}'}"


def _runs(pid: int) -> bool:
    if os.name != "posix":
        return True  # we cannot ask: on Windows os.kill kills
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
