"""What an entropy coder is given is the prior's own distribution, bit for bit alike in any batch."""

import numpy as np
import pytest

from vqnp.kernels.jit import JIT
from vqnp.priors import Markov, Transformer
from vqnp.priors.coding import conditionals, fingerprint

K, SHAPE = 11, (2, 3)
M = 6


def prior_of(kind, rng=0):
    r = np.random.default_rng(rng)
    if kind.startswith("markov"):
        return Markov(r.integers(0, K, (40, M)) ** 2 % K, K, order=int(kind[-1]))
    classes = 3 if kind == "classes" else 0
    prior = Transformer(K, SHAPE, channels=8, layers=2, heads=2, num_classes=classes, rng=rng)
    for param in prior.parameters():
        param.value[...] += 0.3 * r.standard_normal(param.value.shape)
    return prior


KINDS = ("markov0", "markov1", "transformer", "classes")


def all_conditionals(prior, k):
    steps = conditionals(prior, len(k))
    p = [next(steps)]
    for now in k.T[:-1]:
        p.append(steps.send(now))
    with pytest.raises(StopIteration):
        steps.send(k[:, -1])
    return np.stack(p, axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_they_multiply_to_the_likelihood(kind, rng):
    prior, k = prior_of(kind), rng.integers(0, K, (9, M))
    p = all_conditionals(prior, k)
    assert p.shape == (9, M, K) and p.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=-1), 1)
    nats = -np.log(np.take_along_axis(p, k[..., None], axis=-1)).sum() / 9
    if kind.startswith("markov"):
        assert nats / np.log(2) == pytest.approx(prior.code_length(k))
    else:
        assert nats == pytest.approx(prior.nll(k.reshape(9, *SHAPE)).sum() / 9, rel=1e-5)


@pytest.mark.skipif(not JIT, reason="NumPy's products may round a row in another batch otherwise")
@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_s_bits_do_not_depend_on_the_others(kind, rng):
    prior, k = prior_of(kind), rng.integers(0, K, (70, M))
    p = all_conditionals(prior, k)
    for rows in (slice(3, 4), slice(5, 38), slice(60, 70)):
        np.testing.assert_array_equal(all_conditionals(prior, k[rows]), p[rows])


def test_a_fingerprint_is_that_of_one_prior():
    of = {fingerprint(prior_of(kind, rng)) for kind in KINDS for rng in (0, 1)}
    assert len(of) == 8 and {len(each) for each in of} == {64}
    assert fingerprint(prior_of("classes")) == fingerprint(prior_of("classes"))
    codes = [[0, 1], [1, 0]]
    assert fingerprint(Markov(codes, 2)) != fingerprint(Markov(codes, 2, weight=3.0))
