"""vqnp bench: it measures what it names, its table and figure show that, and wrong options are refused."""

import json

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from vqnp.bench import measure as bench
from vqnp.bench import report as bench_report
from vqnp.bench.measure import Row
from vqnp.cli import main
from vqnp.kernels import peak
from vqnp.kernels.jit import JIT
from vqnp.kernels.llvm import vector_bytes

needs_kernels = pytest.mark.skipif(not JIT, reason="NUMBA_DISABLE_JIT=1: there is nothing to measure")
ABOUT = {"processor": "a processor", "cores": 2, "vector_bits": 256, "blas": "a BLAS 1.0"}
ABOUT["OPENBLAS_CORETYPE"] = "unset"
ABOUT |= dict.fromkeys(("vqnp", "numpy", "numba", "python"), "1.0")


def rows(product=0.9, threads=(1, 2)):
    of = "the FMA peak"
    return [
        row
        for t in threads
        for row in (
            Row("FMA peak", "float32", t, 1e-3, 100.0 * t, "GFLOP/s", 1.0, of),
            Row("nearest_code", "N=8 D=4 K=2", t, 2e-6, 80.0 * t, "GFLOP/s", 0.8, of),
            Row("NumPy's matrix product", "8 × 8 × 8", t, 2e-3, 90.0 * t, "GFLOP/s", product, of),
            Row("training step", "batch 32", t, 3.0, 1234.0, "images/s", 0.75, "its time is matrix products"),
        )
    ] + [Row("start to first step", "warm cache", 0, 1.5, 1.5, "s", None, "")]


@needs_kernels
def test_every_figure_is_there_and_possible(monkeypatch):
    monkeypatch.setattr(bench, "NEAREST", [(64, 4, 8)])
    monkeypatch.setattr(bench, "BATCHES", (2,))
    monkeypatch.setattr(bench, "PRODUCTS", [(2, 20, 12)])
    monkeypatch.setattr(bench, "CONVOLUTION", (2, 5, 4))
    monkeypatch.setattr(bench, "CHANNELS", 8)
    found = list(bench.measure(1, rounds=3, lasting=1e-3))
    names = [row.what for row in found]
    assert names[0] == "FMA peak" and found[0].share == 1
    assert names[1:] == [
        "nearest_code", "product", "convolution", "NumPy's matrix product", "code_statistics", "Adam's step",
        "training step", "convolutional step",
    ]  # fmt: skip
    for row in found:
        assert row.seconds > 0 and row.rate > 0 and row.threads == 1
    nearest = found[1]
    assert nearest.rate == pytest.approx(2 * 64 * 4 * 8 / nearest.seconds / 1e9)
    product, convolution = found[2:4]
    assert product.rate == pytest.approx(2 * 2 * 20 * 12 / product.seconds / 1e9)
    assert convolution.rate == pytest.approx(2 * 2 * 25 * 9 * 4 * 4 / convolution.seconds / 1e9)
    assert all(0 < row.share < 1 for row in found[1:4])


@needs_kernels
def test_the_peak_kernel_does_the_multiplications_that_are_counted():
    """a ← x a + x with x = 1 for a_i = i, n times: chain i ends at i + n."""
    n, lanes, one = 1000, vector_bytes() // 4, np.ones(1, np.float32)
    expected = sum(i + n for i in range(peak.CHAINS))
    assert peak.multiply_add_plain(one, n) == expected
    assert peak.multiply_add(one, n) == expected
    assert peak._run_loop(one, n, lanes) == expected
    assert peak.flops(n) == 2 * n * peak.CHAINS * lanes


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2])
def test_matrix_products_are_timed_on_the_stated_number_of_threads(monkeypatch, threads):
    """Whatever the limit was before, set by environment variables or, as here, in the process."""
    known = [info for info in threadpool_info() if info["user_api"] == "blas"]
    if not known:
        pytest.skip("threadpoolctl does not know this BLAS")

    def figures(*_):
        yield [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]

    monkeypatch.setattr(bench, "_figures", figures)
    with threadpool_limits(3 - threads, user_api="blas"):
        assert list(bench.measure(threads)) == [[threads] * len(known)]
    assert known[0]["internal_api"] in bench.blas()


@needs_kernels
def test_the_training_step_and_its_products_do_the_same_products():
    step, products = bench.training(4)
    for _ in range(9):  # over the ends of epochs
        step()
    products()


def test_the_table_has_every_row_and_the_machine():
    text = bench_report.table(rows(), ABOUT)
    assert text.startswith("a processor, 2 cores, vectors of 256 bits")
    for part in ("| 80% of the FMA peak |", "| 2 µs |", "| 2 ms |", "| 3 s |", "| 1.5 s |", "1,234 images/s"):
        assert part in text
    assert "| 75% of its time is matrix products |" in text
    assert "NumPy's matrix products by a BLAS 1.0, OPENBLAS_CORETYPE unset" in text
    assert "OPENBLAS_CORETYPE to" not in text and "threadpoolctl" not in text
    assert "its number of threads was not limited" in bench_report.table(rows(), {**ABOUT, "blas": "unknown"})


@pytest.mark.parametrize(("core", "cure"), [("unset", "set OPENBLAS_CORETYPE"), ("Haswell", "unset it")])
def test_slow_matrix_products_get_advice(core, cure):
    text = bench_report.table(rows(product=0.45), {**ABOUT, "OPENBLAS_CORETYPE": core})
    assert "reach 45% of what this processor can do" in text and cure in text


def test_the_figure_has_a_bar_for_each_computation_and_number_of_threads():
    figure = bench_report.bench_figure(rows(), ABOUT)
    axes = figure.axes[0]
    assert sorted(round(bar.get_width()) for bar in axes.patches) == [80, 80, 90, 90]
    assert "%" in axes.get_xlabel()


@pytest.mark.slow
@needs_kernels
def test_the_command_prints_a_table_and_writes_both_files(tmp_path, capsys):
    assert main(["bench", "--threads", "1", "--rounds", "1", "--out", str(tmp_path / "new" / "b")]) == 0
    out = capsys.readouterr().out
    assert "| FMA peak |" in out and "| start to first step | cold cache |" in out
    saved = json.loads((tmp_path / "new" / "b" / "bench.json").read_text())
    assert saved["machine"]["cores"] >= 1 and len(saved["rows"]) == out.count("\n| ") - 1
    assert (tmp_path / "new" / "b" / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rounds", "0"], "--rounds: N must be an integer of at least 1; got 0"),
        (["--threads", "0"], "--threads: T must be an integer in [1, "),
        (["--threads", "1", "9999"], "; got 9999"),
    ],
)
def test_wrong_options_are_refused(arguments, sentence, tmp_path, capsys):
    assert main(["bench", *arguments, "--out", str(tmp_path / "b")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
