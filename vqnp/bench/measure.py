"""How fast this machine is, and which share of its speed vqnp's kernels and its training step reach.

Every share is the median over rounds in each of which the machine's peak and the kernel were timed in
turn, so that a busy neighbour slows both.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from vqnp._check import fail
from vqnp._version import __version__
from vqnp.kernels import code_statistics, nearest_code
from vqnp.kernels.adam import adam_step
from vqnp.kernels.jit import JIT
from vqnp.kernels.llvm import vector_bytes
from vqnp.kernels.peak import flops, multiply_add
from vqnp.kernels.product import linear, linear_dW, linear_dx
from vqnp.kernels.threads import in_blocks
from vqnp.models.vqvae import VQVAE
from vqnp.ops import conv_forward
from vqnp.training.trainer import Schedule, Trainer

NEAREST = [
    (65536, 64, 512), (4096, 64, 512), (16384, 256, 1024), (65536, 16, 512),
    (32768, 32, 128), (65536, 8, 8192), (200000, 4, 256), (256, 64, 512),
]  # fmt: skip
"""(N, D, K) at which nearest_code is timed: large and small, long vectors and short."""

PRODUCTS = [(32, 784, 512), (1024, 784, 512)]
"""(B, I, O) of the products that are timed: the first layer of an MLP, at a small and a large batch."""

CONVOLUTION = (32, 7, 128)
"""(B, S, C) of the convolution that is timed: 3 × 3, from C channels to C, on images of S × S pixels."""

CHANNELS = 128  # of the convolutional model whose step is timed: those of the published one

BATCHES = (32, 256, 1024)  # images a step at which training is timed
SECONDS = 0.05  # the shortest timing: thousands of the clock's ticks, and many of the scheduler's slices
PEAK = "the FMA peak"

Call = Callable[[], object]


class Row(NamedTuple):
    """One figure: the median seconds of a run, its rate in `unit`, and its share of what `of` names."""

    what: str
    size: str
    threads: int
    seconds: float
    rate: float
    unit: str
    share: float | None = None
    of: str = ""


def measure(threads: int, rounds: int = 7, lasting: float = SECONDS) -> Iterator[Row]:
    """Every figure at NUMBA_NUM_THREADS = threads, here also the limit of NumPy's BLAS.

    rounds: timings of each, of which medians are taken; lasting: how many seconds one timing takes, at least
    """
    with threadpool_limits(threads, user_api="blas"):
        yield from _figures(threads, rounds, lasting)


def _figures(threads: int, rounds: int, lasting: float) -> Iterator[Row]:
    def timed(run: Call, *other: Call) -> tuple[float, float]:
        return in_turn([run, *other], rounds, lasting)

    peak, peak_flops = peak_of(threads)
    rng = np.random.default_rng(0)
    t, _ = timed(peak)
    peak_rate = peak_flops / t
    yield Row("FMA peak", "float32", threads, t, peak_rate / 1e9, "GFLOP/s", 1.0, PEAK)
    for N, D, K in NEAREST:
        z, E = rng.standard_normal((N, D), dtype=np.float32), rng.standard_normal((K, D), dtype=np.float32)
        work, size = 2 * N * D * K, f"N={N} D={D} K={K}"
        t, ratio = timed(lambda: nearest_code(z, E), peak)
        share = ratio * work / peak_flops
        yield Row("nearest_code", size, threads, t, work / t / 1e9, "GFLOP/s", share, PEAK)
    for B, I, O in PRODUCTS:
        x, W = rng.standard_normal((B, I), dtype=np.float32), rng.standard_normal((I, O), dtype=np.float32)
        work, size, b = 2 * B * I * O, f"{B} × {I} × {O}", np.zeros(O, np.float32)
        t, ratio = timed(lambda: linear(x, W, b, relu=True), peak)
        yield Row("product", size, threads, t, work / t / 1e9, "GFLOP/s", ratio * work / peak_flops, PEAK)
    B, S, C = CONVOLUTION
    image, taps = rng.standard_normal((B, S, S, C), dtype=np.float32), rng.random((3, 3, C, C), np.float32)
    work, size, b = 18 * B * S * S * C * C, f"3 × 3, B={B} S={S} C={C}", np.zeros(C, np.float32)
    t, ratio = timed(lambda: conv_forward(image, taps, b, padding=1), peak)
    yield Row("convolution", size, threads, t, work / t / 1e9, "GFLOP/s", ratio * work / peak_flops, PEAK)
    # Not in turn with the peak: OpenBLAS's threads spin for a while after a product, and would slow it down.
    a, b = rng.standard_normal((2, 1024, 1024), dtype=np.float32)
    t, _ = timed(lambda: a @ b)
    rate, size = 2 * 1024**3 / t, "1024 × 1024 × 1024"
    yield Row("NumPy's matrix product", size, threads, t, rate / 1e9, "GFLOP/s", rate / peak_rate, PEAK)
    z, k = rng.standard_normal((65536, 64), dtype=np.float32), rng.integers(0, 512, 65536)
    t, _ = timed(lambda: code_statistics(z, k, 512))
    yield Row("code_statistics", "N=65536 D=64 K=512", threads, t, z.nbytes / t / 1e9, "GB/s read")
    value, grad, m, v = np.full((4, 1 << 20), 1e-3, np.float32)
    t, _ = timed(lambda: adam_step([(value, grad, m, v)], 1, 1e-3, 0.9, 0.999, 1e-8))
    yield Row("Adam's step", "1,048,576 parameters", threads, t, value.size / t / 1e6, "M/s")
    for batch in BATCHES:
        t, ratio = timed(*training(batch))
        of = "its time is matrix products"
        yield Row("training step", f"batch {batch}", threads, t, batch / t, "images/s", ratio, of)
    batch = BATCHES[0]
    t, _ = timed(steps_of(VQVAE.conv(channels=CHANNELS, embedding_dim=16), batch))
    yield Row("convolutional step", f"batch {batch}", threads, t, batch / t, "images/s")


def peak_of(threads: int) -> tuple[Call, float]:
    """A call that runs fused multiply-adds on every thread for about ten milliseconds; its operations."""
    if not JIT:
        fail("vqnp bench", "", "must have compiled kernels", "NUMBA_DISABLE_JIT=1")
    turns, half = 500_000, np.array([0.5], np.float32)

    def work(start: int, stop: int) -> None:
        for _ in range(start, stop):
            multiply_add(half, turns)

    return lambda: in_blocks(work, threads, 1 << 30), threads * flops(turns)


def in_turn(runs: Sequence[Call], rounds: int, lasting: float) -> tuple[float, float]:
    """Median seconds of the first, and the median of (seconds of the last) / (seconds of the first)."""
    for f in runs:
        f()  # which may compile
    calls = [max(1, round(lasting / max(1e-7, _time(f, 1)))) for f in runs]
    times = np.array([[_time(f, n) for f, n in zip(runs, calls, strict=True)] for _ in range(rounds)])
    return float(np.median(times[:, 0])), float(np.median(times[:, -1] / times[:, 0]))


def _time(f: Call, calls: int) -> float:
    """Seconds of one call, the mean of so many."""
    start = time.perf_counter()
    for _ in range(calls):
        f()
    return (time.perf_counter() - start) / calls


def training(batch_size: int) -> tuple[Call, Call]:
    """A training step of an MLP 784-512-256-(16×16), and its matrix products alone."""
    model, rng = VQVAE.mlp(hidden=(512, 256)), np.random.default_rng(0)
    weights = [p.value.copy() for name, p in model.named_parameters() if name.endswith("W")]
    rows = [[rng.standard_normal((batch_size, n), dtype=np.float32) for n in W.shape] for W in weights]

    def products() -> None:
        for i, (W, (x, dy)) in enumerate(zip(weights, rows, strict=True)):
            linear(x, W), linear_dW(x, dy)
            if i:  # the first layer's input needs no gradient
                linear_dx(dy, W)

    return steps_of(model, batch_size), products


def steps_of(model: VQVAE, batch_size: int) -> Call:
    """A training step of the model, on uniform noise."""
    images = np.random.default_rng(0).random((4 * batch_size, 784), dtype=np.float32)
    trainer = Trainer(model, images, Schedule(epochs=1 << 40, batch_size=batch_size))
    trainer.initialize()

    def step() -> None:
        if trainer.step and trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch(None)
        trainer.train_step()

    return step


START = """
import numpy as np, vqnp
from vqnp.training.trainer import Schedule, Trainer
trainer = Trainer(vqnp.VQVAE.mlp(), vqnp.load_dataset("digits").images, Schedule())
trainer.initialize()
trainer.train_step()
"""


def start_up() -> list[Row]:
    """Seconds from the start of Python to the end of the first step, with an empty and a full cache."""
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for what in ("cold cache", "warm cache"):
            env = {**os.environ, "NUMBA_CACHE_DIR": cache}
            t = _time(lambda: subprocess.run([sys.executable, "-c", START], env=env, check=True), 1)
            rows.append(Row("start to first step", what, 0, t, t, "s"))
    return rows


def in_process(threads: int, rounds: int) -> list[Row]:
    """measure() in a process of its own, since numba reads NUMBA_NUM_THREADS when it is imported."""
    call = f"import json, vqnp.bench.measure as b; print(json.dumps(list(b.measure({threads}, {rounds}))))"
    env = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
    output = subprocess.check_output([sys.executable, "-c", call], env=env, text=True)
    return [Row(*row) for row in json.loads(output)]


def machine() -> dict[str, Any]:
    """The processor, its cores and vectors, the versions of the libraries, and the BLAS that NumPy uses."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "vector_bits": 8 * vector_bytes(),
        "vqnp": __version__, "numpy": np.__version__, "numba": numba.__version__,
        "python": sys.version.split()[0],
        "blas": blas(), "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "unset"),
    }  # fmt: skip


def blas() -> str:
    """The library of NumPy's matrix products and the processor that its kernels are for; "unknown" if none.

    threadpoolctl knows OpenBLAS, MKL, BLIS and FlexiBLAS. Any other is unknown, its threads are not limited.
    """
    fields = ("internal_api", "version", "architecture")
    libraries = (info for info in threadpool_info() if info["user_api"] == "blas")
    names = [" ".join(str(info[f]) for f in fields if info.get(f)) for info in libraries]
    return ", ".join(dict.fromkeys(names)) or "unknown"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
