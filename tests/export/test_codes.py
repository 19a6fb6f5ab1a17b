"""Codes and latents of any latent shape, file to file: images -> codes -> images, bit for bit."""

import numpy as np
import pytest
from helpers import refused

from vqnp import VAE, VQVAE, Autoencoder, VectorQuantizer
from vqnp.data import DataSpec, open_images
from vqnp.export.codes import decode_file, encode_file, open_codes
from vqnp.nn import Flatten, Linear, Reshape, Sequential

DATA = DataSpec((3, 4), -1, 1)
LATENT_SHAPES = [(), (4,), (2, 2)]


def model(kind, latent_shape):
    """Of one of three kinds, with latents of latent_shape × 3."""
    M, width = int(np.prod(latent_shape)), 6 if kind is VAE else 3
    encoder = Sequential(Flatten(), Linear(12, M * width, 1), Reshape(*latent_shape, width))
    decoder = Sequential(Flatten(), Linear(M * 3, 12, 2), Reshape(3, 4))
    if kind is VQVAE:
        return VQVAE(encoder, VectorQuantizer(300, 3, codebook_init="normal"), decoder, DATA)
    return kind(encoder, decoder, DATA, **({"likelihood": "gaussian"} if kind is VAE else {}))


@pytest.mark.slow
@pytest.mark.parametrize("latent_shape", LATENT_SHAPES)
@pytest.mark.parametrize("kind", [VQVAE, VAE, Autoencoder])
def test_there_and_back_is_reconstruct(kind, latent_shape, tmp_path, rng):
    ours, x = model(kind, latent_shape), rng.uniform(-1, 1, (1030, 3, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    encode_file(ours, open_images(tmp_path / "x.npy"), tmp_path / "codes.npz")
    codes = open_codes(ours, tmp_path / "codes.npz")
    assert codes.shape == (1030, *latent_shape, *(() if kind is VQVAE else (3,)))
    assert codes.dtype == (np.uint16 if kind is VQVAE else np.float32)
    np.testing.assert_array_equal(codes.read(), ours.encode(x))
    decode_file(ours, codes, tmp_path / "x_hat.npy")
    assert np.load(tmp_path / "x_hat.npy").tobytes() == ours.reconstruct(x).tobytes()


def test_codes_of_another_latent_shape_are_refused(tmp_path):
    ours = model(VQVAE, (2, 2))
    np.save(tmp_path / "codes.npy", np.zeros((5, 4), np.uint16))
    path = tmp_path / "codes.npy"
    with refused("codes", "must have shape (n, 2, 2)", "shape (5, 4)", where=f"codes {path}"):
        open_codes(ours, path)
    with refused("codes", "must have shape (n,)", "shape (5, 4)"):
        open_codes(model(VQVAE, ()), tmp_path / "codes.npy")


def test_codes_of_a_model_of_another_arrangement_are_refused(tmp_path, rng):
    """Its codebook may be the same: the decoder makes them stand for something else."""
    ours, other = model(VQVAE, (2, 2)), model(VQVAE, (2, 2))
    other.decoder = Sequential(*other.decoder.layers[:-1], Reshape(12), Reshape(3, 4))
    encode_file(ours, rng.uniform(-1, 1, (5, 3, 4)), tmp_path / "codes.npz")
    with refused("", "must be codes of this model", "codes of another model"):
        open_codes(other, tmp_path / "codes.npz")
