"""Figures of odd runs: nothing is cut off, nothing lies on anything else, no picture is a strip."""

import numpy as np
import pytest
from plots.layout import assert_legible

from vqnp import VAE, VQVAE, Autoencoder, fit, load_dataset, plots
from vqnp.bench.measure import PEAK, Row
from vqnp.bench.report import bench_figure
from vqnp.plots.codebook import COLUMNS, MOST_TILES, _tiles
from vqnp.plots.sheets import are_signals, bands, best_columns, curves

DIGITS = load_dataset("digits").images
T = np.linspace(0, 1, 64, dtype=np.float32)
SMALL = {"num_latents": 4, "embedding_dim": 4, "hidden": (8,)}
CONV = {"channels": 4, "residual_channels": 2, "residual_blocks": 1, "embedding_dim": 4, "num_embeddings": 8}


def noise(*shape):
    return np.random.default_rng(0).random((60, *shape), np.float32)


def colours():
    return np.stack([DIGITS[:60], DIGITS[60:120], DIGITS[120:180]], axis=-1)


def signals(channels):
    phase = np.random.default_rng(0).random((60, 1, channels), np.float32)
    return 0.5 + 0.5 * np.sin(6 * T[:, None] + 6 * phase)


RUNS = {
    "one epoch": (lambda: VQVAE.mlp(**SMALL, num_embeddings=16), lambda: DIGITS[:60], 1),
    "one code": (lambda: VQVAE.mlp(**SMALL, num_embeddings=1), lambda: DIGITS[:60], 3),
    "600 codes, most of them dead": (
        lambda: VQVAE.mlp(**SMALL, num_embeddings=600), lambda: DIGITS[:60], 2,
    ),
    "colour": (lambda: VQVAE.mlp((28, 28, 3), **SMALL, num_embeddings=16), colours, 2),
    "colour, convolutions": (lambda: VQVAE.conv((28, 28, 3), **CONV), colours, 1),
    "wide": (lambda: VQVAE.mlp((8, 80), **SMALL, num_embeddings=16), lambda: noise(8, 80), 2),
    "tall": (lambda: VQVAE.mlp((80, 8), **SMALL, num_embeddings=16), lambda: noise(80, 8), 2),
    "rows": (lambda: VQVAE.mlp((50,), **SMALL, num_embeddings=16), lambda: noise(50), 2),
    "two channels of a signal": (lambda: VQVAE.conv((64, 2), **CONV, ndim=1), lambda: signals(2), 1),
    "VAE, colour": (lambda: VAE.mlp((28, 28, 3), 6, (8,)), colours, 1),
    "VAE, signals": (lambda: VAE.conv((64, 2), 4, 2, 1, 2, 2, ndim=1), lambda: signals(2), 1),
    "autoencoder, wide": (lambda: Autoencoder.mlp((8, 80), 6, (8,)), lambda: noise(8, 80), 1),
    "autoencoder, very wide": (lambda: Autoencoder.mlp((2, 99), 6, (8,)), lambda: noise(2, 99), 1),
    "autoencoder, tall": (lambda: Autoencoder.mlp((80, 8), 6, (8,)), lambda: noise(80, 8), 1),
}  # fmt: skip


def sheets(figure):
    """The boxes in pixels of the images in a figure, as they are drawn."""
    figure.canvas.draw()
    return [axes.get_window_extent() for axes in figure.axes if axes.images and not axes.lines]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_figures_of_odd_runs_are_legible(name, tmp_path):
    make, data, epochs = RUNS[name]
    model, x = make(), data()
    history = fit(model, x[:40], x[40:], epochs=epochs, progress=False)
    report = model.evaluate(x[40:], history)
    figure = plots.training_figure(report, model, history, x[40:])
    assert_legible(figure)
    largest = max(max(box.width, box.height) for box in sheets(figure))
    assert largest > 0.17 * figure.bbox.width
    _, figure = plots.inspection_figure(report, model, x)
    assert_legible(figure)
    assert figure.bbox.height < 1700
    plots.save_figure(figure, tmp_path / "f.png")
    with open(tmp_path / "s.png", "wb") as file:
        plots.save_sheet(file, model.reconstruct(x[:3]), signals=are_signals(model))


@pytest.mark.slow
@pytest.mark.parametrize("counts", [1, 2, 3])
@pytest.mark.parametrize("computations", [1, 2, 9])
def test_the_figure_of_the_bench_is_legible(counts, computations):
    rows = []
    for t in (1, 2, 16)[:counts]:
        rows.append(Row("FMA peak", "float32", t, 1e-3, 100.0 * t, "GFLOP/s", 1.0, PEAK))
        for i in range(computations):
            rows.append(Row(f"computation {i}", "N=8 D=4", t, 1e-3, 50.0, "GFLOP/s", 0.5, PEAK))
    figure = bench_figure(rows, {"processor": "a processor", "vector_bits": 256})
    assert_legible(figure)
    legend = figure.legends[0].get_window_extent()
    for axes in figure.axes:
        assert not legend.overlaps(axes.get_window_extent())
        assert not legend.overlaps(axes.xaxis.label.get_window_extent())


def test_images_are_laid_out_so_that_they_are_largest():
    assert best_columns(10, 56, 28, 5.0) == 10
    assert best_columns(10, 16, 80, 5.0) < 5
    assert best_columns(10, 80, 8, 5.0) == 10
    for n in (1, 3, 10):
        for height, width in ((1, 100), (100, 1), (7, 7)):
            assert 1 <= best_columns(n, height, width, 2.0) <= n


def test_a_signals_channels_have_colours_and_bands_of_their_own():
    x = np.zeros((1, 8, 2), np.float32)
    x[..., 1] = 1
    low, high = (curves(x)[0, row, 0] for row in (-1, 0))
    assert low.any() and high.any() and (low != high).any()
    assert curves(x[..., 0]).ndim == curves(x[..., :1]).ndim == 3
    band = bands(x)[0]
    assert (band[: len(band) // 2] == 0).all() and (band[len(band) // 2 :] == 1).all()
    many = np.random.default_rng(0).random((2, 8, 7))
    np.testing.assert_allclose(bands(many)[:, 0], many.mean(axis=2))


def test_dead_codes_fill_at_most_a_row_and_the_title_counts_the_others():
    assert _tiles(np.zeros(128, int))[1] == "" and len(_tiles(np.zeros(128, int))[0]) == 128
    counts = np.zeros(600, int)
    counts[5:14] = 3
    order, words = _tiles(counts)
    assert len(order) == COLUMNS and set(order[:9]) == set(range(5, 14)) and words == "584 more dead"
    assert _tiles(np.arange(1, 17))[1] == "" and len(_tiles(np.arange(1, 17))[0]) == 16
    order, words = _tiles(np.arange(20_000))
    assert len(order) == MOST_TILES and order[0] == 19_999
    assert words == f"{19_999 - MOST_TILES} used less often, 1 dead"
