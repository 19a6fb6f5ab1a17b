"""DataSpec: shape and range of one example, and how a model of each takes, clips and gives back its data."""

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st
from strategies import at_most, dtypes, seeds

import vqnp
from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer
from vqnp._check import NonFiniteError
from vqnp.data import DataSpec
from vqnp.nn import Flatten, Linear, Reshape, Sequential

shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
ends = st.floats(-1e3, 1e3)


def test_the_default_is_grey_images_of_mnists_size():
    spec = DataSpec()
    assert (spec.shape, spec.low, spec.high, spec.size) == ((28, 28), 0.0, 1.0, 784)
    assert DataSpec((2, 3)).size == 6 and DataSpec(()).size == 1 and DataSpec([16]).shape == (16,)


@given(shapes, ends, st.floats(1e-3, 1e3))
def test_its_description_makes_it_again(shape, low, width):
    spec = DataSpec(shape, low, low + width)
    assert DataSpec.of(spec.as_dict()) == spec and DataSpec.of(spec) is spec
    assert isinstance(spec.as_dict()["shape"], list) and DataSpec.of({}) == DataSpec()


@given(seeds, dtypes, shapes, ends, st.floats(1e-3, 1e3))
@at_most(60)
def test_bytes_are_scaled_to_the_range_and_never_pass_an_end_of_it(seed, dtype, shape, low, width):
    """p/255 of the way from low to high; so what was scaled is accepted again, as numbers."""
    spec = DataSpec(shape, low, low + width)
    p = np.random.default_rng(seed).integers(0, 256, (5, *shape), dtype=np.uint8)
    p.reshape(5, -1)[0], p.reshape(5, -1)[1] = 0, 255
    x = spec.to_array(p, dtype, "test")
    assert x.dtype == dtype and x.shape == p.shape
    wanted = [low + (spec.high - low) * int(byte) / 255 for byte in p.ravel()]
    slack = 4 * np.finfo(dtype).eps * max(abs(low), abs(spec.high))
    np.testing.assert_allclose(x.ravel(), wanted, rtol=0, atol=slack)
    assert spec.to_array(x, dtype, "test").tobytes() == x.tobytes()
    assert spec.clip(x).tobytes() == x.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_brightest_byte_is_no_number_above_high(dtype):
    """low + (high − low) rounds to more than high for one range in ten or so, such as [-0.1, 0.3]."""
    r = np.random.default_rng(0)
    for low, high in [(-0.1, 0.3), *np.sort(r.uniform(-1, 1, (300, 2)))]:
        spec, white = DataSpec((), low, high), np.full(1, 255, np.uint8)
        x = spec.to_array(white, dtype, "test")
        np.testing.assert_array_equal(spec.to_array(x, dtype, "test"), np.minimum(x, dtype(high)))


def test_bytes_in_the_unit_range_are_divided_by_255_and_rounded_once():
    p = np.arange(256, dtype=np.uint8)
    x = DataSpec(()).to_array(p, np.float32, "test")
    np.testing.assert_array_equal(x, (p.astype(np.float64) / 255).astype(np.float32))


def test_a_range_from_minus_one_to_one():
    spec = DataSpec((2,), -1, 1)
    x = spec.to_array(np.array([[0, 255], [51, 102]], np.uint8), np.float64, "test")
    np.testing.assert_allclose(x, [[-1, 1], [-0.6, -0.2]], rtol=1e-15)
    np.testing.assert_array_equal(spec.clip(np.array([[-3.0, -1], [0.5, 1.5]])), [[-1, -1], [0.5, 1]])
    with refused("images", "must be in [-1, 1] if they are not uint8", "1.5 at index (0, 1)", where="test"):
        spec.to_array(np.array([[0.0, 1.5]]), np.float64, "test")
    with refused("images", "must be in [-1, 1]", "-1.25 at index (13, 0)", where="test"):
        spec.to_array(np.array([[-1.25, 0.0]]), np.float64, "test", first=13)
    with refused("images", "must be finite", "nan at index (0, 1)", where="test", error=NonFiniteError):
        spec.to_array(np.array([[0.0, np.nan]]), np.float64, "test")


def test_examples_come_flat_or_in_their_shape():
    spec, x = DataSpec((2, 3)), np.random.default_rng(0).random((4, 2, 3))
    assert np.shares_memory(spec.to_array(x, np.float64, "test"), x)  # as they are: no copy
    np.testing.assert_array_equal(spec.to_array(x.reshape(4, 6), np.float64, "test"), x)


