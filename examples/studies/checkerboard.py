"""Which ways of enlarging an image leave a checkerboard?

The usual answer: a transposed convolution leaves a checkerboard if the stride does not divide the kernel,
because neighbouring pixels then receive different numbers of taps; with a kernel of 4 and a stride of 2, or
with a convolution after nearest-neighbour upsampling, there is none. Here a VQ-VAE with 7 × 7 codes out of
128 enlarges its map twice, by a factor of 2 each time, in one of five ways; everything else is the same. The
pattern is measured in the decoder's output for a map in which all codes are equal: such an output would be
flat if the layers did not add a pattern. It is measured with equal weights, at the start, and after training.

python examples/studies/checkerboard.py           about a minute
python examples/studies/checkerboard.py --full    the figures of docs/studies/checkerboard.md
"""

from functools import partial

import numpy as np
from _pictures import pack, unpack
from _study import Column, Row, Study
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import vqnp
from vqnp.nn import (
    Activation, Conv, ConvTranspose, EMAVectorQuantizer, Module, PixelShuffle, Sequential, Upsample,
)
from vqnp.plots.style import COLOURS, MARKS, dress, new_figure, no_ticks, spread

WAYS = {
    "transposed-4": "transposed, kernel 4",
    "transposed-3": "transposed, kernel 3",
    "nearest": "nearest, 3 × 3",
    "sub-pixel": "sub-pixel",
    "sub-pixel-equal": "sub-pixel, equal start",
}
D, K = 8, 128
MAP, CROP = 16, 32
"""A map of 16 × 16 equal codes becomes 64 × 64 pixels. The 32 × 32 in the middle are beyond the reach of the
border, so that the output there repeats every 4 pixels."""


def enlarge(way: str, I: int, O: int, rng: np.random.Generator) -> list[Module]:
    """Layers (B, H, W, I) -> (B, 2H, 2W, O)."""
    if way == "transposed-4":
        return [ConvTranspose(I, O, 4, stride=2, padding=1, rng=rng)]
    if way == "transposed-3":
        return [ConvTranspose(I, O, 3, stride=2, padding=1, output_padding=1, rng=rng)]
    if way == "nearest":
        return [Upsample(2), Conv(I, O, 3, padding=1, rng=rng)]
    conv = Conv(I, 4 * O, 3, padding=1, rng=rng)
    if way == "sub-pixel-equal":  # the four channels that become a block start equal: Aitken et al. 2017
        conv.W.value[...] = np.repeat(conv.W.value[..., ::4], 4, axis=-1)
    return [conv, PixelShuffle(2)]


