"""Sounds as waveforms and spectrograms, the original beside what each level of codes retains."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from vqnp._check import Array
from vqnp.evaluation.sounds import SoundEvaluation
from vqnp.metrics.sound import signal_to_noise
from vqnp.models.sound import SoundVQVAE
from vqnp.ops.stft import stft_forward
from vqnp.plots.curves import History, add_legend, draw_curves, draw_sorted
from vqnp.plots.style import BLUE, COLOURS, GREY, dress, new_figure

SHOWN = 3
"""Recordings of inspect's figure."""

FRAME, STEP, POINTS = 128, 16, 256
"""Of a spectrogram: 16 ms at 8 kHz, a column for each 2 ms."""

RANGE_DECIBELS = 60.0
"""What a spectrogram shows below its loudest point."""


def spectrogram(x: Array) -> Array:
    """20 log₁₀ S in dB, of one sound: (T,) -> (⌊N/2⌋ + 1, F), at least 200 dB below 1."""
    S = stft_forward(np.asarray(x, np.float64)[None], POINTS, STEP, FRAME)[0][0]
    return np.asarray(20 * np.log10(np.maximum(S, 1e-10)).T)


def draw_waveform(axes: Axes, x: Array, rate: int, colour: str = BLUE, limit: float | None = None) -> None:
    """The samples of a sound over time: (T,); limit: of the axis, in units of full scale."""
    axes.plot(np.arange(len(x)) / rate, x, color=colour, linewidth=0.5)
    limit = limit or max(float(np.abs(x).max()), 1e-3)
    axes.set(ylim=(-1.05 * limit, 1.05 * limit), xlim=(0, len(x) / rate))
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def draw_spectrogram(axes: Axes, x: Array, rate: int, top: float | None = None) -> None:
    """The spectrogram of a sound, light where it is loud: (T,); top: dB of the loudest colour."""
    S = spectrogram(x)
    top = float(S.max()) if top is None else top
    extent = (0, len(x) / rate, 0, rate / 2000)
    axes.imshow(
        S, origin="lower", aspect="auto", cmap="magma", vmin=top - RANGE_DECIBELS, vmax=top, extent=extent,
        interpolation="nearest",
    )  # fmt: skip
    axes.tick_params(labelsize=7)


def sound_training_figure(
    model: SoundVQVAE, history: History, sounds: Array, result: SoundEvaluation
) -> Figure:
    """SNR, spectral convergence and codebook use by epoch; one recording as each level reconstructs it.

    sounds: (n, T, 1) of the test set; result: the report on them

    Examples
    --------
    >>> from vqnp import evaluate, fit
    >>> sounds, model = np.random.default_rng(0).random((3, 256, 1)), SoundVQVAE.conv((256, 1), channels=4)
    >>> history = fit(model, sounds, sounds, epochs=2, progress=False)
    >>> figure = sound_training_figure(model, history, sounds, evaluate(model, sounds))
    >>> [axes.get_title() for axes in figure.axes][:4]
    ['Signal to noise, test', 'Spectral convergence, test', 'Codebook use, training', 'original']
    """
    top, curves, gap, pairs, bottom = 0.35, 2.0, 0.95, 2.6, 0.5
    height = top + curves + gap + pairs + bottom
    figure = new_figure(9.6, height)
    edges = {"left": 0.065, "right": 0.985}
    place = {"top": 1 - top / height, "bottom": 1 - (top + curves) / height}
    above = GridSpec(1, 3, figure, wspace=0.3, **edges, **place)
    names = [f"a code for {level.hop} samples" for level in result.levels]
    panels = (
        ("test_snr", "Signal to noise, test", "dB"), ("test_spectral", "Spectral convergence, test", "dB"),
        ("utilization", "Codebook use, training", "perplexity / K (%)"),
    )  # fmt: skip
    rows = [dict(row) for row in history]
    for l, level in enumerate(result.levels, 1):
        for row in rows:
            if f"perplexity_{l}" in row:
                row[f"utilization_{l}"] = 100 * row[f"perplexity_{l}"] / level.num_embeddings
    for i, (column, title, unit) in enumerate(panels):
        axes = figure.add_subplot(above[i])
        lines = {f"{column}_{l}": (COLOURS[l - 1], name) for l, name in enumerate(names, 1)}
        draw_curves(axes, rows, title, unit, lines)
        if i == 0:
            add_legend(axes)
    place = {"top": (bottom + pairs) / height, "bottom": bottom / height}
    below = GridSpec(2, 1 + len(names), figure, wspace=0.12, hspace=0.18, **edges, **place)
    _draw_row(figure, below, model, _first_heard(sounds))
    return figure


