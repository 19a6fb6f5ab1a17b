"""The figures of an autoencoder and of a VAE hold what they say, and can be read."""

import numpy as np
import pytest
from plots.layout import assert_legible

from vqnp import VAE, Autoencoder, evaluate, fit, load_dataset
from vqnp.nn import Flatten, Linear, Reshape, Sequential
from vqnp.plots import inspection_figure, save_figure, training_figure

TEST = load_dataset("digits", "test").images[:100]


def plane():
    """A VAE with six units in a plane, (3, 2)."""
    encoder = Sequential(Flatten(), Linear(784, 12), Reshape(3, 4))
    return VAE(encoder, Sequential(Flatten(), Linear(6, 784), Reshape(28, 28)))


MODELS = {
    "vae": lambda: VAE.mlp(latent_dim=20, hidden=(12,)),
    "autoencoder": lambda: Autoencoder.mlp(latent_dim=20, hidden=(12,)),
    "plane": plane,
    "conv": lambda: VAE.conv(channels=4, residual_channels=2, latent_dim=2),
    "one unit": lambda: Autoencoder.mlp(latent_dim=1, hidden=()),
}


@pytest.fixture(scope="module")
def made():
    """(model, history, report) of each, trained for two epochs."""
    done = {}
    for name, make in MODELS.items():
        model = make()
        rows = fit(model, TEST, TEST, epochs=2, progress=False)
        done[name] = model, rows, evaluate(model, TEST)
    return done


@pytest.mark.slow
def test_the_training_figure_of_a_vae(made):
    model, rows, result = made["vae"]
    figure = training_figure(result, model, rows, TEST)
    loss, units, images, kl, samples = figure.axes
    columns = ("reconstruction_loss", "test_reconstruction_loss", "kl", "test_kl")
    for line, column in zip(loss.lines, columns, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), [row[column] for row in rows])
    assert units.lines[0].get_ydata().tolist() == [row["test_active_units"] for row in rows]
    assert images.get_images()[0].get_array().shape == (2 * 29 + 1, 10 * 29 + 1)
    heights = [bar.get_height() for bar in kl.patches]
    np.testing.assert_allclose(heights, np.sort(result.kl_per_unit)[::-1])
    drawn = samples.get_images()[0].get_array()
    np.testing.assert_allclose(drawn[1:29, 1:29], model.sample(18, 0)[0], atol=1e-6)


@pytest.mark.slow
def test_the_training_figure_of_an_autoencoder(made):
    model, rows, result = made["autoencoder"]
    loss, images, variance, between = training_figure(result, model, rows, TEST).axes
    for line, column in zip(loss.lines, ("reconstruction_loss", "test_mse"), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), [row[column] for row in rows])
    heights = [bar.get_height() for bar in variance.patches]
    np.testing.assert_allclose(heights, np.sort(result.variance)[::-1])
    z = model.encode(TEST[:2])
    half = model.decode(z.mean(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(between.get_images()[0].get_array()[1:29, 1:29], half, atol=1e-5)


@pytest.mark.slow
def test_a_unit_moves_through_its_range_and_the_others_stay(made):
    for name, strength in (("vae", "kl_per_unit"), ("autoencoder", "variance")):
        model, _, result = made[name]
        file, figure = inspection_figure(result, model, TEST)
        (axes,) = figure.axes
        strongest = int(getattr(result, strength).argmax())
        label = axes.get_yticklabels()[0].get_text()
        assert file == "latents.png" and label.startswith(f"unit {strongest}: ")
        assert len(axes.get_yticks()) == 12 and len(axes.get_xticks()) == 11
        codes = model.encode(TEST)
        z = codes[:1].copy()
        column = codes[:, strongest]
        z[0, strongest] = -3 if name == "vae" else column.mean() - 3 * column.std()
        sheet = axes.get_images()[0].get_array()
        np.testing.assert_allclose(sheet[1:29, 1:29], model.decode(z)[0], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("epochs", [1, 2])
def test_the_figures_can_be_read(made, name, epochs, tmp_path):
    model, rows, result = made[name]
    training = training_figure(result, model, rows[:epochs], TEST)
    figures = training, inspection_figure(result, model, TEST)[1]
    for figure in figures:
        assert_legible(figure)
        save_figure(figure, tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