def build(way: str, channels: int, seed: int) -> vqnp.VQVAE:
    """28 × 28 -> 7 × 7 codes -> 28 × 28; only the two layers that enlarge differ."""
    rng, H = np.random.default_rng(seed), channels
    encoder = Sequential(
        Conv(1, H // 2, 4, stride=2, padding=1, rng=rng), Activation("relu"),
        Conv(H // 2, H, 4, stride=2, padding=1, rng=rng), Activation("relu"),
        Conv(H, H, 3, padding=1, rng=rng), Activation("relu"), Conv(H, D, 1, rng=rng),
    )  # fmt: skip
    quantizer = EMAVectorQuantizer(K, D, restart_dead_codes=0.05, codebook_init="data", rng=rng)
    decoder = Sequential(
        Conv(D, H, 3, padding=1, rng=rng), Activation("relu"),
        *enlarge(way, H, H // 2, rng), Activation("relu"), *enlarge(way, H // 2, 1, rng),
    )  # fmt: skip
    return vqnp.VQVAE(encoder, quantizer, decoder, vqnp.DataSpec((28, 28, 1)))


def measure(scale, seed: int, way: str) -> dict:
    """The pattern for equal weights, at the start and after training; spectrum and error of test images."""
    train, test = vqnp.load_splits("digits")
    x = train.images[: scale.images, ..., None]
    model, fresh, even = (build(way, scale.channels, seed) for _ in range(3))
    fresh.initialize(fresh.prepare(x[:2000]), np.random.default_rng(seed))  # fit initializes model itself
    start = constant(fresh)
    for name, param in even.decoder.named_parameters():
        if name.endswith("W"):
            param.value[...] = 1 / param.value.size
    equal = constant(even, np.ones((1, D), np.float32))
    vqnp.fit(model, x, epochs=scale.epochs, batch_size=32, seed=seed, progress=False)
    end = constant(model)
    images = test.images / 255.0
    x_hat = model.reconstruct(test.images[..., None])[..., 0].astype(np.float64)
    kept = axis_spectrum(x_hat) / axis_spectrum(images)
    error = (x_hat - images) ** 2
    classes = np.array([error[:, i::2, j::2].mean() for i in (0, 1) for j in (0, 1)])
    pictures = [equal[0], typical(start), typical(end)]
    return {
        "parameters": sum(param.value.size for _, param in model.decoder.named_parameters()),
        "equal": period_2(equal),
        "start": period_2(start),
        "start_4": pattern(start) - period_2(start),
        "end": period_2(end),
        "end_4": pattern(end) - period_2(end),
        "mse": error.mean(),
        "sharp": vqnp.metrics.sharpness(x_hat, images),
        "nyquist": kept[-1],
        "below": kept[-5:-1].mean(),
        "kept": kept.tolist(),
        "uneven": classes.max() / classes.min(),
        "classes": (classes / classes.mean()).tolist(),
        "patterns": pack(np.stack([stretched(p) for p in pictures])) if seed == 0 else "",
        "pictures": pack(np.concatenate([images[:3], x_hat[:3]])) if seed == 0 else "",
    }


def constant(model: vqnp.VQVAE, codes: np.ndarray | None = None) -> np.ndarray:
    """The decoder's output, not clipped, for maps of one code each: (K, CROP, CROP)."""
    codes = model.quantizer.embeddings if codes is None else codes
    maps = np.broadcast_to(codes[:, None, None], (len(codes), MAP, MAP, D))
    y = model.decoder.forward(np.ascontiguousarray(maps))[0][..., 0].astype(np.float64)
    middle = slice((4 * MAP - CROP) // 2, (4 * MAP + CROP) // 2)
    return y[:, middle, middle]


def energies(y: np.ndarray) -> np.ndarray:
    """% of the energy of outputs (n, S, S) at each frequency, all outputs together."""
    power = (np.abs(np.fft.fft2(y)) ** 2).sum(axis=0)
    return 100 * power / max(power.sum(), 1e-12)  # a code's output may be 0 everywhere


def period_2(y: np.ndarray) -> float:
    """% of the energy at the Nyquist frequency of one axis or of both."""
    power, half = energies(y), y.shape[1] // 2
    return float(power[half, 0] + power[0, half] + power[half, half])


def pattern(y: np.ndarray) -> float:
    """% of the energy that is not constant: periods of 2 and of 4 pixels."""
    return float(100 - energies(y)[0, 0])


def typical(y: np.ndarray) -> np.ndarray:
    """The output whose share of energy in the pattern is the median: (n, S, S) -> (S, S)."""
    share = [pattern(each[None]) for each in y]
    return y[np.argsort(share)[len(y) // 2]]


def axis_spectrum(x: np.ndarray) -> np.ndarray:
    """P(f) = ⟨|X(f, v)|²⟩ + ⟨|X(u, f)|²⟩ for f = 0 to the Nyquist frequency; x: (n, S, S)."""
    power = (np.abs(np.fft.fft2(x)) ** 2).mean(axis=0)
    return (power.mean(axis=0) + power.mean(axis=1))[: x.shape[1] // 2 + 1]


def stretched(y: np.ndarray) -> np.ndarray:
    """The first 16 × 16 pixels; grey is their mean, black and white are one mean magnitude away."""
    y = y[:16, :16]
    return 0.5 + 0.5 * (y - y.mean()) / max(float(np.sqrt((y**2).mean())), 1e-12)


def draw(rows: list[Row]) -> Figure:
    """Patterns of the five ways; enlarged reconstructions; energy of the pattern; spectra."""
    figure = new_figure(9.6, 9.8)
    grid = figure.add_gridspec(5, 6, left=0.11, right=0.985, top=0.955, bottom=0.36, wspace=0.06, hspace=0.1)
    labels = ("equal weights", "at the start", "after training")
    for j, row in enumerate(rows):
        title = WAYS[row.setting["way"]].replace(", ", ",\n")
        for i, picture in enumerate(unpack(row["patterns"][0], 16)):
            image(figure.add_subplot(grid[i, 1 + j]), picture, title if i == 0 else "")
        for i, picture in enumerate(unpack(row["pictures"][0])[3:5]):
            image(figure.add_subplot(grid[3 + i, 1 + j]), picture[4:24, 4:24], "")
    for i, label in enumerate(labels):
        axes = figure.add_subplot(grid[i, 0])
        no_ticks(axes)
        axes.text(0.95, 0.5, f"equal codes,\n{label}", ha="right", va="center", fontsize=8.5)
    for i, picture in enumerate(unpack(rows[0]["pictures"][0])[:2]):
        image(figure.add_subplot(grid[3 + i, 0]), picture[4:24, 4:24], "")
    figure.text(0.08, 0.475, "test images and\nreconstructions", rotation=90, ha="center", va="center",
                fontsize=8.5)  # fmt: skip
    bottom = figure.add_gridspec(1, 3, left=0.075, right=0.985, top=0.31, bottom=0.055, wspace=0.33)
    panels = [figure.add_subplot(bottom[i]) for i in range(3)]
    for i, row in enumerate(rows):
        label = WAYS[row.setting["way"]]
        spread(panels[1], range(row["kept"].shape[1]), row["kept"], label, i)
        y = np.stack([row["start"], row["end"]], axis=1)
        spread(panels[0], [0, 1], y, label, i)
        panels[2].plot(np.full(len(row["mse"]), i), row["mse"], MARKS[i], color=COLOURS[i], markersize=5)
    dress(panels[0], "Pattern of period 2, equal codes", "", "% of the output's energy", integer_x=False)
    panels[0].set_ylim(bottom=0)
    panels[0].set_xticks([0, 1], ["at the start", "after training"])
    panels[0].set_xlim(-0.2, 1.2)
    dress(panels[1], "Power kept", "frequency along an axis (14: Nyquist)", "relative to the test images")
    panels[1].set_ylim(bottom=0)
    panels[1].legend(fontsize=7.5, frameon=False)
    dress(panels[2], "Error", "", "test MSE", integer_x=False)
    panels[2].set_xticks(range(len(rows)), ["T4", "T3", "near", "sub", "sub="])
    panels[2].set_ylim(bottom=0)
    return figure


def image(axes: Axes, picture: np.ndarray, title: str) -> None:
    """A grey image without axes."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=8.5, pad=3)
    no_ticks(axes)


def main() -> None:
    """Ways × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 300, "epochs": 1, "channels": 8},
        default={"images": 4000, "epochs": 2, "channels": 32},
        full={"images": 10000, "epochs": 5, "channels": 32},
    )
    rows = study.run([{"way": way} for way in WAYS], partial(measure, scale))
    columns = [
        Column("parameters", "parameters of the decoder", ".0f"),
        Column("equal", "pattern of period 2, equal weights (%)", ".2f"),
        Column("start", "at the start (%)", ".2f"),
        Column("end", "after training (%)", ".2f"),
        Column("start_4", "period 4, at the start (%)", "z.2f"),
        Column("end_4", "after training (%)", "z.2f"),
        Column("nyquist", "power kept at the Nyquist frequency", ".2f"),
        Column("below", "just below it", ".2f"),
        Column("uneven", "largest / smallest error of the four pixels of a block", ".2f"),
        Column("mse", "test MSE", ".5f"),
        Column("sharp", "sharpness", ".2f"),
    ]
    caption = (
        "Outputs for a map of equal codes, 16 × 16 pixels (grey: the mean; the median code); test images and "
        "reconstructions (first seed); energy of the pattern; spectra; errors (T4, T3: transposed, kernel 4 "
        "and 3)."
    )
    study.write(rows, columns, draw(rows), caption)


if __name__ == "__main__":
    main()