def sound_figure(model: SoundVQVAE, sounds: Array, result: SoundEvaluation) -> Figure:
    """Recordings and what each level retains of them, as waveforms and spectrograms; use of the codes."""
    shown = [i for i in range(len(sounds)) if np.any(sounds[i])][: 7 * SHOWN : 7][:SHOWN] or [0]
    L, each, gap, bars, bottom, top = len(model.levels), 2.5, 0.9, 1.5, 0.5, 0.3
    height = top + len(shown) * each + gap + bars + bottom
    figure = new_figure(9.6, height)
    edges = {"left": 0.065, "right": 0.985}
    place = {"top": 1 - top / height, "bottom": (bottom + bars + gap) / height}
    grid = GridSpec(len(shown), 1, figure, hspace=0.25, **edges, **place)
    for row, i in enumerate(shown):
        inner = grid[row].subgridspec(2, 1 + L, wspace=0.12, hspace=0.15)
        _draw_row(figure, inner, model, sounds[i], row == len(shown) - 1)
    place = {"top": (bottom + bars) / height, "bottom": bottom / height}
    below = GridSpec(1, L, figure, wspace=0.25, **edges, **place)
    for l, level in enumerate(result.levels, 1):
        axes, shares = figure.add_subplot(below[l - 1]), 100 * level.counts / max(level.counts.sum(), 1)
        title = f"a code for {level.hop} samples: use"
        draw_sorted(axes, shares, title, "code, most used first", "share (%)")
        axes.axhline(100 / level.num_embeddings, color=GREY, linewidth=1, linestyle="--")
    return figure


def _draw_row(figure: Figure, grid: Any, model: SoundVQVAE, sound: Array, last: bool = True) -> None:
    """One recording, (T, 1), in a grid of two rows: waveforms above spectrograms, the original first."""
    x = np.asarray(sound, np.float32)
    codes = model.encode(x[None])
    columns = [("original", x)]
    for l, (hop, k) in enumerate(zip(model.hops, codes, strict=True), 1):
        x_hat = model.decode_level(k, l)[0]
        decibels = f", {signal_to_noise(x_hat[None], x[None]):.1f} dB" if np.any(x) else ""
        columns.append((f"a code for {hop}{decibels}", x_hat))
    limit, top = max(float(np.abs(x).max()), 1e-3), float(spectrogram(x[:, 0]).max())
    for column, (title, y) in enumerate(columns):
        axes = figure.add_subplot(grid[0, column])
        draw_waveform(axes, y[:, 0], model.rate, COLOURS[column - 1] if column else GREY, limit)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelbottom=False, labelleft=not column)
        axes = figure.add_subplot(grid[1, column])
        draw_spectrogram(axes, y[:, 0], model.rate, top)
        dress(axes, "", "time (s)" if last else "", "" if column else "kHz", False)
        axes.tick_params(labelsize=7, labelleft=not column)


def _first_heard(sounds: Array) -> Array:
    """The first recording that is not silent, if there is one."""
    heard = [i for i in range(min(len(sounds), 50)) if np.any(sounds[i])]
    return sounds[heard[0] if heard else 0]


def samples_figure(sounds: Array, rate: int) -> Figure:
    """Sounds as waveforms above spectrograms, five beside each other: (n, T, 1)."""
    columns, n = min(5, len(sounds)), len(sounds)
    rows = -(-n // columns)
    height = 0.4 + 2.1 * rows
    figure = new_figure(9.6, height)
    edges = {"left": 0.05, "right": 0.99, "top": 1 - 0.1 / height, "bottom": 0.4 / height}
    grid = GridSpec(2 * rows, columns, figure, wspace=0.3, hspace=0.3, **edges)
    for i, sound in enumerate(sounds):
        above, below = (figure.add_subplot(grid[2 * (i // columns) + j, i % columns]) for j in range(2))
        draw_waveform(above, sound[:, 0], rate)
        above.tick_params(labelbottom=False)
        draw_spectrogram(below, sound[:, 0], rate)
    return figure
