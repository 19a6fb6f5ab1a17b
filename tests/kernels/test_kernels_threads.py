"""Bits do not depend on NUMBA_NUM_THREADS, nor on whether kernels are compiled at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib
import numpy as np
from vqnp import EMAVectorQuantizer, VQVAE, code_statistics, nearest_code
from vqnp.kernels import nearest
from vqnp.kernels.adam import adam_step
r = np.random.default_rng(0)
digest = hashlib.sha256()
for dtype in (np.float32, np.float64):
    z = (r.integers(-3, 4, (1000, 5)) + 1000).astype(dtype)
    E = (r.integers(-3, 4, (40, 5)) + 1000).astype(dtype)
    nearest.PARALLEL_FROM = 1 << 62
    k = nearest_code(z, E)
    nearest.PARALLEL_FROM = 0
    assert np.array_equal(nearest_code(z, E), k)
    digest.update(k.tobytes())
    for a in code_statistics(z + dtype(0.1), k, 40):
        digest.update(a.tobytes())
    value, grad, m, v = (r.random((4, 500)) + 0.1).astype(dtype)
    adam_step(value, grad, m, v, 3, 1e-3, 0.9, 0.999, 1e-8)
    digest.update(value.tobytes() + m.tobytes() + v.tobytes())
    vq = EMAVectorQuantizer(40, 5, codebook_init="kmeans", rng=1, dtype=dtype)
    vq.start_from(z, 2)
    vq.update(z, vq.encode(z), 3, 0.1)
    for a in vq.state().values():
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


@pytest.mark.parametrize("environment", [{"NUMBA_NUM_THREADS": "2"}, {"NUMBA_DISABLE_JIT": "1"}])
def test_the_same_bits(one_thread, environment):
    assert digest(**environment) == one_thread