@pytest.mark.parametrize(
    ("shape", "bad", "needed", "got"),
    [
        ((2, 3), (4, 2, 2), "must have shape (n, 2, 3) or (n, 6)", "shape (4, 2, 2)"),
        (
            (2, 3), (4, 3, 2),
            "must have shape (n, 2, 3) or (n, 6); np.moveaxis(images, 1, -1) has this shape", "(4, 3, 2)",
        ),
        ((16,), (4, 15), "must have shape (n, 16)", "shape (4, 15)"),
        ((16,), (16,), "must have shape (n, 16); images[None] is a batch of one", "shape (16,)"),
        ((), (4, 2), "must have shape (n,) or (n, 1)", "shape (4, 2)"),
        ((2,), (), "must have shape (n, 2)", "shape ()"),
    ],
)  # fmt: skip
def test_examples_of_another_shape_are_refused(shape, bad, needed, got):
    with refused("images", needed, got, where="test") as caught:
        DataSpec(shape).to_array(np.zeros(bad), np.float64, "test")
    assert caught.value.needed == needed  # no shape is said twice


@pytest.mark.parametrize(
    ("options", "argument", "needed", "got"),
    [
        ({"shape": (2, 0)}, "shape[1]", "must be an integer of at least 1", "0"),
        ({"shape": 28}, "shape", "must be a sequence of integers", "28"),
        ({"low": np.nan}, "low", "must be in (-inf, inf)", "nan"),
        ({"low": "a"}, "low", "must be a number in (-inf, inf)", "'a'"),
        ({"high": np.inf}, "high", "must be in (0.0, inf)", "inf"),
        ({"low": 1, "high": 1}, "high", "must be in (1.0, inf)", "1.0"),
        ({"low": 1, "high": -1}, "high", "must be in (1.0, inf)", "-1.0"),
    ],
)
def test_a_range_or_a_shape_of_nothing_is_refused(options, argument, needed, got):
    with refused(argument, needed, got, where="DataSpec"):
        DataSpec(**options)


# A model of a waveform: 16 numbers in [-1, 1].

WAVE = DataSpec((16,), -1, 1)


MODELS = {
    "vqvae": lambda: VQVAE(
        Sequential(Linear(16, 8, 1), Reshape(4, 2)),
        EMAVectorQuantizer(5, 2, codebook_init="data"),
        Sequential(Flatten(), Linear(8, 16, 2)),
        WAVE,
    ),
    "autoencoder": lambda: Autoencoder(Linear(16, 4, 1), Linear(4, 16, 2), WAVE),
    "vae": lambda: VAE(Linear(16, 8, 1), Linear(4, 16, 2), WAVE, "gaussian"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_another_range_takes_it_and_gives_it_back(name, rng):
    """Floats in [-1, 1] and bytes alike; it learns, clips to the range, and refuses what is outside."""
    model, t = MODELS[name](), np.arange(16)
    x = np.sin(t / rng.uniform(1, 4, (80, 1)) + rng.uniform(0, 7, (80, 1))).astype(np.float32)
    history = vqnp.fit(model, x, x, epochs=6, batch_size=8, lr=1e-2, progress=False)
    assert history[-1]["test_mse"] < 0.8 * history[0]["test_mse"]
    x_hat = model.reconstruct(x)
    assert x_hat.shape == x.shape and -1 <= x_hat.min() < -0.2 and 0.2 < x_hat.max() <= 1
    z = model.quantizer.decode(model.encode(x)) if name == "vqvae" else model.encode(x)
    raw = model.decoder.forward(z)[0]
    np.testing.assert_allclose(x_hat, np.clip(raw, -1, 1), rtol=1e-5, atol=1e-6)
    scaled = np.rint((x + 1) / 2 * 255).astype(np.uint8)
    as_floats = WAVE.to_array(scaled, np.float32, "test")
    np.testing.assert_array_equal(model.encode(scaled), model.encode(as_floats))
    with refused("images", "must be in [-1, 1]", "1.5 at index (0, 0)"):
        model.encode(np.full((1, 16), 1.5))
    assert model.evaluate(x).row()["test_mse"] == pytest.approx(float(np.mean((x_hat - x) ** 2)), rel=1e-5)


def test_a_bernoulli_likelihood_is_of_numbers_between_0_and_1():
    """σ(a) is never below 0: the data's own range would not be reached."""
    with refused("data", "must be in [0, 1] for a Bernoulli likelihood", "[-1, 1]", where="VAE"):
        VAE(Linear(16, 8), Linear(4, 16), WAVE)
    assert VAE(Linear(16, 8), Linear(4, 16), DataSpec((16,))).likelihood == "bernoulli"


def test_codes_of_models_of_two_ranges_are_not_the_same_codes():
    """The fingerprint knows the range: the same codes stand for other data."""
    specs = DataSpec((4,), 0), DataSpec((4,), -1)
    assert len({Autoencoder(Linear(4, 2, 1), Linear(2, 4, 2), spec).fingerprint() for spec in specs}) == 2
