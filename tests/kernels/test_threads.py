"""Bits do not depend on NUMBA_NUM_THREADS, nor on whether kernels are compiled at all."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqnp.kernels import threads
from vqnp.kernels.jit import JIT

PROGRAM = """
import hashlib
import numpy as np
from vqnp import EMAVectorQuantizer, VQVAE, code_statistics, nearest_code
from vqnp.kernels import threads
from vqnp.kernels.jit import JIT
from vqnp.kernels.adam import adam_step
r = np.random.default_rng(0)
digest = hashlib.sha256()
for dtype in (np.float32, np.float64):
    z = (r.integers(-3, 4, (1000, 5)) + 1000).astype(dtype)
    E = (r.integers(-3, 4, (40, 5)) + 1000).astype(dtype)
    k = nearest_code(z, E)
    threads.MULTIPLY_ADDS_PER_BLOCK = 1
    assert np.array_equal(nearest_code(z, E), k)
    digest.update(k.tobytes())
    for a in code_statistics(z + dtype(0.1), k, 40):
        digest.update(a.tobytes())
    value, grad, m, v = (r.random((4, 500)) + 0.1).astype(dtype)
    adam_step([(value, grad, m, v)], 3, 1e-3, 0.9, 0.999, 1e-8)
    digest.update(value.tobytes() + m.tobytes() + v.tobytes())
    vq = EMAVectorQuantizer(40, 5, codebook_init="kmeans", restart_dead_codes=0.1, rng=1, dtype=dtype)
    vq.initialize(z, 2)
    vq.update(z, vq.encode(z), 3)
    for a in vq.state_dict().values():
        digest.update(a.tobytes())
