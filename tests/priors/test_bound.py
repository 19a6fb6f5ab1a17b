"""A bound on the likelihood of images: the sum of its two terms, and above what a distribution can have."""

import math

import pytest
from helpers import refused

from vqnp import VQVAE, load_splits
from vqnp.data import DataSpec
from vqnp.metrics import fit_scale, grey_level_nats
from vqnp.priors import Markov, likelihood_bound


@pytest.fixture(scope="module")
def parts():
    """A model that has learned nothing, a chain of its codes, and images."""
    train, test = (each.images[:200] for each in load_splits("digits"))
    model = VQVAE.mlp(num_latents=4, embedding_dim=2, num_embeddings=8, hidden=(8,))
    return model, Markov(model.encode(train), 8), test, train


def test_it_is_the_sum_of_its_terms(parts):
    model, chain, test, train = parts
    bound = likelihood_bound(model, chain, test, train)
    assert bound.prior_nats == pytest.approx(chain.code_length(model.encode(test)) * math.log(2))
    assert bound.scale == fit_scale(model.reconstruct(train), train)
    nats = grey_level_nats(model.reconstruct(test), test, bound.scale)
    assert bound.decoder_nats == pytest.approx(nats.mean())
    assert bound.bits_per_pixel == pytest.approx((bound.prior_nats + nats.mean()) / 784 / math.log(2))
    assert f"{bound.bits_per_pixel:.3f} bits a pixel" in str(bound)


def test_it_is_in_grey_levels_whatever_the_model_s_range(parts):
    model, _, test, train = parts
    model = VQVAE(model.encoder, model.quantizer, model.decoder, data=DataSpec(low=-1.0))
    chain = Markov(model.encode(train), 8)
    bound = likelihood_bound(model, chain, test, train)
    nats = grey_level_nats((model.reconstruct(test) + 1) / 2, test, bound.scale)
    assert bound.decoder_nats == pytest.approx(nats.mean(), rel=1e-6)


def test_real_numbers_have_no_bits(parts):
    model, chain, test, train = parts
    with refused("images", "uint8", "float64", where="likelihood_bound"):
        likelihood_bound(model, chain, test / 255, train)
