"""The quantizer: the paper's equations entry by entry, and the estimator with every stop-gradient frozen."""

from functools import partial

import numpy as np
import oracles
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import KINDS, TAME, at_most, quantizer_inputs, seeds

from vqnp import ops
from vqnp._check import NonFiniteError
from vqnp.gradcheck import gradcheck, surrogate_check
from vqnp.ops.loss import REDUCTIONS

variants = st.fixed_dictionaries(
    {
        "beta": st.floats(0, 4),
        "codebook_loss": st.booleans(),
        "reduction": st.sampled_from(REDUCTIONS),
    }
)


@given(quantizer_inputs(kinds=(*TAME, "signed zeros")), variants, seeds, st.floats(-3, 3))
def test_it_is_the_oracle(inputs, variant, seed, dL):
    z, E = inputs
    dz_q = np.random.default_rng(seed).standard_normal(z.shape).astype(z.dtype)
    before = z.tobytes(), E.tobytes(), dz_q.tobytes()
    z_q, codebook, commitment, k, cache = ops.quantize_forward(z, E, **variant)
    dz, dE = ops.quantize_backward(dz_q, dL, cache)
    their_z_q, their_codebook, their_commitment, their_k = oracles.quantize(z, E, **variant)
    assert {a.dtype for a in (z_q, codebook, commitment, dz, dE)} == {z.dtype}
    assert codebook.shape == commitment.shape == ()
    np.testing.assert_array_equal(k, their_k)
    np.testing.assert_array_equal(z_q, their_z_q)
    # Where z and e cancel, the error is that of what cancelled.
    size = max(1, variant["beta"])
    magnitude = size * max(np.abs(z).max(initial=0), np.abs(E).max(initial=0), 1)
    oracles.close(codebook, their_codebook)
    oracles.close(commitment, their_commitment)
    their_dz, their_dE = oracles.quantize_gradients(dz_q, dL, z, E, k, **variant)
    oracles.close(dz, their_dz, abs(dL) * magnitude)
    oracles.close(dE, their_dE, abs(dL) * magnitude * max(len(z), 1))
    assert (z.tobytes(), E.tobytes(), dz_q.tobytes()) == before


@given(quantizer_inputs(kinds=TAME), variants)
def test_the_two_losses_are_one_mean_and_beta_times_it(inputs, variant):
    """And the codebook loss is 0 for a codebook that follows by EMA, the commitment loss the same."""
    z, E = inputs
    _, codebook, commitment, *_ = ops.quantize_forward(z, E, **{**variant, "codebook_loss": True})
    _, none, same, *_ = ops.quantize_forward(z, E, **{**variant, "codebook_loss": False})
    assert none == 0 and none.shape == () and none.dtype == z.dtype and same == commitment
    oracles.close(commitment, variant["beta"] * float(codebook))
    assert ops.quantize_forward(z, E, **{**variant, "beta": 0.0})[2] == 0


@given(quantizer_inputs(min_n=1), variants)
def test_every_kind_of_array_is_quantized_to_the_bit(inputs, variant):
    """z_q is E[k], not z + (E[k] − z), which rounds."""
    z, E = inputs
    with np.errstate(over="ignore", invalid="ignore"):  # float32's squares of 1e30; the loss is infinite
        z_q, *_, k, _ = ops.quantize_forward(z, E, **variant)
    np.testing.assert_array_equal(k, oracles.nearest(z, E))
    assert z_q.tobytes() == E[k].tobytes()


@given(quantizer_inputs(kinds=tuple(set(KINDS) - {"subnormal"})))
def test_quantizing_twice_is_quantizing_once(inputs):
    z, E = inputs
    with np.errstate(over="ignore"):
        z_q, *_, k, _ = ops.quantize_forward(z, E)
    again, codebook, commitment, k_again, cache = ops.quantize_forward(z_q, E)
    np.testing.assert_array_equal(k_again, k)
    np.testing.assert_array_equal(again, z_q)
    dz, dE = ops.quantize_backward(np.ones_like(z_q), 1.0, cache)
    assert codebook == commitment == 0 and (dz == 1).all() and not dE.any()


