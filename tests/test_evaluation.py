"""evaluate, code_anatomy and the pictures: what is said of a model is what the model does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqnp import VQVAE, InputError, evaluate, fit, load_dataset
from vqnp.data import open_images
from vqnp.evaluation.codes import batches
from vqnp.inspection.anatomy import code_anatomy
from vqnp.plots.codebook import codebook_figure, flat_images, save_sheet, tiles, training_figure
from vqnp.plots.style import save_figure

TEST = load_dataset("digits", "test").images[:200]


@pytest.fixture(scope="module")
def model():
    model = VQVAE(num_latents=3, embedding_dim=4, num_embeddings=8, hidden=(12,))
    fit(model, TEST, epochs=3, progress=False)
    return model


def test_evaluate_is_the_definition(model):
    result = evaluate(model, TEST)
    k = model.encode(TEST)
    assert result.mse == pytest.approx(np.mean((model.decode(k).astype("d") - TEST / 255.0) ** 2), rel=1e-12)
    np.testing.assert_array_equal(result.counts, np.bincount(k.ravel(), minlength=8))
    assert result.codes_used == len(np.unique(k)) and result.images == 200 and result.bits_per_image == 9
    assert result.utilization == result.perplexity / 8


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_images_in_memory_or_streamed_are_the_same(model, tmp_path, dtype):
    images = TEST if dtype == "u1" else (TEST / 255.0).astype(dtype)
    np.save(tmp_path / "x.npy", images)
    streamed, in_memory = evaluate(model, open_images(tmp_path / "x.npy")), evaluate(model, images)
    assert streamed.mse == in_memory.mse
    np.testing.assert_array_equal(streamed.counts, in_memory.counts)


def test_the_counts_of_a_set_are_those_of_its_parts(model):
    whole = evaluate(model, TEST)
    parts = [evaluate(model, TEST[i : i + 70]) for i in range(0, 200, 70)]
    np.testing.assert_array_equal(whole.counts, sum(part.counts for part in parts))
    assert whole.mse == pytest.approx(sum(p.mse * p.images for p in parts) / 200, rel=1e-6)


def test_nothing_to_evaluate(model):
    with pytest.raises(InputError, match="evaluate: images must hold at least one image; got none"):
        evaluate(model, TEST[:0])
    with pytest.raises(InputError, match="evaluate: images must be finite; got nan at index"):
        evaluate(model, np.full((3, 28, 28), np.nan))


@given(st.integers(0, 20), st.integers(1, 25))
def test_batches_are_the_whole_in_order(n, size):
    parts = list(batches(np.arange(n), size))
    assert [i for part in parts for i in part] == list(range(n))
    assert all(len(part) == size for part in parts[:-1])


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


def test_tiles_puts_each_image_where_it_belongs():
    images = np.arange(5.0).reshape(5, 1, 1) * np.ones((1, 2, 3))
    sheet = tiles(images, 3, gap=1, background=-1)
    assert sheet.shape == (2 * 3 + 1, 3 * 4 + 1)
    for i in range(5):
        r, c = 1 + i // 3 * 3, 1 + i % 3 * 4
        assert (sheet[r : r + 2, c : c + 3] == i).all()
    assert (sheet[4:6, 9:12] == -1).all() and (sheet[0] == -1).all()


@pytest.mark.parametrize(
    ("shape", "flat"), [((4, 3, 5), (3, 5)), ((4, 9), (3, 3)), ((4, 10), (1, 10)), ((4, 6, 5, 3), (6, 5))]
)
def test_images_of_any_shape_can_be_drawn(shape, flat):
    assert flat_images(np.zeros(shape)).shape == (4, *flat)


@pytest.mark.slow
def test_the_figures_hold_what_they_say(model, tmp_path):
    history = [
        {
            "epoch": e,
            "mse": 0.1 / e,
            "quantization_loss": 0.01,
            "perplexity": 5 + e,
            "test_mse": 0.2 / e,
            "test_perplexity": e,
        }  # noqa: E501
        for e in (1, 2, 3)
    ]
    result, anatomy = evaluate(model, TEST), code_anatomy(model, TEST)
    figure = training_figure(history, TEST, model.reconstruct(TEST), result.counts, anatomy)
    loss, perplexity, images, usage, *codes = figure.axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [0.1, 0.05, 0.1 / 3])
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [0.2, 0.1, 0.2 / 3])
    np.testing.assert_allclose(perplexity.lines[0].get_ydata(), [6, 7, 8])
    assert images.get_images()[0].get_array().shape == (2 * 29 + 1, 10 * 29 + 1)
    shares = [bar.get_height() for bar in usage.patches]
    np.testing.assert_allclose(shares, 100 * np.sort(result.counts)[::-1] / 600)
    assert len(codes) == 8
    for axes in (loss, perplexity, usage):
        assert axes.get_title() and axes.get_xlabel() and axes.get_ylabel()
    book = codebook_figure(anatomy)
    titles = [axes.get_title() for axes in book.axes[:8]]
    assert titles[0].startswith(f"{anatomy.counts.argmax()}: ")
    assert sum("dead" in title for title in titles) == (anatomy.counts == 0).sum()
    for name, drawn in (("training", figure), ("codebook", book)):
        save_figure(drawn, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_one_image_one_epoch_and_one_code_can_be_drawn(tmp_path):
    model = VQVAE(image_shape=(5,), num_latents=1, embedding_dim=1, num_embeddings=1, hidden=())
    x = np.random.default_rng(0).random((2, 5))
    history = fit(model, x, epochs=1, progress=False)
    anatomy = code_anatomy(model, x)
    counts = evaluate(model, x).counts
    save_figure(
        training_figure(history, x[:1], model.reconstruct(x[:1]), counts, anatomy), tmp_path / "a.png"
    )
    save_figure(codebook_figure(anatomy), tmp_path / "b.png")


def test_a_sheet_is_the_images(tmp_path):
    from matplotlib.image import imread

    with open(tmp_path / "s.png", "wb") as file:
        save_sheet(file, TEST[:3] / 255.0, columns=3)
    pixels = imread(tmp_path / "s.png")[2:58:2, 2:58:2, 0]
    np.testing.assert_allclose(pixels, TEST[0] / 255.0, atol=1 / 255)


def test_a_few_images_are_no_collapse_during_training(model):
    """Over n codes perplexity is at most n: the training's history says nothing about so few."""
    history = [{"epoch": e, "perplexity": 7.5, "mse": 1.0 / e} for e in range(1, 9)]
    assert "collapse during" not in evaluate(model, TEST[:1], history).diagnosis.level
    assert "overfitting" not in evaluate(model, TEST[:1], history).diagnosis.level


@pytest.mark.slow
def test_images_without_any_error_can_be_drawn(tmp_path):
    """Black images: every loss is 0, which has no place on a logarithmic axis."""
    x = np.zeros((30, 28, 28), np.uint8)
    model = VQVAE(num_latents=1, embedding_dim=1, num_embeddings=2, hidden=())
    history = [{"epoch": 1, "mse": 0.0, "quantization_loss": 0.0, "perplexity": 1.0}]
    anatomy, counts = code_anatomy(model, x), evaluate(model, x).counts
    save_figure(training_figure(history, x, model.reconstruct(x), counts, anatomy), tmp_path / "a.png")
