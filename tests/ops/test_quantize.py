"""The quantizer: the paper's equations entry by entry, and the estimator with every stop-gradient frozen."""

from functools import partial

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import KINDS, TAME, quantizer_inputs, seeds

from vqnp import InputError, gradcheck, ops, surrogate_check
from vqnp.gradcheck.checks import GradcheckError
from vqnp.ops.loss import REDUCTIONS
from vqnp.ops.quantize import BETA_PLACEMENTS, loss_weights

variants = st.fixed_dictionaries(
    {
        "beta": st.floats(0, 4),
        "codebook_loss": st.booleans(),
        "beta_on": st.sampled_from(BETA_PLACEMENTS),
        "reduction": st.sampled_from(REDUCTIONS),
    }
)


@given(quantizer_inputs(kinds=(*TAME, "signed zeros")), variants, seeds, st.floats(-3, 3))
def test_it_is_the_oracle(inputs, variant, seed, dL):
    z, E = inputs
    dz_q = np.random.default_rng(seed).standard_normal(z.shape).astype(z.dtype)
    before = z.tobytes(), E.tobytes(), dz_q.tobytes()
    z_q, L, k, cache = ops.quantize_forward(z, E, **variant)
    dz, dE = ops.quantize_backward(dz_q, dL, cache)
    their_z_q, their_L, their_k = oracles.quantize(z, E, **variant)
    assert z_q.dtype == L.dtype == dz.dtype == dE.dtype == z.dtype and L.shape == ()
    np.testing.assert_array_equal(k, their_k)
    np.testing.assert_array_equal(z_q, their_z_q)
    # Where 1 − β and β, or z and e, cancel, the error is that of what cancelled.
    size = max(1, abs(1 - variant["beta"]) + variant["beta"])
    magnitude = size * max(np.abs(z).max(initial=0), np.abs(E).max(initial=0), 1)
    largest = size * (np.square(z.astype(float) - their_z_q).sum() if z.size else 0)
    oracles.close(L, their_L, largest / oracles.count(z.shape, variant["reduction"]))
    their_dz, their_dE = oracles.quantize_gradients(dz_q, dL, z, E, k, **variant)
    oracles.close(dz, their_dz, abs(dL) * magnitude)
    oracles.close(dE, their_dE, abs(dL) * magnitude * max(len(z), 1))
    assert (z.tobytes(), E.tobytes(), dz_q.tobytes()) == before


@given(quantizer_inputs(min_n=1), variants)
def test_every_kind_of_array_is_quantized_to_the_bit(inputs, variant):
    """z_q is E[k], not z + (E[k] − z), which rounds."""
    z, E = inputs
    with np.errstate(over="ignore", invalid="ignore"):  # float32's squares of 1e30; the loss is infinite
        z_q, _, k, _ = ops.quantize_forward(z, E, **variant)
    np.testing.assert_array_equal(k, oracles.nearest(z, E))
    assert z_q.tobytes() == E[k].tobytes()


@given(quantizer_inputs(kinds=tuple(set(KINDS) - {"subnormal"})))
def test_quantizing_twice_is_quantizing_once(inputs):
    z, E = inputs
    with np.errstate(over="ignore"):
        z_q, _, k, _ = ops.quantize_forward(z, E)
    again, L, k_again, cache = ops.quantize_forward(z_q, E)
    np.testing.assert_array_equal(k_again, k)
    np.testing.assert_array_equal(again, z_q)
    dz, dE = ops.quantize_backward(np.ones_like(z_q), 1.0, cache)
    assert L == 0 and (dz == 1).all() and not dE.any()


@given(quantizer_inputs(kinds=("normal",), min_n=1), variants, seeds)
def test_permuting_the_codebook_permutes_codes_and_gradient(inputs, variant, seed):
    z, E = inputs
    order = np.random.default_rng(seed).permutation(len(E))
    z_q, L, k, cache = ops.quantize_forward(z, E, **variant)
    moved_z_q, moved_L, moved_k, moved_cache = ops.quantize_forward(z, E[order], **variant)
    np.testing.assert_array_equal(order[moved_k], k)
    np.testing.assert_array_equal(moved_z_q, z_q)
    assert moved_L == L
    dE, moved_dE = (ops.quantize_backward(np.zeros_like(z), 1.0, c)[1] for c in (cache, moved_cache))
    np.testing.assert_array_equal(moved_dE, dE[order])


def freeze(z0, E0, beta, codebook_loss, beta_on, reduction):
    """Equation 3 with every sg at its value at (z0, E0): written from the paper, not from the code."""
    k = oracles.nearest(z0, E0)
    z0, e0 = z0.copy(), E0[k]
    commitment, codebook = oracles.beta_weights(beta, beta_on)
    size = oracles.count(z0.shape, reduction)

    def surrogate(z, E):
        L = commitment * np.sum((z - e0) ** 2) / size
        if codebook_loss:
            L = L + codebook * np.sum((z0 - E[k]) ** 2) / size
        return z + (e0 - z0), np.asarray(L)

    return surrogate


