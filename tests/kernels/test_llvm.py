"""Where numba's private API has changed, results stay the same, and each kernel concerned warns once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vqnp.kernels.jit import JIT

pytestmark = pytest.mark.skipif(not JIT, reason="NUMBA_DISABLE_JIT=1: only the plain form runs")

PROGRAM = """
import warnings
import numba, numpy as np
from vqnp.kernels import llvm

{change}

from vqnp.kernels import code_statistics, nearest_code
from vqnp.kernels.nearest import nearest_code_plain
from vqnp.kernels.peak import CHAINS, multiply_add, multiply_add_plain
from vqnp.kernels.statistics import code_statistics_plain
r = np.random.default_rng(0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    undecided = 0
    for dtype in (np.float32, np.float64):
        for N, K, D in ((200, 70, 40), (77, 13, 3), (200, 70, 40)):
            z, E = (r.integers(-2, 3, s).astype(dtype) for s in ((N, D), (K, D)))
            z[::2] += r.standard_normal(z[::2].shape).astype(dtype)
            k, rescored = nearest_code(z, E, return_rescored=True)
            undecided += N - rescored
            np.testing.assert_array_equal(k, nearest_code_plain(z, E))
            for ours, plain in zip(code_statistics(z, k, K), code_statistics_plain(z, k, K)):
                np.testing.assert_array_equal(ours, plain)
    one = np.ones(1, np.float32)
    assert multiply_add(one, 100) == multiply_add_plain(one, 100) == sum(i + 100 for i in range(CHAINS))
    from vqnp.kernels.product import linear, linear_dW
    x, W = r.standard_normal((9, 20)), r.standard_normal((20, 5))
    np.testing.assert_allclose(linear(x, W), x @ W, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(linear_dW(x, x[:, :3]), x.T @ x[:, :3], rtol=1e-12, atol=1e-12)
print(llvm.vector_bytes(), undecided)
for warning in caught:
    if warning.category is RuntimeWarning:  # numba's own warnings are of other categories
        print(warning.message)
"""

CHANGES = {
    "no method": """
def broken(*args):
    raise AttributeError("make_array")
llvm.VectorBuilder.__init__ = broken
""",
    "no registry": """
import types
llvm.numba = types.SimpleNamespace(__version__=numba.__version__, types=numba.types)
""",
}


def run(change, folder):
    """(width, rows certified, RuntimeWarnings); with an empty cache, so that everything is compiled anew."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder)}
    program = PROGRAM.format(change=CHANGES[change])
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    numbers, *messages = done.stdout.splitlines()
    width, certified = map(int, numbers.split())
    return width, certified, messages


@pytest.mark.slow
def test_a_tile_that_does_not_compile_is_replaced_by_the_direct_sums(tmp_path):
    _, certified, warned = run("no method", tmp_path)
    assert certified == 0
    kernels = ["nearest_code", "vqnp's threads", "vqnp bench", "vqnp's products"]
    for message, kernel in zip(warned, kernels, strict=True):
        assert message.startswith(f"{kernel}: the vector code does not compile with numba ")
        assert message.endswith(", so slower code with the same results is used")


@pytest.mark.slow
def test_an_unknown_width_is_taken_as_16_bytes(tmp_path):
    width, certified, warned = run("no registry", tmp_path)
    assert width == 16 and certified > 0
    (message,) = warned
    assert "the width of the processor's vectors is unknown" in message
