"""The figures of a VQ-VAE hold what they say, and can be read."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from plots.layout import assert_legible

from vqnp import VQVAE, evaluate, fit, load_dataset
from vqnp.inspection import code_anatomy
from vqnp.plots import codebook_figure, inspection_figure, save_figure, training_figure
from vqnp.plots.curves import draw_sorted

TEST = load_dataset("digits", "test").images[:200]


def history(epochs, codebook_loss=0.0):
    return [
        {
            "epoch": e,
            "loss": 0.1 / e + 0.01 + codebook_loss,
            "reconstruction_loss": 0.1 / e,
            "codebook_loss": codebook_loss,
            "commitment_loss": 0.01,
            "perplexity": 4 + e / epochs,
            "test_mse": 0.2 / e,
            "test_perplexity": e / epochs,
        }
        for e in range(1, epochs + 1)
    ]


@pytest.fixture(scope="module")
def model():
    model = VQVAE.mlp(num_latents=3, embedding_dim=4, num_embeddings=8, hidden=(12,))
    fit(model, TEST, epochs=3, progress=False)
    return model


def is_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_the_training_figure(model, tmp_path):
    result = evaluate(model, TEST)
    figure = training_figure(result, model, history(3), TEST)
    loss, perplexity, images, usage, *codes = figure.axes
    curves = {line.get_label(): line.get_ydata() for line in loss.lines}
    assert len(curves) == 3, "the codebook loss is 0 throughout and not drawn"
    np.testing.assert_allclose(curves["reconstruction, training"], [0.1, 0.05, 0.1 / 3])
    np.testing.assert_allclose(curves["reconstruction, test (clipped to [0, 1])"], [0.2, 0.1, 0.2 / 3])
    np.testing.assert_allclose(curves["commitment loss, training"], 0.01)
    np.testing.assert_allclose(perplexity.lines[0].get_ydata(), [4 + 1 / 3, 4 + 2 / 3, 5])
    np.testing.assert_allclose(perplexity.lines[1].get_ydata(), [1 / 3, 2 / 3, 1])
    pairs = images.get_images()[0].get_array()
    assert pairs.shape == (2 * 29 + 1, 10 * 29 + 1)
    np.testing.assert_allclose(pairs[1:29, 1:29], TEST[0] / 255, atol=1e-6)
    np.testing.assert_allclose(pairs[30:58, 30:58], model.reconstruct(TEST[1:2])[0], atol=1e-6)
    shares = [bar.get_height() for bar in usage.patches]
    np.testing.assert_allclose(shares, 100 * np.sort(result.counts)[::-1] / 600)
    order = np.argsort(-result.counts, kind="stable")
    *codes, heading = codes
    assert heading.get_title() == "Most used codes: pixels raised red, lowered blue"
    assert [axes.get_title() for axes in codes] == [f"code {j}" for j in order if result.counts[j]]
    for axes in (loss, perplexity, usage):
        assert axes.get_title() and axes.get_xlabel() and axes.get_ylabel()
    save_figure(figure, tmp_path / "training.png")
    assert is_png(tmp_path / "training.png")


@pytest.mark.slow
def test_a_codebook_loss_is_drawn_where_there_is_one(model):
    loss = training_figure(evaluate(model, TEST), model, history(3, 0.03), TEST).axes[0]
    curves = {line.get_label(): line.get_ydata() for line in loss.lines}
    np.testing.assert_allclose(curves["codebook loss, training"], 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2, 60])
def test_the_training_figure_can_be_read(model, epochs):
    assert_legible(training_figure(evaluate(model, TEST), model, history(epochs, 0.03), TEST))


@pytest.mark.slow
def test_the_codebooks_figure(model, tmp_path):
    anatomy = code_anatomy(model, TEST)
    name, book = inspection_figure(evaluate(model, TEST), model, TEST)
    assert name == "codebook.png"
    titles = [axes.get_title() for axes in book.axes[:8]]
    first = anatomy.counts.argmax()
    assert titles[0] == f"{first}: {100 * anatomy.counts[first] / 600:.1f} %"
    assert sum("dead" in title for title in titles) == (anatomy.counts == 0).sum()
    np.testing.assert_array_equal(book.axes[0].get_images()[0].get_array(), anatomy.effect[first])
    assert_legible(book)
    save_figure(book, tmp_path / "codebook.png")
    assert is_png(tmp_path / "codebook.png")


@pytest.mark.slow
@pytest.mark.parametrize("K", [1, 2, 40])
def test_codebooks_of_any_size_can_be_read(K):
    model = VQVAE.mlp(num_latents=2, embedding_dim=2, num_embeddings=K, hidden=())
    _, book = inspection_figure(None, model, TEST)
    assert len(book.axes) == K + 1
    assert_legible(book)


@pytest.mark.slow
def test_one_image_one_epoch_and_one_code_can_be_drawn():
    model = VQVAE.mlp((5,), num_latents=1, embedding_dim=1, num_embeddings=1, hidden=())
    x = np.random.default_rng(0).random((2, 5))
    rows = fit(model, x, epochs=1, progress=False)
    assert_legible(training_figure(evaluate(model, x[:1]), model, rows, x[:1]))
    assert_legible(inspection_figure(None, model, x[:1])[1])


@pytest.mark.slow
def test_images_without_any_error_can_be_drawn(tmp_path):
    """Black images: every loss is 0, which has no place on a logarithmic axis."""
    x = np.zeros((30, 28, 28), np.uint8)
    model = VQVAE.mlp(num_latents=1, embedding_dim=1, num_embeddings=2, hidden=())
    losses = {"loss": 0.0, "reconstruction_loss": 0.0, "codebook_loss": 0.0, "commitment_loss": 0.0}
    figure = training_figure(evaluate(model, x), model, [{"epoch": 1, **losses, "perplexity": 1.0}], x)
    save_figure(figure, tmp_path / "a.png")
    assert is_png(tmp_path / "a.png") and not figure.axes[0].lines


@pytest.mark.slow
def test_a_plane_of_latents_and_colours_can_be_drawn():
    from vqnp.nn import EMAVectorQuantizer, Flatten, Linear, Reshape, Sequential

    encoder = Sequential(Flatten(), Linear(4 * 6 * 3, 12), Reshape(2, 3, 2))
    decoder = Sequential(Flatten(), Linear(12, 4 * 6 * 3), Reshape(4, 6, 3))
    model = VQVAE(encoder, EMAVectorQuantizer(5, 2, codebook_init="data"), decoder, {"shape": (4, 6, 3)})
    x = np.random.default_rng(0).random((40, 4, 6, 3), np.float32)
    rows = fit(model, x, x, epochs=2, progress=False)
    assert_legible(training_figure(evaluate(model, x), model, rows, x))
    assert_legible(inspection_figure(None, model, x)[1])


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(28, 28), (16, 16, 3), (64,), (64, 2)])
def test_a_convolutional_models_figures_can_be_read(shape):
    x = np.random.default_rng(0).random((60, *shape), np.float32)
    ndim = 1 if shape[0] == 64 else 2
    conv = VQVAE.conv(shape, 4, 2, 1, num_embeddings=20, ndim=ndim)
    fit(conv, x, epochs=1, progress=False)
    result = evaluate(conv, x)
    training = training_figure(result, conv, history(2), x)
    _, codebook = inspection_figure(result, conv, x)
    for figure in (training, codebook):
        assert_legible(figure)
    drawn = training.axes[2].get_images()[0].get_array()
    if shape == (16, 16, 3):
        np.testing.assert_allclose(drawn[1:17, 1:17], x[0], atol=1e-6)
    assert ("signals" in training.axes[2].get_title()) == (ndim == 1)


@pytest.mark.slow
def test_a_frame_marks_the_position_at_which_a_code_is_used_most():
    conv = VQVAE.conv((16, 24), 4, 2, 1, num_embeddings=9)
    anatomy = code_anatomy(conv, np.random.default_rng(0).random((60, 16, 24), np.float32))
    panels = codebook_figure(anatomy, conv).axes[:9]
    for axes, j in zip(panels, np.argsort(-anatomy.counts, kind="stable"), strict=True):
        assert len(axes.patches) == (anatomy.counts[j] > 0)
        for frame in axes.patches:
            row, column = np.unravel_index(anatomy.latent[j], (4, 6))
            np.testing.assert_allclose(frame.get_xy(), (4 * column - 0.5, 4 * row - 0.5))
            assert (frame.get_width(), frame.get_height()) == (4, 4)
    assert not any(axes.patches for axes in codebook_figure(anatomy).axes[:9])


@pytest.mark.slow
def test_a_very_large_codebooks_use_is_one_shape():
    """20,000 bars would take a minute."""
    axes, use = Figure().add_subplot(), np.random.default_rng(0).random(20_000)
    draw_sorted(axes, use, "use", "code", "share")
    (shape,) = axes.patches
    np.testing.assert_array_equal(shape.get_data().values, np.sort(use)[::-1])
    assert axes.get_xlim() == (0.5, 20_000.5)


@pytest.mark.slow
def test_a_code_that_is_never_used_is_not_among_the_most_used(model):
    few = TEST[:1]
    titles = [axes.get_title() for axes in training_figure(evaluate(model, few), model, history(3), few).axes]
    used = {f"code {j}" for j in np.unique(model.encode(few))}
    assert {title for title in titles if title.startswith("code ")} == used
