"""What straight_through puts in place of the copied gradient: brute force, and what must not move."""

import numpy as np
import pytest
import straight_through as study
from _gradients import Replaced, agreement, effects, fitted, nearest_others, replaced
from _study import Row

import vqnp
from vqnp.nn import EMAVectorQuantizer
from vqnp.training.trainer import Schedule, Trainer

M, D, K, B = 2, 3, 5, 4


def tiny(gradient="straight-through", beta=0.25):
    """A model of 2 × 2 pixels in float64."""
    quantizer = EMAVectorQuantizer(K, D, beta, codebook_init="normal", rng=1, dtype=np.float64)
    usual = vqnp.VQVAE.mlp((2, 2), num_latents=M, hidden=(4,), quantizer=quantizer, rng=0, dtype="float64")
    model = Replaced(usual.encoder, usual.quantizer, usual.decoder, usual.data)
    model.gradient = gradient
    return model


def received(model, x):
    """dz_q, what takes its place, z and k."""
    losses, cache = model.loss((x,))
    *_, decoder_cache, error_cache, z, k = cache
    dz_q = model.decoder.backward(model._error_backward(1.0, error_cache), decoder_cache)
    return dz_q, replaced(model.gradient, dz_q, model, x, z, k), z, k


def test_a_difference_is_the_loss_of_the_batch_with_the_other_code_minus_the_loss(rng):
    """Brute force: every distance, and the whole batch decoded anew for one changed code."""
    model, x = tiny("differences-1"), rng.random((B, 2, 2))
    dz_q, g, z, k = received(model, x)
    E = model.quantizer.embeddings
    loss = lambda codes: ((model.decoder.forward(E[codes])[0] - x) ** 2).mean()  # noqa: E731
    wanted = np.zeros_like(z)
    for i in range(B):
        for m in range(M):
            distances = [((z[i, m] - E[j]) ** 2).sum() for j in range(K)]
            a, b = np.argsort(distances)[:2]
            changed = k.copy()
            changed[i, m] = b
            d = E[b] - E[a]
            wanted[i, m] = (loss(changed) - loss(k)) * d / (d @ d)
    assert k[0, 0] == np.argmin(((z[0, 0] - E) ** 2).sum(axis=1)) and np.abs(wanted).max() > 1e-6
    assert np.allclose(g, wanted * np.sqrt((dz_q**2).sum() / (wanted**2).sum()), rtol=1e-9, atol=1e-15)


def test_the_effects_of_all_codes_at_once_are_those_of_one_after_another(rng):
    model, x = tiny(), rng.random((B, 2, 2))
    *_, z, k = received(model, x)
    E = model.quantizer.embeddings
    j = nearest_others(z.reshape(-1, D), k.reshape(-1), E, K - 1)
    assert (np.sort(np.column_stack([j, k.reshape(-1)])) == np.arange(K)).all()
    far = ((z.reshape(-1, 1, D) - E[j]) ** 2).sum(axis=2)
    assert (np.diff(far, axis=1) >= 0).all()
    delta = effects(lambda q: model.decoder.forward(q)[0], x, E[k], E[j].reshape(B, M, K - 1, D))
    for i, m, at in np.ndindex(delta.shape):
        changed = k.copy()
        changed[i, m] = j.reshape(B, M, -1)[i, m, at]
        error = [((model.decoder.forward(E[codes])[0][i] - x[i]) ** 2).mean() for codes in (changed, k)]
        assert np.isclose(delta[i, m, at], error[0] - error[1], rtol=1e-9, atol=1e-15)


def test_a_fit_finds_the_gradient_of_linear_effects(rng):
    g, d = rng.standard_normal((6, D)), rng.standard_normal((6, 8, D))
    assert np.allclose(fitted(np.einsum("nd,njd->nj", g, d), d), g, atol=0.02 * np.abs(g).max())
    one = fitted((d[:, :1] * g[:, None]).sum(axis=2), d[:, :1])
    assert np.allclose((one * d[:, 0]).sum(axis=1), (g * d[:, 0]).sum(axis=1))
    assert not fitted(np.ones((6, 1)), np.zeros((6, 1, D))).any(), "two codes that coincide"


