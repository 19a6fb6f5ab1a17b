"""What one position's code does to the image, and whether the effects of several add up."""

import math

import numpy as np
import pytest
from helpers import refused

from vqnp import VAE, VQVAE, Autoencoder
from vqnp.inspection import position_influence, swap_agreement, swap_interaction
from vqnp.nn import Reshape, Sequential


@pytest.fixture
def model():
    """Three positions of 4 × 5 images; the decoder is linear, and position 1 does not reach it."""
    made = VQVAE.mlp((4, 5), num_latents=3, embedding_dim=2, num_embeddings=6, hidden=(7,), rng=1)
    weights = made.decoder.state_dict()
    weights["1.W"][2:4] = 0
    made.decoder.load_state_dict(weights)
    return made


def test_influence_is_the_change_that_a_borrowed_code_makes(model, rng):
    images = rng.random((40, 4, 5), np.float32)
    a = position_influence(model, images, 3)
    assert a.shape == (3, 4, 5) and a.dtype == np.float64
    assert not a[1].any() and a[0].any() and a[2].any()
    again = position_influence(model, images, np.random.default_rng(3))
    assert np.array_equal(a, again)
    # two images can only lend to each other
    k = model.encode(images[:2])
    for m, map_ in enumerate(position_influence(model, images[:2], 0)):
        swapped = k.copy()
        swapped[0, m], swapped[1, m] = k[1, m], k[0, m]
        change = (model.decode(swapped).astype(float) - model.decode(k)) ** 2
        assert map_ == pytest.approx((change[0] + change[1]) / 2)


def swap_toy(absolute):
    """Two pixels, a code each, z = ±1; x̂ = (4 + a + 2b, 4 − a)/8, or, not additive, |a + b|/2."""
    made = VQVAE.mlp((2,), 2, 1, 2, (2,) if absolute else (), codebook="gradient")
    zero, eye = np.zeros(2), np.eye(2)
    sums = np.array([[1, -1], [1, -1]])
    if absolute:
        values = [eye, zero, 2 * eye, zero - 1, sums, zero, abs(sums) / 2, zero]
    else:
        values = [2 * eye, zero - 1, np.array([[1, -1], [2, 0]]) / 8, zero + 0.5]
    state = made.state_dict() | {"quantizer.E": np.array([[-1], [1]], np.float32)}
    names = [name for name in state if name.startswith(("encoder.", "decoder."))]
    made.load_state_dict(state | {n: v.astype(np.float32) for n, v in zip(names, values, strict=True)})
    return made


def test_swaps_add_up_and_agree_where_the_decoder_adds_parts():
    images = np.random.default_rng(0).integers(0, 2, (60, 2)).astype(np.float32)
    assert swap_toy(False).reconstruct(np.float32([[1, 0]])) == pytest.approx(np.array([[3 / 8, 3 / 8]]))
    assert swap_interaction(swap_toy(False), images, 2, 0) == pytest.approx(0, abs=1e-12)
    assert swap_agreement(swap_toy(False), images, 0) == pytest.approx(1)


def test_swaps_neither_add_up_nor_agree_where_a_code_means_what_the_other_says():
    # |a + b|/2: alone, a swap changes it by ±1 with the sign of b; both change nothing, and are 2 in sum
    images = np.random.default_rng(0).integers(0, 2, (8000, 2)).astype(np.float32)
    model = swap_toy(True)
    assert model.reconstruct(np.eye(2, dtype=np.float32)).tolist() == [[0, 0], [0, 0]]
    assert swap_interaction(model, images, 2, 0) == pytest.approx(2, rel=0.05)  # (¼ · 2²)/(½ · 1²)
    assert abs(swap_agreement(model, images, 0)) < 0.05


def test_swaps_are_their_equations(model, rng):
    many = rng.random((40, 4, 5), np.float32)
    codes = model.encode(many)
    partner = np.flatnonzero((codes != codes[0]).all(axis=1))[0]
    images = many[[0, partner]]  # two images can only lend to each other
    k = model.encode(images)
    whole = model.decode(k).astype(float)
    parts = np.zeros_like(whole)
    for m in range(3):
        swapped = k.copy()
        swapped[:, m] = k[::-1, m]
        parts += model.decode(swapped) - whole
    change = whole[::-1] - whole
    true = ((change - parts) ** 2).sum() / (change**2).sum()
    assert swap_interaction(model, images, 3, 5) == pytest.approx(true) and true > 1e-4
    copies = images[[0] * 4 + [1] * 4]  # who shares a code is the same image
    assert swap_agreement(model, copies, 0) == pytest.approx(1)
    assert math.isnan(swap_interaction(model, copies[:4], 2, 0))
    assert math.isnan(swap_agreement(model, copies[:4], 0))
    assert swap_interaction(model, many, 2, 3) == swap_interaction(
        model, many, 2, np.random.default_rng(3)
    )
    assert swap_agreement(model, many, 3) == swap_agreement(model, many, np.random.default_rng(3))


def test_positions_of_a_plane_are_those_of_a_row(model, rng):
    """(3,) latents as a plane (3, 1): the same numbers, one axis more."""
    plane = Sequential(*model.encoder.layers[:-1], Reshape(3, 1, 2))
    other = VQVAE(plane, model.quantizer, model.decoder, model.data)
    images = rng.random((20, 4, 5), np.float32)
    assert other.latent_shape == (3, 1)
    a = position_influence(other, images, 3)
    assert a.shape == (3, 1, 4, 5) and np.array_equal(a[:, 0], position_influence(model, images, 3))
    assert swap_interaction(other, images, 2, 3) == swap_interaction(model, images, 2, 3)
    assert swap_agreement(other, images, 3) == swap_agreement(model, images, 3)


# --- what is refused ---

X = np.zeros((2, 4, 4))
CALLS = {
    "position_influence": lambda model, images: position_influence(model, images, 0),
    "swap_interaction": lambda model, images: swap_interaction(model, images, 2, 0),
    "swap_agreement": lambda model, images: swap_agreement(model, images, 0),
}


@pytest.mark.parametrize("where", CALLS)
def test_one_image_alone(where):
    with refused("images", "at least 2 images", "1", where=where):
        CALLS[where](VQVAE.mlp((4, 4)), X[:1])


@pytest.mark.parametrize("where", CALLS)
@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_a_model_without_codes(where, kind):
    with refused("model", "must be a VQVAE, whose codes can be swapped", kind.__name__, where=where):
        CALLS[where](kind.mlp((4, 4)), X)


def test_positions_that_are_not_there():
    with refused("size", "[2, 16]", "17", where="swap_interaction"):
        swap_interaction(VQVAE.mlp((4, 4)), X, 17, 0)
    with refused("model", "at least 2 latents", "1", where="swap_interaction"):
        swap_interaction(VQVAE.mlp((4, 4), num_latents=1), X, 2, 0)
