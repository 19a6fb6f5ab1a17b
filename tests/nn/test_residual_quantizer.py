"""Residual quantization as a layer: how its codebooks start and are updated, sharing, quantizer dropout."""

import numpy as np
import pytest
from helpers import gradcheck_loss, refused

from vqnp import VQVAE, load, nearest_code, ops, save
from vqnp.nn import EMAVectorQuantizer, ResidualVectorQuantizer


def residuals(z, books):
    """(residual before, codes) of each depth, the codes as they are now."""
    r, found = z, []
    for e in books:
        k = nearest_code(r, e)
        found.append((r, k))
        r = r - e[k]
    return found


def made(n=3, **options):
    settings = {"codebook_init": "normal", "restart_dead_codes": 0.0, "rng": 1, "dtype": "float64"}
    return ResidualVectorQuantizer(n, 5, 2, **settings | options)


def test_each_codebook_averages_the_residuals_of_its_depth(rng):
    quantizer, z = made(decay=0.8), rng.standard_normal((4, 10, 2))
    before = quantizer.embeddings
    k = quantizer.encode(z)
    assert quantizer.after_step(z, k, rng).keys() == {"0.E", "1.E", "2.E"}
    for e, book, (r, j) in zip(before, quantizer.books, residuals(z, before), strict=True):
        expected = ops.ema_update(ops.ema_initialize(e), r, j, 0.8)
        np.testing.assert_allclose(book.embeddings, expected.E, rtol=1e-12)


def test_a_shared_codebook_is_updated_once_with_all_depths(rng):
    quantizer, z = made(decay=0.8, shared_codebook=True), rng.standard_normal((40, 2))
    (e,) = quantizer.embeddings
    quantizer.after_step(z, quantizer.encode(z), rng)
    pairs = residuals(z, [e, e, e])
    r, k = (np.concatenate(each) for each in zip(*pairs, strict=True))
    expected = ops.ema_update(ops.ema_initialize(e), r, k, 0.8)
    np.testing.assert_allclose(quantizer.books[0].embeddings, expected.E, rtol=1e-12)
    assert quantizer.books[0].ema.t == 1 and quantizer.embeddings.shape == (1, 5, 2)


def test_codes_that_an_example_does_not_have_are_neither_averaged_nor_counted(rng):
    quantizer, z = made(quantizer_dropout=1.0), rng.standard_normal((60, 3, 2))
    z_q, _, _, k, _ = quantizer.forward(z, np.random.default_rng(0))
    n = (k >= 0).sum(axis=-1)
    assert (n == n[:, :1]).all() and set(n[:, 0]) == {1, 2, 3}  # one number for each example
    assert quantizer.counts(k).sum(axis=1).tolist() == [(n > i).sum() for i in range(3)]
    whole = quantizer.encode(z)
    np.testing.assert_array_equal(k, np.where(np.arange(3) < n[..., None], whole, -1))
    parts = quantizer.decode_parts(whole) * (np.arange(3) < n[..., None])[..., None]
    np.testing.assert_allclose(z_q, parts.sum(axis=-2), atol=1e-15)
    before = quantizer.embeddings
    quantizer.after_step(z, k, rng)
    for i, (r, j) in enumerate(residuals(z.reshape(-1, 2), before)):
        has = (n > i).reshape(-1)
        expected = ops.ema_update(ops.ema_initialize(before[i]), r[has], j[has])
        np.testing.assert_allclose(quantizer.books[i].embeddings, expected.E, rtol=1e-12)


def test_without_a_generator_or_without_dropout_no_code_is_dropped(rng):
    z, state = rng.standard_normal((9, 2)), np.random.default_rng(0)
    assert (made(quantizer_dropout=1.0).forward(z)[3] >= 0).all()
    before = state.bit_generator.state
    assert (made().forward(z, state)[3] >= 0).all() and state.bit_generator.state == before


