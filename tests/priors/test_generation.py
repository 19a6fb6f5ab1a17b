"""Images from a prior; the Markov chain by inversion; baselines."""

import numpy as np
import pytest
from helpers import refused

from vqnp import VAE, VQVAE, generate
from vqnp.priors import Markov, PixelCNN, Transformer, baseline_bits, code_length

K, SHAPE = 4, (2, 2)
CODES = (np.cumsum(np.random.default_rng(0).integers(2, size=(50, 4)), axis=1) % K).reshape(50, 2, 2)
CONV = {"channels": 4, "residual_channels": 2, "residual_blocks": 1, "num_embeddings": K}


@pytest.fixture(scope="module")
def model():
    return VQVAE.conv((8, 8), **CONV, rng=0)


PRIORS = {
    "chain": Markov(CODES, K),
    "frequencies": Markov(CODES, K, order=0),
    "transformer": Transformer(K, SHAPE, 8, 1, 2),
    "classes": Transformer(K, SHAPE, 8, 1, 2, num_classes=3),
    "pixelcnn": PixelCNN(K, SHAPE, 4, 1),
}


@pytest.mark.parametrize("name", PRIORS)
def test_an_image_does_not_depend_on_their_number(name, model):
    prior = PRIORS[name]
    many, few = generate(model, prior, 130, rng=5), generate(model, prior, 2, rng=5)
    assert many.shape == (130, 8, 8) and generate(model, prior, 0, rng=0).shape == (0, 8, 8)
    np.testing.assert_array_equal(few, many[:2])
    assert not np.array_equal(few, generate(model, prior, 2, rng=6))
    last = generate(model, prior, 129, rng=5)[128]  # the first of the second chunk
    np.testing.assert_array_equal(last, many[128])


def test_images_are_the_decoded_samples(model):
    prior = PRIORS["classes"]
    how = {"temperature": 0.7, "top_k": 3, "top_p": 0.9, "guidance": 2.0}
    codes = prior.sample(5, 0, [0, 1, 2, 0, 1], **how)
    images = generate(model, prior, 5, 0, [0, 1, 2, 0, 1], **how)
    np.testing.assert_array_equal(images, model.decode(codes))


@pytest.mark.parametrize("order", [0, 1])
def test_a_chains_probabilities_are_those_that_it_measures(order):
    chain = Markov(CODES, K, order=order)
    k = CODES.reshape(-1, 4)[:7]
    bits = 0.0
    for m in range(4):
        p = chain.conditional(m, k[:, m - 1] if m and order else None)
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-15)
        bits -= np.log2(np.broadcast_to(p, (7, K))[np.arange(7), k[:, m]]).mean()
    assert bits == pytest.approx(chain.code_length(k), rel=1e-14)


def test_a_chains_samples_have_its_probabilities():
    chain, n = Markov(CODES, K), 4000
    k = chain.sample(n, 0).reshape(n, 4)
    seen = np.bincount(k[:, 0] * K + k[:, 1], minlength=K * K) / n
    p = chain.conditional(0, None)[0][:, None] * chain.conditional(1, np.arange(K))
    error = np.sqrt(p.ravel() * (1 - p.ravel()) / n)
    assert np.all(np.abs(seen - p.ravel()) < 4.5 * error)
    likeliest = chain.sample(3, 0, top_k=1).reshape(3, 4)
    for m in range(1, 4):  # of equally likely codes any
        p = chain.conditional(m, likeliest[:, m - 1])
        assert np.array_equal(p[np.arange(3), likeliest[:, m]], p.max(axis=1))


def test_priors_that_do_not_fit(model):
    with refused("prior", "must be over grids of 4 codes of 4", "9 codes of 4", where="generate"):
        generate(model, Transformer(K, (3, 3), 8, 1, 2), 1, 0)
    with refused("prior", "must be over grids of 4 codes of 4", "4 codes of 5", where="generate"):
        generate(model, Markov(CODES, 5), 1, 0)
    with refused("model", "must be a VQ-VAE", "VAE", where="generate"):
        generate(VAE.mlp((8, 8), latent_dim=2, hidden=(3,)), PRIORS["chain"], 1, 0)
    for how in ({"condition": 1}, {"guidance": 2.0}):
        with refused(next(iter(how)), "a Markov chain has no classes", where="Markov.sample"):
            generate(model, PRIORS["chain"], 1, 0, **how)
    with refused("n", "at least 0", "-1", where="generate"):
        generate(model, PRIORS["chain"], -1, 0)
    with refused("temperature", "(0, inf)", "0", where="Markov.sample"):
        generate(model, PRIORS["chain"], 1, 0, temperature=0)


def test_baselines_are_their_definitions():
    train, test = CODES[:30].reshape(30, 4), CODES[30:].reshape(20, 4)
    bits = baseline_bits(CODES[:30], CODES[30:], K)
    assert list(bits) == ["uniform", "unigram", "unigram by position", "Markov chain"]
    p = (np.bincount(train.ravel(), minlength=K) + 0.5) / (train.size + K / 2)
    assert bits["uniform"] == 8 and bits["unigram"] == pytest.approx(-np.log2(p[test]).sum(axis=1).mean())
    assert bits["unigram by position"] == code_length(test, train, K)
    assert bits["Markov chain"] == Markov(train, K).code_length(test)
