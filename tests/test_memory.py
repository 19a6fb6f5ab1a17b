"""What certainly does not fit into memory is refused in a sentence before anything is allocated."""

import tracemalloc

import numpy as np
import pytest
from helpers import refused

from vqnp import VAE, VQVAE, Autoencoder, InputError, generate
from vqnp.kernels import memory
from vqnp.priors import Markov, PixelCNN, Transformer, conditionals

ABSURD = 10**12
SMALL = {"image_shape": (6, 6), "hidden": (5,)}
VQ = VQVAE.mlp(num_latents=4, embedding_dim=2, num_embeddings=8, **SMALL)
GAUSS, PLAIN = VAE.mlp(latent_dim=3, **SMALL), Autoencoder.mlp(latent_dim=3, **SMALL)
CHAIN = Markov(np.zeros((3, 4), int), 8)
NETWORK, PIXELS = Transformer(8, (4,), 4, 1, 2), PixelCNN(8, (2, 2), 4, 1)


def views(shape, dtype=np.float32):
    """(n, *shape) zeros that take the memory of one number, however large n is."""
    return lambda n: np.broadcast_to(np.zeros((), dtype), (n, *shape))


codes, latents, images = views((4,), np.int64), views((3,)), views((6, 6))
CALLS = {
    "VAE.sample": ("n", lambda n: GAUSS.sample(n, 0)),
    "generate": ("n", lambda n: generate(VQ, CHAIN, n, 0)),
    "Markov.sample": ("n", lambda n: CHAIN.sample(n, 0)),
    "Transformer.sample": ("n", lambda n: NETWORK.sample(n, 0)),
    "PixelCNN.sample": ("n", lambda n: PIXELS.sample(n, 0)),
    "conditionals": ("n", lambda n: next(conditionals(NETWORK, n))),
    "VQVAE.decode": ("codes", lambda n: VQ.decode(codes(n))),
    "VAE.decode": ("z", lambda n: GAUSS.decode(latents(n))),
    "Autoencoder.decode": ("z", lambda n: PLAIN.decode(latents(n))),
    "VQVAE.decode_latents": ("z", lambda n: VQ.decode_latents(views((4, 2))(n))),
    "VQVAE.encode": ("images", lambda n: VQ.encode(images(n))),
    "Autoencoder.encode": ("images", lambda n: PLAIN.encode(images(n))),
    "Markov.nll": ("codes", lambda n: CHAIN.nll(codes(n))),
    "Transformer.nll": ("codes", lambda n: NETWORK.nll(codes(n))),
    "Transformer.logits": ("codes", lambda n: NETWORK.logits(codes(n))),
    "PixelCNN.nll": ("codes", lambda n: PIXELS.nll(views((2, 2), np.int64)(n))),
}


@pytest.mark.parametrize("where", CALLS)
def test_an_absurd_number_is_one_sentence_and_allocates_nothing(where):
    argument, call = CALLS[where]
    call(2)  # compiled, and loaded
    tracemalloc.start()
    try:
        with refused(argument, " bytes of the ", f"{ABSURD}, which take ", where=where):
            call(ABSURD)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("where", CALLS)
def test_only_what_does_not_fit_is_refused(where, monkeypatch):
    """A call takes at least the memory by which it is judged: what is refused would not have fitted."""
    n = 3000
    argument, call = CALLS[where]
    call(2)
    tracemalloc.start()
    try:
        call(n)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(memory, "machine_bytes", lambda: peak)
    call(n)
    monkeypatch.setattr(memory, "machine_bytes", lambda: n)  # a byte for each
    with refused(argument, "", f"{n}, which take", where=where):
        call(n)


def test_the_largest_number_is_the_one_that_is_named(monkeypatch):
    monkeypatch.setattr(memory, "machine_bytes", lambda: 10**9)
    memory.check_memory("f", "n", 10**7, 100)
    with pytest.raises(InputError) as caught:
        memory.check_memory("f", "n", 10**7 + 1, 100)
    sentence = "f: n must be at most 10000000 (each takes 100 bytes of the 1.0 GB of memory)"
    assert str(caught.value) == f"{sentence}; got 10000001, which take 1.0 GB"
