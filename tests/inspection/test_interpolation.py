"""A path between two images through the latents."""

import math

import numpy as np
import pytest
from helpers import refused

from vqnp import VAE, VQVAE, Autoencoder, HierarchicalVQVAE
from vqnp._check import NonFiniteError
from vqnp.inspection import interpolate, step_sizes
from vqnp.metrics import code_changes


@pytest.fixture
def model():
    """Three positions of 4 × 5 images."""
    return VQVAE.mlp((4, 5), num_latents=3, embedding_dim=2, num_embeddings=6, hidden=(7,), rng=1)


def test_a_path_ends_where_the_images_are_and_changes_only_with_its_codes(model, rng):
    a, b = rng.random((2, 4, 5), np.float32)
    path = interpolate(model, a, b, 50)
    assert path.images[[0, -1]] == pytest.approx(model.reconstruct(np.stack([a, b])), abs=1e-6)
    assert path.t[[0, -1]].tolist() == [0, 1] and path.codes.shape == (50, 3)
    changes, steps = code_changes(path.codes), step_sizes(path.images)
    assert changes.shape == steps.shape == (49,) and steps[changes == 0].max() < 1e-6
    # along a line, a cell is convex: once left, a code does not come back
    for m in range(3):
        column = path.codes[:, m]
        assert np.count_nonzero(np.diff(column)) == len(set(column.tolist())) - 1
    still = interpolate(model, a, a, 5)
    assert not code_changes(still.codes).any() and step_sizes(still.images).max() < 1e-6


def test_a_path_of_several_levels_has_a_line_for_each(rng):
    """And decodes the codes of both lines at the same t."""
    made = HierarchicalVQVAE.conv((4, 4), 3, 2, 0, (2, 1), 2, 8, rng=1)
    x = rng.random((20, 4, 4), np.float32)
    made.initialize((x[..., None],), rng)
    a, b = x[:2]
    path = interpolate(made, a, b, 9)
    np.testing.assert_array_equal(path.images[[0, -1]], made.reconstruct(np.stack([a, b])))
    ends = made.latents(np.stack([a, b]))
    for t, *codes in zip(path.t, *path.codes, strict=True):
        point = tuple((1 - np.float32(t)) * z[:1] + np.float32(t) * z[1:] for z in ends)
        for k, wanted in zip(codes, made.quantize(point), strict=True):
            np.testing.assert_array_equal(k, wanted[0])
    np.testing.assert_array_equal(path.images, made.decode(path.codes))
    assert any(code_changes(k).any() for k in path.codes)


@pytest.mark.parametrize("kind", [Autoencoder, VAE])
def test_a_path_of_a_continuous_model_is_decoded_at_each_point_of_the_line(kind, rng):
    made = kind.mlp((4, 5), latent_dim=3, hidden=(7,), rng=1, dtype="float64")
    a, b = rng.random((2, 4, 5))
    path = interpolate(made, a, b, 9)
    z = made.latents(np.stack([a, b]))
    for t, image in zip(path.t, path.images, strict=True):
        point = [[(1 - t) * p + t * q for p, q in zip(*z, strict=True)]]
        assert image == pytest.approx(made.decode(np.array(point))[0], rel=1e-12)
    assert np.array_equal(path.images[[0, -1]], made.reconstruct(np.stack([a, b])))
    assert path.codes.shape == (9, 0) and path.codes.dtype == np.int64
    assert code_changes(path.codes).tolist() == [0] * 8
    # half the step, half the change: nothing jumps
    coarse, fine = (step_sizes(interpolate(made, a, b, n + 1).images).max() for n in (500, 1000))
    assert fine == pytest.approx(coarse / 2, rel=0.02)


def test_steps_are_their_equation(rng):
    x = rng.random((6, 3, 2))
    steps = [math.sqrt(sum((x[t + 1] - x[t]).ravel() ** 2) / 6) for t in range(5)]
    assert step_sizes(x) == pytest.approx(steps)


def test_steps_of_bytes_are_in_units_of_the_pixel_range(rng):
    x = rng.integers(256, size=(5, 3, 2), dtype=np.uint8)
    assert step_sizes(x) == pytest.approx(step_sizes(x / 255))
    assert step_sizes(x[:1]).tolist() == []


def test_the_ends_of_a_path_may_be_of_two_kinds(model, rng):
    """Black and white bytes beside floats: stacked, a byte's 1 was taken for white."""
    a, b = rng.integers(2, size=(4, 5), dtype=np.uint8), rng.random((4, 5), np.float32)
    path, same = interpolate(model, a, b, 5), interpolate(model, a / np.float32(255), b, 5)
    assert np.array_equal(path.images, same.images) and np.array_equal(path.codes, same.codes)


# --- what is refused ---

X = np.zeros((2, 4, 4))


def test_no_way_to_go():
    model = VQVAE.mlp((4, 4))
    with refused("images", "shape (n, 4, 4) or (n, 16)", "shape (1, 3, 4)", where="interpolate"):
        interpolate(model, X[0], X[1, :3], 5)
    with refused("model", "a VQVAE, an Autoencoder or a VAE", "str", where="interpolate"):
        interpolate("runs/digits-1", X[0], X[1], 2)
    with refused("steps", "at least 2", "1", where="interpolate"):
        interpolate(model, X[0], X[1], 1)


def test_no_steps_to_measure():
    with refused("images", "shape (T, ...), none of it 0", "shape (0, 4, 4)", where="step_sizes"):
        step_sizes(X[:0])
    with refused("images", "finite", "inf at index (0, 0, 0)", where="step_sizes", error=NonFiniteError):
        step_sizes(X + np.inf)