print(digest.hexdigest())
"""


def digest(**environment):
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def one_thread():
    return digest(NUMBA_NUM_THREADS="1")


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"NUMBA_NUM_THREADS": "2"}, {"NUMBA_DISABLE_JIT": "1"}])
def test_the_same_bits(one_thread, environment):
    assert digest(**environment) == one_thread


@pytest.fixture
def three_threads(monkeypatch):
    if not JIT:
        pytest.skip("threads are for compiled kernels")
    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(threads, "MULTIPLY_ADDS_PER_BLOCK", 10)
    monkeypatch.setattr(threads, "WAITS_PER_PAUSE", 0)  # the barriers below are waits
    threads._crew(os.getpid(), 2).pause = 0.0


@given(st.integers(0, 300), st.integers(1, 20), st.integers(1, 7), st.integers(1, 4), st.integers(1, 9))
def test_blocks_cover_each_output_once(size, cost, multiple, number, per_thread):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads.config, "NUMBA_NUM_THREADS", number)
        patch.setattr(threads, "MULTIPLY_ADDS_PER_BLOCK", 10)
        patch.setattr(threads, "MOST_BLOCKS_PER_THREAD", per_thread)
        seen = []
        threads.in_blocks(lambda a, b: seen.append((a, b)), size, cost, multiple)
    covered = sorted(i for a, b in seen for i in range(a, b))
    assert covered == list(range(size))
    assert all(a % multiple == 0 for a, b in seen)
    assert len(seen) <= max(1, 2 * per_thread * number * multiple)


def test_the_work_is_shared(three_threads):
    """Three blocks that wait for one another: they end only if three threads have them at once."""
    together = threading.Barrier(3, timeout=60)
    threads.in_blocks(lambda a, b: together.wait(), 3, 10)


def test_small_work_runs_on_the_calling_thread(three_threads):
    who = []
    threads.in_blocks(lambda a, b: who.append(threading.get_ident()), 19, 1)
    assert who == [threading.get_ident()]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_an_error_in_any_block_reaches_the_caller(three_threads, bad):
    together = threading.Barrier(3, timeout=60)

    def work(a, b):
        together.wait()
        if a == bad:
            raise ZeroDivisionError("here")

    with pytest.raises(ZeroDivisionError, match="here"):
        threads.in_blocks(work, 3, 10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX's, where another test has imported it
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python's own, from 3.12 on
def test_a_forked_child_has_its_own_threads(three_threads):
    together = threading.Barrier(3, timeout=60)
    threads.in_blocks(lambda a, b: together.wait(), 3, 10)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            together = threading.Barrier(3, timeout=60)
            threads.in_blocks(lambda a, b: together.wait(), 3, 10)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_thread_keeps_an_array_alive(three_threads):
    together, array = threading.Barrier(3, timeout=60), np.zeros(9)
    gone = weakref.ref(array)
    threads.in_blocks(lambda a, b, array=array: together.wait(), 3, 10)
    del array
    assert gone() is None


def test_a_call_that_finds_the_threads_busy_computes_alone(three_threads):
    inner = []

    def work(a, b):
        if a == 0:
            me = threading.get_ident()
            threads.in_blocks(lambda c, d: inner.append((threading.get_ident() == me, c, d)), 30, 10)

    threads.in_blocks(work, 3, 10)
    assert inner == [(True, 0, 30)]


def test_threads_that_have_slept_wake_up(three_threads, monkeypatch):
    monkeypatch.setattr(threads, "POLLS_BEFORE_SLEEP", 0)
    for _ in range(20):
        together = threading.Barrier(3, timeout=60)
        threads.in_blocks(lambda a, b: together.wait(), 3, 10)


def test_after_a_long_wait_the_calling_thread_computes_alone_for_a_while(three_threads, monkeypatch):
    me, mine, clock = threading.get_ident(), threading.Event(), [100.0]
    together = threading.Barrier(3, timeout=60)
    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock[0])

    def work(a, b):
        together.wait()
        if threading.get_ident() == me:
            mine.set()
        else:  # another program has its core for half a second
            mine.wait(60)
            time.sleep(0.1)
            clock[0] = 100.5

    monkeypatch.setattr(threads, "WAITS_PER_PAUSE", 50)
    threads.in_blocks(work, 3, 10)
    who = []
    clock[0] = 120.0
    threads.in_blocks(lambda a, b: who.append(threading.get_ident()), 3, 10)
    assert who == [me]
    clock[0] = 126.0  # 50 times half a second are over
    together.reset()
    threads.in_blocks(lambda a, b: together.wait(), 3, 10)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such signals")
def test_an_interrupted_call_waits_for_its_blocks_and_leaves_the_next_one_alone(three_threads):
    """A thread that was late with the interrupted call's block was counted as finished in the next call,
    which then returned before its own blocks were done."""
    warm, together = (threading.Barrier(3, timeout=60) for _ in range(2))
    threads.in_blocks(lambda a, b: warm.wait(), 3, 10)
    caller, interrupted, slow = threading.get_ident(), threading.Event(), []

    def work(a, b):
        together.wait()
        if threading.get_ident() == caller:
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # it comes while the caller waits for the others
        else:
            assert interrupted.wait(60)
            time.sleep(0.1)
            slow.append(a)

    def interrupt(*_):
        interrupted.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            threads.in_blocks(work, 3, 10)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(slow) == 2, "the arrays are not written any more"
    after = threading.Barrier(3, timeout=60)
    threads.in_blocks(lambda a, b: after.wait(), 3, 10)


@pytest.mark.skipif(not JIT, reason="threads are for compiled kernels")
def test_callers_at_the_same_time_start_one_crew(three_threads, monkeypatch):
    monkeypatch.setattr(threads, "_CREWS", {})
    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", 6)
    before = set(threading.enumerate())
    together = threading.Barrier(8, timeout=60)

    def call():
        together.wait()
        threads.in_blocks(lambda a, b: None, 60, 10)

    callers = [threading.Thread(target=call) for _ in range(8)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert len(set(threading.enumerate()) - before) == 5


def test_where_no_thread_can_start_the_caller_computes_alone(three_threads, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_CREWS", {})
    monkeypatch.setattr(threading.Thread, "start", refuse)
    seen = []
    threads.in_blocks(lambda a, b: seen.append((a, b)), 3, 10)
    assert sorted(seen) == [(0, 1), (1, 2), (2, 3)]


INTERRUPTED = """
import faulthandler, random, signal, sys, threading, time
from vqnp.kernels import threads
from vqnp.kernels.jit import JIT

faulthandler.dump_traceback_later(60, exit=True)
threads.MULTIPLY_ADDS_PER_BLOCK = 10
threads.config.NUMBA_NUM_THREADS = 3
threads.POLLS_BEFORE_SLEEP = 1
threads.WAITS_PER_PAUSE = 0
threads.in_blocks(lambda a, b: None, 3, 10)
sys.setswitchinterval(1e-5)
r, end = random.Random(0), time.time() + float(sys.argv[1])


def stop(*_):
    raise KeyboardInterrupt


signal.signal(signal.SIGALRM, stop)
while time.time() < end:
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-5 + 1e-3 * r.random())
        while True:
            threads.in_blocks(lambda a, b: None, 3, 10)
    except KeyboardInterrupt:
        pass
together = threading.Barrier(3, timeout=30)
threads.in_blocks(lambda a, b: together.wait(), 3, 10)
"""


@pytest.mark.skipif(not JIT, reason="threads are for compiled kernels")
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such signals")
def test_an_interrupt_at_any_moment_leaves_no_lock_taken():
    """One within Condition.__exit__ did: the next call waited for ever."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, "5"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
