"""Residual quantization: its equations by loops, its laws, its gradient with every stop-gradient frozen."""

import numpy as np
import oracles
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, seeds

from vqnp import ops
from vqnp.gradcheck import surrogate_check
from vqnp.ops.loss import REDUCTIONS

variants = st.fixed_dictionaries(
    {"beta": st.floats(0, 4), "codebook_loss": st.booleans(), "reduction": st.sampled_from(REDUCTIONS)}
)
sizes = {"N": st.integers(0, 8), "n": st.integers(1, 4), "K": st.integers(1, 5), "D": st.integers(1, 4)}


def drawn(seed, N, n, K, D, shared, dropped, dtype=np.float64):
    r = np.random.default_rng(seed)
    z = r.standard_normal((N, D)).astype(dtype)
    E = r.standard_normal((1 if shared else n, K, D)).astype(dtype)
    return z, E, r.integers(1, n + 1, N) if dropped else None


@given(seed=seeds, **sizes, shared=st.booleans(), dropped=st.booleans(), dtype=dtypes, variant=variants)
def test_it_is_the_oracle(seed, N, n, K, D, shared, dropped, dtype, variant):
    z, E, used = drawn(seed, N, n, K, D, shared, dropped, dtype)
    dz_q = np.random.default_rng(seed).standard_normal(z.shape).astype(dtype)
    z_q, codebook, commitment, k, cache = ops.residual_quantize_forward(z, E, n, used, **variant)
    dz, dE = ops.residual_quantize_backward(dz_q, 1.5, cache)
    theirs = oracles.residual_quantize(z, E, n, used, dz_q, 1.5, **variant)
    assert {a.dtype for a in (z_q, codebook, commitment, dz, dE)} == {np.dtype(dtype)}
    np.testing.assert_array_equal(k, theirs["k"])
    size = 20 * max(1, variant["beta"]) * max(N, 1)
    for name, ours in (("z_q", z_q), ("codebook", codebook), ("commitment", commitment)):
        oracles.close(ours, theirs[name], n)
    for name, ours in (("dz", dz), ("dE", dE)):
        oracles.close(ours, theirs[name], size)


@given(seeds, st.integers(1, 9), st.integers(1, 5), st.integers(1, 3))
def test_one_depth_is_the_quantizer(seed, N, K, D):
    z, E, _ = drawn(seed, N, 1, K, D, True, False)
    *ours, k, cache = ops.residual_quantize_forward(z, E, 1)
    *theirs, j, other = ops.quantize_forward(z, E[0])
    np.testing.assert_array_equal(k[..., 0], j)
    np.testing.assert_array_equal(ours[0], theirs[0])
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        oracles.close(a, b)  # squares that are summed in another order
    dz, dE = ops.residual_quantize_backward(np.ones_like(z), 1.0, cache)
    their_dz, their_dE = ops.quantize_backward(np.ones_like(z), 1.0, other)
    np.testing.assert_array_equal(dz, their_dz)
    np.testing.assert_array_equal(dE[0], their_dE)


@given(seeds, st.integers(1, 9), st.integers(2, 4), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_with_a_code_at_zero_no_depth_makes_the_error_larger(seed, N, n, K, D, shared):
    z, E, _ = drawn(seed, N, n, K, D, shared, False)
    E[:, 0] = 0
    errors = [((z - ops.residual_quantize_forward(z, E[:m] if not shared else E, m)[0]) ** 2).sum(axis=-1)
              for m in range(1, n + 1)]  # fmt: skip
    assert all((b <= a + 1e-12).all() for a, b in zip(errors, errors[1:], strict=False))


def test_the_jacobian_is_one_identity_whatever_the_depth(rng):
    for n in (1, 2, 5):
        z, E = rng.standard_normal((6, 3)), rng.standard_normal((n, 4, 3))
        *_, cache = ops.residual_quantize_forward(z, E, n)
        dz_q = rng.standard_normal((6, 3))
        np.testing.assert_array_equal(ops.residual_quantize_backward(dz_q, 0.0, cache)[0], dz_q)


def test_every_depth_has_a_commitment_gradient(rng):
    """Of the mean over depths, the error that each depth leaves pulls z."""
    z, E = rng.standard_normal((6, 3)), rng.standard_normal((3, 4, 3))
    z_q, _, _, k, cache = ops.residual_quantize_forward(z, E, 3, beta=1.0, reduction="sum")
    dz, _ = ops.residual_quantize_backward(np.zeros_like(z), 1.0, cache)
    partial = np.cumsum([E[i][k[:, i]] for i in range(3)], axis=0)
    np.testing.assert_allclose(dz, 2 / 3 * (z - partial).sum(axis=0), rtol=1e-12)


def freeze(z0, E0, n, used, beta, codebook_loss, reduction):
    """The losses with every sg at its value at (z0, E0), written from the paper."""
    C, size = len(E0), n * oracles.count(z0.shape, reduction)
    r, partial, kept = z0.copy(), np.zeros_like(z0), []
    for i in range(n):
        has = (np.ones(len(z0), bool) if used is None else used > i)[:, None]
        j = oracles.nearest(r, E0[i % C])
        kept.append((r, j, has, partial + E0[i % C][j]))
        r, partial = r - has * E0[i % C][j], partial + has * E0[i % C][j]

    def surrogate(z, E):
        L = sum(beta * (has * (z - total) ** 2).sum() / size for _, _, has, total in kept)
        if codebook_loss:
            L = L + sum((has * (r - E[i % C][j]) ** 2).sum() / size for i, (r, j, has, _) in enumerate(kept))
        return z + (partial - z0), np.asarray(L)

    return surrogate


@given(seed=seeds, n=st.integers(1, 3), shared=st.booleans(), dropped=st.booleans(), variant=variants)
@at_most(20)
def test_the_declared_estimator(seed, n, shared, dropped, variant):
    z, E, used = drawn(seed, 5, n, 4, 3, shared, dropped)

    def forward(z, E):
        z_q, codebook, commitment, k, cache = ops.residual_quantize_forward(z, E, n, used, **variant)
        return z_q, np.asarray(codebook + commitment), k, cache

    frozen = lambda z, E: freeze(z, E, n, used, **variant)
    surrogate_check(forward, ops.residual_quantize_backward, frozen, z, E, rng=seed).raise_if_failed()


def test_wrong_arguments(rng):
    z, E = rng.standard_normal((5, 3)), rng.standard_normal((2, 4, 3))
    with refused("E", "must hold 1 codebook or 3", "2", where="residual_quantize_forward"):
        ops.residual_quantize_forward(z, E, 3)
    with refused("depth", "at least 1"):
        ops.residual_quantize_forward(z, E, 0)
    wrong = (np.zeros(5, int), "[1, 2]"), (np.full(5, 3), "[1, 2]"), (np.ones(4, int), "shape (5,)")
    for used, needed in wrong:
        with refused("used", needed):
            ops.residual_quantize_forward(z, E, 2, used)
