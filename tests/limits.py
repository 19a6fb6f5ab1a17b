"""with limits(): at most so much more memory and so many seconds; what needs more raises.

Seconds of the processor, so that a busy machine does not matter; six times as many of the clock, for what
waits.
"""

import contextlib
import signal
import threading

try:
    import resource
except ImportError:  # Windows: nothing is limited there
    resource = None

MEGABYTES, SECONDS = 500, 5.0


class TooSlow(BaseException):
    """No Exception: a reader that catches all of them must not catch this one."""


def _address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


@contextlib.contextmanager
def limits(megabytes=MEGABYTES, seconds=SECONDS):
    """MemoryError beyond the memory (of Linux), TooSlow beyond the time."""
    if resource is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise TooSlow(f"more than {seconds} s")

    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    clocks = {
        signal.SIGALRM: (signal.ITIMER_REAL, 6 * seconds), signal.SIGPROF: (signal.ITIMER_PROF, seconds),
    }  # fmt: skip
    handlers = {number: signal.signal(number, stop) for number in clocks}
    try:
        with contextlib.suppress(OSError):
            resource.setrlimit(resource.RLIMIT_AS, (_address_space() + megabytes * 2**20, hard))
        for timer, most in clocks.values():
            signal.setitimer(timer, most)
        yield
    finally:
        for number, (timer, _) in clocks.items():
            signal.setitimer(timer, 0)
            signal.signal(number, handlers[number])
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))
