"""examples/one_page.py does what vqnp does: the same parameters and seed give the same losses and steps."""

import ast
import importlib.util
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from oracles import close

from vqnp import VQVAE, load_dataset
from vqnp.training.trainer import Schedule, Trainer

PAGE = Path(__file__).parents[1] / "examples" / "one_page.py"
NAMES = [f"{part}.{layer}" for part in ("encoder", "decoder") for layer in ("1.W", "1.b", "3.W", "3.b")]
"""vqnp's names of W1, b1, W2, b2 of the encoder and of the decoder, in the page's order."""


@pytest.fixture
def page():
    """The page as a module of each test's own, whose constants a test may set."""
    spec = importlib.util.spec_from_file_location("one_page", PAGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameters(model):
    """The arrays of the encoder and the decoder themselves, in the page's order."""
    named = dict(model.named_parameters())
    assert named.keys() == set(NAMES)
    return [named[name].value for name in NAMES]


@pytest.mark.slow
@pytest.mark.parametrize("decay, restarts", [(0.99, False), (0.9, True)])
def test_fifty_steps_are_those_of_the_trainer(page, decay, restarts):
    """Two epochs of 25 minibatches, the last of an epoch smaller; with the shorter average, codes restart."""
    model = VQVAE.mlp(decay=decay, rng=1, dtype="float64")
    trainer = Trainer(model, load_dataset().images[:790], Schedule(epochs=2, seed=2))
    params, x = [theta.copy() for theta in parameters(model)], trainer.arrays[0].reshape(790, -1)

    theirs, restarted = [], 0
    trainer.initialize()
    for step in range(50):
        losses, _ = model.loss(trainer.take())
        theirs.append([losses["reconstruction_loss"], losses["commitment_loss"]])
        trainer.train_step()
        if step % 25 == 24:
            restarted += trainer.end_epoch()["restarted_codes"]
    assert trainer.step == trainer.steps == 50 and (restarted > 0) == restarts

    page.gamma = decay
    E, N, m, ours = page.train(params, x, np.random.default_rng(2), epochs=2)
    assert params[0].dtype == E.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=0)
    ema = model.quantizer.ema
    pairs = zip([*params, E, N, m], [*parameters(model), ema.E, ema.N, ema.m], strict=True)
    for name, (a, b) in zip([*NAMES, "E", "N", "m"], pairs, strict=True):
        try:
            close(a, b, rtol=1e-10)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


def test_the_parameters_start_as_vqnps(page):
    for ours, theirs in zip(page.initialize(np.random.default_rng(0)), parameters(VQVAE.mlp()), strict=True):
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


@pytest.mark.slow
def test_it_trains_in_float32(page):
    params = page.initialize(np.random.default_rng(0))
    x = load_dataset().images[:64].reshape(64, -1) / np.float32(255)
    state = page.train(params, x, np.random.default_rng(0), epochs=1)[:3]
    gradients = page.backward(*page.forward(params, state[0], x)[-1])
    assert {array.dtype for array in [*params, *state, *gradients]} == {np.dtype(np.float32)}


def test_it_is_one_page_of_plain_numpy():
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert imported == {"sys", "matplotlib.pyplot", "numpy", "vqnp.load_dataset"}


@pytest.mark.slow
def test_main_draws_originals_above_reconstructions(page, tmp_path, capsys):
    out = tmp_path / "page.png"
    page.main(epochs=2, images=320, out=out)
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1: reconstruction 0.") and second.startswith("epoch 2: reconstruction 0.")
    assert float(second.split()[3]) < float(first.split()[3])
    assert last.startswith("test MSE 0.0") and "112 bits" in last
    drawn = matplotlib.image.imread(out)[..., 0]
    assert drawn.shape == (2 * 28 * 4, 10 * 28 * 4)
    originals = np.hstack(load_dataset(split="test").images[:10]) / 255
    assert np.abs(drawn[: 28 * 4 : 4, ::4] - originals).max() < 1 / 255
    assert 0 < np.square(drawn[28 * 4 :: 4, ::4] - originals).mean() < originals.var()