@given(quantizer_inputs(kinds=("normal",), min_n=1), variants, seeds)
def test_permuting_the_codebook_permutes_codes_and_gradient(inputs, variant, seed):
    z, E = inputs
    order = np.random.default_rng(seed).permutation(len(E))
    z_q, *losses, k, cache = ops.quantize_forward(z, E, **variant)
    moved_z_q, *moved_losses, moved_k, moved_cache = ops.quantize_forward(z, E[order], **variant)
    np.testing.assert_array_equal(order[moved_k], k)
    np.testing.assert_array_equal(moved_z_q, z_q)
    assert moved_losses == losses
    dE, moved_dE = (ops.quantize_backward(np.zeros_like(z), 1.0, c)[1] for c in (cache, moved_cache))
    np.testing.assert_array_equal(moved_dE, dE[order])


# The estimator, each stop-gradient frozen.


def freeze(z0, E0, beta, codebook_loss, reduction, terms=("codebook", "commitment")):
    """Equation 3 with every sg at its value at (z0, E0): written from the paper, not from the code.

    Only the losses in terms move; another has the value that it has at (z0, E0).
    """
    k = oracles.nearest(z0, E0)
    z0, e0 = z0.copy(), E0[k]
    size = oracles.count(z0.shape, reduction)

    def surrogate(z, E):
        e, at = (E[k], z) if "codebook" in terms else (e0, z)
        at = at if "commitment" in terms else z0
        L = beta * np.sum((at - e0) ** 2) / size
        if codebook_loss:
            L = L + np.sum((z0 - e) ** 2) / size
        return z + (e0 - z0), np.asarray(L)

    return surrogate


def with_one_loss(variant):
    """quantize_forward with L = codebook + commitment, whose gradient dL is."""

    def forward(z, E):
        z_q, codebook, commitment, k, cache = ops.quantize_forward(z, E, **variant)
        return z_q, np.asarray(codebook + commitment), k, cache

    return forward


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("codebook_loss", [True, False])
@given(seed=seeds, N=st.integers(1, 6), K=st.integers(1, 5), D=st.integers(1, 4), beta=st.floats(0, 4))
@at_most(20)
def test_the_declared_estimator(reduction, codebook_loss, seed, N, K, D, beta):
    """Worst relative error 1e-7, for z and for E."""
    r = np.random.default_rng(seed)
    variant = {"beta": beta, "codebook_loss": codebook_loss, "reduction": reduction}
    z, E = r.standard_normal((N, D)), r.standard_normal((K, D))
    pair = with_one_loss(variant), ops.quantize_backward
    report = surrogate_check(*pair, partial(freeze, **variant), z, E, rng=r)
    assert len(report.rows) == 2
    report.raise_if_failed()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("term", "argument"), [("codebook", "E"), ("commitment", "z")])
def test_each_loss_moves_its_own_argument_alone(term, argument, reduction, rng):
    """The codebook loss moves e, the commitment loss z: with one frozen, its argument's gradient is missed.

    z's other gradient, dz_q, is set to 0 by the cotangents.
    """
    variant = {"beta": 0.3, "codebook_loss": True, "reduction": reduction}
    z, E = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))
    pair, cotangents = (with_one_loss(variant), ops.quantize_backward), [np.zeros((5, 3)), 1.0]
    report = surrogate_check(
        *pair, partial(freeze, **variant, terms=(term,)), z, E, rng=rng, cotangents=cotangents
    )
    right = {row.argument for row in report.rows if row.error <= report.rtol}
    assert right == {argument}
    wrong = next(row for row in report.rows if row.argument != argument)
    assert wrong.numeric == pytest.approx(0, abs=1e-9) and abs(wrong.analytic) > 1e-3