@pytest.mark.parametrize("beta_on", BETA_PLACEMENTS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("codebook_loss", [True, False])
@given(seed=seeds, N=st.integers(1, 6), K=st.integers(1, 5), D=st.integers(1, 4))
@settings(max_examples=5)
def test_the_declared_estimator(beta_on, reduction, codebook_loss, seed, N, K, D):
    """Worst relative error 1e-7, for z and for E."""
    r = np.random.default_rng(seed)
    variant = {"beta": 0.3, "codebook_loss": codebook_loss, "beta_on": beta_on, "reduction": reduction}
    report = surrogate_check(
        partial(ops.quantize_forward, **variant),
        ops.quantize_backward,
        partial(freeze, **variant),
        r.standard_normal((N, D)),
        r.standard_normal((K, D)),
        rng=r,
    )
    assert len(report.rows) == 2
    report.raise_if_failed()


@pytest.mark.parametrize("beta_on", sorted(set(BETA_PLACEMENTS) - {"commitment"}))
def test_another_place_of_beta_is_another_estimator_though_every_forward_value_agrees(rng, beta_on):
    """The check sees what no loss curve shows; the values alone agree, where the weights' sums do."""
    z, E = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))
    beta = {"codebook": 0.25, "complement": 0.5, "both": 1.0}[beta_on]
    theirs = partial(ops.quantize_forward, beta=beta, beta_on=beta_on)
    ours = {"beta": beta, "codebook_loss": True, "beta_on": "commitment", "reduction": "mean"}
    if beta_on == "both":  # one weight of 1 on both is the paper's at β = 1
        report = surrogate_check(theirs, ops.quantize_backward, partial(freeze, **ours), z, E, rng=rng)
        report.raise_if_failed()
    elif beta_on == "codebook":
        assert theirs(z, E)[1] == ops.quantize_forward(z, E, beta=beta)[1]
        report = surrogate_check(theirs, ops.quantize_backward, partial(freeze, **ours), z, E, rng=rng)
        assert [row.error > 0.05 for row in report.rows] == [True, True]
    else:
        with pytest.raises(GradcheckError, match="the surrogate's output 1 is not the forward pass's"):
            surrogate_check(theirs, ops.quantize_backward, partial(freeze, **ours), z, E, rng=rng)


def test_straight_through_is_not_the_derivative_of_the_forward_pass(rng):
    """By z that is 0 almost everywhere: so gradcheck must refuse dz = dz_q, and would accept 0."""
    z, E = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))
    alone = partial(ops.quantize_forward, beta=0.0, codebook_loss=False)  # z_q, without a loss beside it

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
    _, _, k, cache = ops.quantize_forward(z, E, **variant)
    dz, dE = ops.quantize_backward(dz_q, 0.0, cache)
    np.testing.assert_array_equal(dz, dz_q)
    assert not dE.any()
    dE = ops.quantize_backward(dz_q, 1.0, cache)[1]
    assert not dE[np.setdiff1d(np.arange(len(E)), k)].any()
    if not variant["codebook_loss"]:
        assert not dE.any()


def test_at_beta_a_quarter_the_encoder_gets_a_quarter_of_what_the_codes_get(rng):
    """And four times as much where β is on the wrong term: the bug that semantics.md begins with."""
    z, E = rng.standard_normal((1, 3)), rng.standard_normal((1, 3))
    for beta_on, share in (("commitment", 0.25), ("codebook", 4.0), ("both", 1.0), ("complement", 3.0)):
        cache = ops.quantize_forward(z, E, beta=0.25, beta_on=beta_on)[3]
        dz, dE = ops.quantize_backward(np.zeros((1, 3)), 1.0, cache)
        np.testing.assert_allclose(dz, -share * dE, rtol=1e-13)
    dz, dE = ops.quantize_backward(np.zeros((1, 3)), 1.0, ops.quantize_forward(z, E)[3])
    np.testing.assert_allclose(dE, 2 / 3 * (E - z), rtol=1e-13)
    np.testing.assert_allclose(dz, 0.25 * 2 / 3 * (z - E), rtol=1e-13)


