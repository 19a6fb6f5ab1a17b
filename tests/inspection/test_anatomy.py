"""What a code stands for is its definition, image by image."""

import numpy as np
import pytest

from vqnp import VQVAE, fit, load_dataset
from vqnp.inspection import code_anatomy
from vqnp.nn import Reshape, Sequential

TEST = load_dataset("digits", "test").images[:200]


@pytest.fixture(scope="module")
def model():
    model = VQVAE.mlp(num_latents=3, embedding_dim=4, num_embeddings=8, hidden=(12,))
    fit(model, TEST, epochs=3, progress=False)
    return model


def test_anatomy_is_its_definition(model):
    """Against the plain form, image by image, for every code."""
    anatomy = code_anatomy(model, TEST)
    k = model.encode(TEST)
    z_q = model.quantizer.decode(k)
    for j in range(8):
        used = [(n, m) for n in range(200) for m in range(3) if k[n, m] == j]
        assert anatomy.counts[j] == len(used)
        if not used:
            assert not anatomy.context[j].any() and not anatomy.effect[j].any()
            continue
        m = np.bincount([m for _, m in used], minlength=3).argmax()
        assert anatomy.latent[j] == m
        rows = [n for n, at in used if at == m][:32]
        without = z_q[rows].copy()
        without[:, m] = z_q.mean(axis=0)[m]
        context = model.decode(k[rows])
        np.testing.assert_allclose(anatomy.context[j], context.mean(axis=0), atol=1e-6)
        effect = (context - model.decode_latents(without)).mean(axis=0)
        np.testing.assert_allclose(anatomy.effect[j], effect, atol=1e-6)


def test_latents_in_a_plane_are_those_in_a_row(model):
    plane = VQVAE(Sequential(*model.encoder.layers[:-1], Reshape(1, 3, 4)), model.quantizer, model.decoder)
    assert plane.latent_shape == (1, 3)
    for one, other in zip(code_anatomy(plane, TEST), code_anatomy(model, TEST), strict=True):
        np.testing.assert_array_equal(one, other)
