"""vqnp bench: its figures are of what it says, its table and picture show them, and rubbish is refused."""

import json

import numpy as np
import pytest

from vqnp.bench import measure as bench
from vqnp.bench import report as bench_report
from vqnp.bench.measure import Row
from vqnp.cli.main import main
from vqnp.kernels.jit import JIT

needs_kernels = pytest.mark.skipif(not JIT, reason="NUMBA_DISABLE_JIT=1: there is nothing to measure")
ABOUT = {"processor": "a processor", "cores": 2, "vector_bits": 256, "OPENBLAS_CORETYPE": "unset"}
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
    found = list(bench.measure(1, rounds=3, lasting=1e-3))
    names = [row.what for row in found]
    assert names[0] == "FMA peak" and found[0].share == 1
    assert names[1:] == [
        "nearest_code", "NumPy's matrix product", "code_statistics", "Adam's step", "training step"
    ]  # fmt: skip
    for row in found:
        assert row.seconds > 0 and row.rate > 0 and row.threads == 1
    nearest = found[1]
    assert nearest.rate == pytest.approx(2 * 64 * 4 * 8 / nearest.seconds / 1e9)
    assert 0 < nearest.share < 1


@needs_kernels
def test_the_peak_kernel_does_the_multiplications_that_are_counted():
    """a ← x a + x with x = 1 for a_i = i, n times: each lane of chain i ends at i + n."""
    from vqnp.kernels.peak import CHAINS, flops, multiply_add

    n = 1000
    one = np.ones(1, np.float32)
    assert multiply_add(one, n) == sum(i + n for i in range(CHAINS))
    assert flops(n) == 2 * n * CHAINS * bench_lanes()


def bench_lanes():
    from vqnp.kernels.tile import vector_bytes

    return vector_bytes() // 4


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
    assert "OPENBLAS_CORETYPE to" not in text


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
def test_rubbish_is_refused(arguments, sentence, tmp_path, capsys):
    assert main(["bench", *arguments, "--out", str(tmp_path / "b")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