@pytest.mark.parametrize("beta", [0.25, 4.0])
def test_beta_on_the_codebook_loss_is_another_estimator_though_every_value_of_the_loss_agrees(beta, rng):
    """The check sees what no loss curve shows."""
    z, E = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))
    forward = with_one_loss({"beta": beta, "codebook_loss": True, "reduction": "mean"})

    def misplaced(z0, E0):
        k = oracles.nearest(z0, E0)
        z0, e0 = z0.copy(), E0[k]
        return lambda z, E: (
            z + (e0 - z0),
            np.asarray(np.mean((z - e0) ** 2) + beta * np.mean((z0 - E[k]) ** 2)),
        )

    np.testing.assert_allclose(misplaced(z, E)(z, E)[1], forward(z, E)[1], rtol=1e-13)
    report = surrogate_check(forward, ops.quantize_backward, misplaced, z, E, rng=rng)
    assert [row.error > 0.05 for row in report.rows] == [True, True]


def test_straight_through_is_not_the_derivative_of_the_forward_pass(rng):
    """By z that is 0 almost everywhere: so gradcheck must refuse dz = dz_q, and would accept 0."""
    z, E = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))
    alone = with_one_loss({"beta": 0.0, "codebook_loss": False})  # z_q, and a loss that is 0

    def ours(dz_q, dL, cache):
        return (ops.quantize_backward(dz_q, dL, cache)[0],)

    def zero(dz_q, dL, cache):
        return (0 * dz_q,)

    assert not gradcheck(alone, ours, z, E, argnums=(0,), rng=rng).ok
    assert gradcheck(alone, zero, z, E, argnums=(0,), rng=rng).ok


@given(quantizer_inputs(kinds=TAME), variants, seeds)
def test_who_gets_which_gradient(inputs, variant, seed):
    """Straight-through copies dz_q to z and gives none to E; E has gradients at codes in use alone."""
    z, E = inputs
    dz_q = np.random.default_rng(seed).standard_normal(z.shape).astype(z.dtype)
    *_, k, cache = ops.quantize_forward(z, E, **variant)
    dz, dE = ops.quantize_backward(dz_q, 0.0, cache)
    np.testing.assert_array_equal(dz, dz_q)
    assert not dE.any()
    dE = ops.quantize_backward(dz_q, 1.0, cache)[1]
    assert not dE[np.setdiff1d(np.arange(len(E)), k)].any()
    if not variant["codebook_loss"]:
        assert not dE.any()


def test_at_beta_a_quarter_the_encoder_gets_a_quarter_of_what_the_codes_get(rng):
    z, E = rng.standard_normal((1, 3)), rng.standard_normal((1, 3))
    dz, dE = ops.quantize_backward(np.zeros((1, 3)), 1.0, ops.quantize_forward(z, E)[-1])
    np.testing.assert_allclose(dz, -0.25 * dE, rtol=1e-13)
    np.testing.assert_allclose(dE, 2 / 3 * (E - z), rtol=1e-13)
    np.testing.assert_allclose(dz, 0.25 * 2 / 3 * (z - E), rtol=1e-13)


@given(quantizer_inputs(kinds=("normal", "duplicates"), dtypes=st.just(np.float64), min_n=1), variants)
@at_most(50)
def test_four_copies_of_a_batch(inputs, variant):
    """"sum" grows fourfold, losses and gradient; the means do not change."""
    z, E = inputs
    factor = 4 if variant["reduction"] == "sum" else 1
    _, *losses, _, cache = ops.quantize_forward(z, E, **variant)
    _, *four_losses, _, four_cache = ops.quantize_forward(np.tile(z, (4, 1)), E, **variant)
    dE = ops.quantize_backward(np.zeros_like(z), 1.0, cache)[1]
    four_dE = ops.quantize_backward(np.zeros((4 * len(z), z.shape[1])), 1.0, four_cache)[1]
    for four_L, L in zip(four_losses, losses, strict=True):
        oracles.close(four_L, factor * L, abs(L) + 1e-300)
    oracles.close(four_dE, factor * dE, 10.0 * factor)