@pytest.mark.parametrize("gradient", ["frozen", "commitment-only", "straight-through", "other-image"])
def test_what_moves_in_a_training(gradient, rng):
    """A frozen encoder does not, to the bit; its decoder and codes do."""
    model = tiny(gradient, beta=0.0 if gradient == "commitment-only" else 0.25)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    trainer = Trainer(model, rng.random((8, 2, 2)), Schedule(1, 4))
    trainer.initialize()
    for _ in range(trainer.steps):
        trainer.train_step()
    moved = {name: not np.array_equal(array, before[name]) for name, array in model.state_dict().items()}
    encoder = [value for name, value in moved.items() if name.startswith("encoder")]
    still = gradient in ("frozen", "commitment-only")  # nothing is left of the latter without its cost
    assert encoder and not any(encoder) if still else all(encoder)
    assert all(value for name, value in moved.items() if name.startswith("decoder")) and moved["quantizer.E"]


def test_the_usual_gradient_is_that_of_a_vq_vae_bit_for_bit(rng):
    model, x = tiny(), rng.random((B, 2, 2))
    model.backward(model.loss((x,))[1])
    mine = {name: param.grad.copy() for name, param in model.named_parameters()}
    usual = vqnp.VQVAE(model.encoder, model.quantizer, model.decoder, model.data)
    usual.zero_grad()
    usual.backward(usual.loss((x,))[1])
    assert all(np.array_equal(mine[name], param.grad) for name, param in usual.named_parameters())


@pytest.mark.parametrize("name", ["other-image", "sign", "batch-mean", "one-direction", "differences-3"])
def test_other_gradients_are_as_long_as_the_copied_one(name, rng):
    model, x = tiny(name), rng.random((B, 2, 2))
    dz_q, g, z, k = received(model, x)
    assert g.shape == dz_q.shape and not np.allclose(g, dz_q)
    assert np.isclose((g**2).sum(), (dz_q**2).sum())
    if name == "other-image":
        assert not (g == dz_q).all(axis=(1, 2)).any(), "no image is its own donor"
    if name == "one-direction":
        E = model.quantizer.embeddings
        j = nearest_others(z.reshape(-1, D), k.reshape(-1), E, 1)[:, 0]
        d, flat = E[j] - E[k.reshape(-1)], g.reshape(-1, D)
        along = ((flat * d).sum(axis=1) ** 2) / ((flat**2).sum(axis=1) * (d**2).sum(axis=1))
        assert np.allclose(along, 1)


def test_small_steps_are_predicted_and_the_gradient_of_another_image_predicts_less(rng):
    """Of codes that nearly coincide the effects are linear in them."""
    model, x = tiny(), rng.random((40, 2, 2))
    model.quantizer.embeddings[...] = 1 + 1e-4 * model.quantizer.embeddings  # off the kinks at the origin
    found = agreement(model, x, rng)
    own = [found[name] for name in ("near_cosine", "far_cosine", "tenth_cosine")]
    assert min(own) > 0.999 and found["near_agree"] > 97
    assert found["near_agree_other"] < 97 and found["near_cosine_other"] < 0.99
    assert found["fit_cosine"] > 0.99 and 0 <= found["better"] <= 100


def test_shares_are_seed_by_seed():
    def row(gradient, *errors):
        setting = {"network": "64", "M": 4, "epochs": 1, "gradient": gradient}
        return Row(setting, [{"mse": error, "mean_image": 5.0} for error in errors])

    rows = [row("straight-through", 1.0, 3.0), row("frozen", 3.0, 2.0)]
    study.compare(rows)
    assert rows[0]["share"].tolist() == [1, 1] and rows[1]["share"].tolist() == [0.5, 1.5]