@pytest.mark.parametrize("init", ["data", "kmeans"])
@pytest.mark.parametrize("shared", [False, True])
def test_the_codebooks_start_from_what_the_ones_before_leave(init, shared, rng, tmp_path):
    z = rng.standard_normal((200, 2)) + 5
    quantizer = made(codebook_init=init, shared_codebook=shared)
    assert not quantizer.initialized
    model = VQVAE.mlp((2, 2), 3, hidden=(4,), quantizer=made(codebook_init=init, shared_codebook=shared),
                      dtype="float64")  # fmt: skip
    save(tmp_path / "m.npz", model)
    assert not load(tmp_path / "m.npz").quantizer.initialized
    quantizer.initialize(z, 0)
    assert quantizer.initialized
    error = ((quantizer.decode(quantizer.encode(z)) - z) ** 2).mean()
    assert error < (1.0 if shared else 0.25) * z.var()  # a shared one has codes for all depths
    if not shared:  # the first codes are near the data, the others near 0
        assert np.abs(quantizer.embeddings[0].mean() - 5) < 1 and np.abs(quantizer.embeddings[1:].mean()) < 1
    if init == "data" and not shared:
        assert all((quantizer.embeddings[0][j] == z).all(axis=1).any() for j in range(5))
    kept = quantizer.embeddings
    quantizer.initialize(z[::-1] + 1, 1)  # once
    np.testing.assert_array_equal(quantizer.embeddings, kept)


def test_dead_codes_restart_at_residuals_of_their_depth(rng):
    quantizer = made(2, restart_dead_codes=0.5, decay=0.0)
    z = 0.1 * rng.standard_normal((50, 2))
    restarted = quantizer.after_step(z, quantizer.encode(z), rng)
    assert sum(map(len, restarted.values()))
    assert np.abs(quantizer.embeddings[1][restarted["1.E"]]).max() < 2


def test_the_whole_models_gradient(rng):
    """Of the loss alone, against the loss with every stop-gradient frozen."""
    model = VQVAE.mlp((2, 2), 2, hidden=(4,), activation="tanh", dtype="float64", rng=1,
                      quantizer=made(2, codebook="gradient"))  # fmt: skip
    x, n = rng.standard_normal((5, 2, 2)), 2
    z0 = model.encoder.forward(x)[0]
    books = [book.embeddings.copy() for book in model.quantizer.books]
    kept = residuals(z0.reshape(-1, 2), books)
    z_q0 = model.quantizer.decode(model.quantizer.encode(z0))

    def freeze(x0, *arrays):
        def surrogate(x, *arrays):
            old = [p.value.copy() for p in model.parameters()]
            for p, value in zip(model.parameters(), arrays, strict=True):
                p.value[...] = value
            z = model.encoder.forward(x)[0]
            x_hat = model.decoder.forward(z + (z_q0 - z0))[0]
            L, partial = ((x_hat - x0) ** 2).mean(), np.zeros_like(z0)
            for i, (r, k) in enumerate(kept):
                e = model.quantizer.books[i].embeddings
                L = L + ((r - e[k]) ** 2).mean() / n
                partial = partial + books[i][k].reshape(z0.shape)
                L = L + 0.25 * ((z - partial) ** 2).mean() / n
            for p, value in zip(model.parameters(), old, strict=True):
                p.value[...] = value
            return np.asarray(L)

        return surrogate

    gradcheck_loss(model, x, freeze, rng).raise_if_failed()


def test_wrong_arguments():
    with refused("num_quantizers", "at least 2", "1", where="ResidualVectorQuantizer"):
        ResidualVectorQuantizer(1, 5, 2)
    with refused("quantizer_dropout", "[0, 1]"):
        ResidualVectorQuantizer(2, 5, 2, quantizer_dropout=1.5)
    with refused("codebook", "one of"):
        ResidualVectorQuantizer(2, 5, 2, codebook="kmeans")
    with refused("num_embeddings", "at least 1"):
        ResidualVectorQuantizer(2, 0, 2)
    assert isinstance(made().book(4), EMAVectorQuantizer)