@given(quantizer_inputs(kinds=("normal", "duplicates"), dtypes=st.just(np.float64), min_n=1), variants)
@settings(max_examples=50)
def test_four_copies_of_a_batch(inputs, variant):
    """"sum" grows fourfold, loss and gradient; the means do not change."""
    z, E = inputs
    factor = 4 if variant["reduction"] == "sum" else 1
    _, L, _, cache = ops.quantize_forward(z, E, **variant)
    _, four_L, _, four_cache = ops.quantize_forward(np.tile(z, (4, 1)), E, **variant)
    dE = ops.quantize_backward(np.zeros_like(z), 1.0, cache)[1]
    four_dE = ops.quantize_backward(np.zeros((4 * len(z), z.shape[1])), 1.0, four_cache)[1]
    oracles.close(four_L, factor * L, abs(L) + 1e-300)
    oracles.close(four_dE, factor * dE, 10.0 * factor)


@given(quantizer_inputs(), st.data())
@settings(max_examples=50)
def test_codes_can_be_given(inputs, data):
    z, E = inputs
    k = np.random.default_rng(data.draw(seeds)).integers(0, len(E), len(z))
    with np.errstate(over="ignore"):
        z_q, L, same, _ = ops.quantize_forward(z, E, k)
        chosen = ops.quantize_forward(z, E)
        given_back = ops.quantize_forward(z, E, chosen[2])
    assert z_q.tobytes() == E[k].tobytes() and same is k
    assert given_back[1].tobytes() == chosen[1].tobytes()
    assert L >= chosen[1] * (1 - 1e-5)  # any other codes are farther


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (3,), (2, 4, 3)])
def test_shapes_empty_ones_included(rng, dtype, shape):
    z, E = rng.standard_normal(shape).astype(dtype), rng.standard_normal((5, 3)).astype(dtype)
    z_q, L, k, cache = ops.quantize_forward(z, E)
    dz, dE = ops.quantize_backward(np.ones_like(z), 1.0, cache)
    assert z_q.shape == dz.shape == shape and k.shape == shape[:-1] and dE.shape == E.shape
    assert {a.dtype for a in (z_q, L, dz, dE)} == {np.dtype(dtype)} and k.dtype == np.int64
    if z.size == 0:
        assert L == 0 and not dE.any()


Z, E = np.zeros((2, 3)), np.zeros((4, 3))
K = np.zeros(2, int)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ops.quantize_forward(Z[:, :2], E), "z must have last axis 3; got shape (2, 2)"),
        (lambda: ops.quantize_forward(Z, E[0]), "E must have 2 axes; got shape (3,)"),
        (lambda: ops.quantize_forward(Z, E.astype(np.float32)), "z must be float32, like the other arrays; got float64"),  # noqa: E501
        (lambda: ops.quantize_forward(Z, E, beta=-1), "beta must be in [0, inf); got -1.0"),
        (lambda: ops.quantize_forward(Z, E, beta=np.inf), "beta must be in [0, inf); got inf"),
        (lambda: ops.quantize_forward(Z, E, beta=np.nan), "beta must be in [0, inf); got nan"),
        (lambda: ops.quantize_forward(Z, E, beta="1"), "beta must be a number in [0, inf); got '1'"),
        (lambda: ops.quantize_forward(Z, E, reduction="all"), "reduction must be one of 'mean', 'mean_of_sums', 'sum'; got 'all'"),  # noqa: E501
        (lambda: ops.quantize_forward(Z, E, K + 4), "codes must be in [0, 4); got 4 at index 0"),
        (lambda: ops.quantize_forward(Z, E, K - 1), "codes must be in [0, 4); got -1 at index 0"),
        (lambda: ops.quantize_forward(Z, E, K * 1.0), "codes must be integers; got float64"),
        (lambda: ops.quantize_forward(Z, E, K[:1]), "k must have shape (2,); got shape (1,)"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == f"quantize_forward: {sentence}"


def test_bad_input_of_others_names():
    with pytest.raises(InputError) as error:
        ops.quantize_forward(Z + np.nan, E)
    assert str(error.value) == "nearest_code: z must be finite; got nan at index (0, 0)"
    with pytest.raises(InputError) as error:
        ops.quantize_forward(Z, E[:0])
    assert str(error.value) == "nearest_code: E must have at least one code of at least one dimension; got shape (0, 3)"  # noqa: E501
    with pytest.raises(InputError) as error:
        loss_weights(0.25, "encoder")
    places = "'commitment', 'codebook', 'complement', 'both'"
    assert str(error.value) == f"loss_weights: beta_on must be one of {places}; got 'encoder'"
    cache = ops.quantize_forward(Z, E)[3]
    with pytest.raises(InputError) as error:
        ops.quantize_backward(Z[:1], 1.0, cache)
    assert str(error.value) == "quantize_backward: dz_q must have shape (2, 3); got shape (1, 3)"
    with pytest.raises(InputError) as error:
        ops.quantize_backward(Z.astype(np.float32), 1.0, cache)
    assert str(error.value) == "quantize_backward: dz_q must be float64, like the other arrays; got float32"