@given(quantizer_inputs(), st.data())
@at_most(50)
def test_codes_can_be_given(inputs, data):
    z, E = inputs
    k = np.random.default_rng(data.draw(seeds)).integers(0, len(E), len(z))
    with np.errstate(over="ignore"):
        z_q, *losses, same, _ = ops.quantize_forward(z, E, k)
        _, *least, nearest, _ = ops.quantize_forward(z, E)
        _, *given_back, _, _ = ops.quantize_forward(z, E, nearest)
    assert z_q.tobytes() == E[k].tobytes() and same is k
    for L, low, again in zip(losses, least, given_back, strict=True):
        assert again.tobytes() == low.tobytes()
        assert L >= low * (1 - 1e-5)  # any other codes are farther


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (3,), (2, 4, 3)])
def test_shapes_empty_ones_included(rng, dtype, shape):
    z, E = rng.standard_normal(shape).astype(dtype), rng.standard_normal((5, 3)).astype(dtype)
    z_q, *losses, k, cache = ops.quantize_forward(z, E)
    dz, dE = ops.quantize_backward(np.ones_like(z), 1.0, cache)
    assert z_q.shape == dz.shape == shape and k.shape == shape[:-1] and dE.shape == E.shape
    assert {a.dtype for a in (z_q, *losses, dz, dE)} == {np.dtype(dtype)} and k.dtype == np.int64
    if z.size == 0:
        assert losses == [0, 0] and not dE.any()


Z, E = np.zeros((2, 3)), np.zeros((4, 3))
K = np.zeros(2, int)


@pytest.mark.parametrize(
    ("call", "argument", "needed", "got"),
    [
        (lambda: ops.quantize_forward(Z[:, :2], E), "z", "must have shape (..., 3)", "shape (2, 2)"),
        (lambda: ops.quantize_forward(Z, E[0]), "E", "must have shape (K, D)", "shape (3,)"),
        (lambda: ops.quantize_forward(Z, E.astype("f")), "z", "must be float32", "float64"),
        (lambda: ops.quantize_forward(Z.tolist(), E), "z", "must be a NumPy array", "list"),
        (lambda: ops.quantize_forward(Z, E, beta=-1), "beta", "must be in [0, inf)", "-1.0"),
        (lambda: ops.quantize_forward(Z, E, beta=np.inf), "beta", "must be in [0, inf)", "inf"),
        (lambda: ops.quantize_forward(Z, E, beta=np.nan), "beta", "must be in [0, inf)", "nan"),
        (lambda: ops.quantize_forward(Z, E, beta="1"), "beta", "must be a number in [0, inf)", "'1'"),
        (lambda: ops.quantize_forward(Z, E, reduction="all"), "reduction", "must be one of 'mean', 'mean_of_sums', 'sum'", "'all'"),  # noqa: E501
        (lambda: ops.quantize_forward(Z, E, K + 4), "k", "must be in [0, 4)", "4 at index 0"),
        (lambda: ops.quantize_forward(Z, E, K - 1), "k", "must be in [0, 4)", "-1 at index 0"),
        (lambda: ops.quantize_forward(Z, E, K * 1.0), "k", "must be integers", "float64"),
        (lambda: ops.quantize_forward(Z, E, K[:1]), "k", "must have shape (2,)", "shape (1,)"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, argument, needed, got):
    with refused(argument, needed, got, where="quantize_forward"):
        call()


def test_nearest_code_refuses_numbers_that_are_not_finite_and_a_codebook_of_no_codes():
    for z, codes, name in ((Z + np.nan, E, "z"), (Z, E + np.nan, "E")):
        with refused(name, "must be finite", "nan at index (0, 0)", where="nearest_code", error=NonFiniteError):  # noqa: E501
            ops.quantize_forward(z, codes)
    with refused("E", "must have at least one code", "shape (0, 3)", where="nearest_code"):
        ops.quantize_forward(Z, E[:0])


def test_a_bad_cotangent_is_refused():
    cache = ops.quantize_forward(Z, E)[-1]
    with refused("dz_q", "must have shape (2, 3)", "shape (1, 3)", where="quantize_backward"):
        ops.quantize_backward(Z[:1], 1.0, cache)
    with refused("dz_q", "must be float64", "float32", where="quantize_backward"):
        ops.quantize_backward(Z.astype(np.float32), 1.0, cache)
