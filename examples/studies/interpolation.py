"""Is the path between two digits smooth in a VAE and discontinuous in a VQ-VAE?

The usual answer: a VAE's latent is continuous, so the path from one image to another is smooth; a VQ-VAE's
latent is discrete, so its path has jumps. Here an autoencoder, a VAE and a VQ-VAE with the same networks and
a latent of 256 numbers (in the VQ-VAE, 16 codes of 16 numbers each) interpolate between many pairs of test
digits, along a straight line between latents, in 10 to 1000 steps. A jump is a change that does not become
smaller when the steps do. As a control, the VQ-VAE's decoder is also given the line between the two ends
without quantizing it. Distances are root mean squares over pixels.

python examples/studies/interpolation.py           about a minute
python examples/studies/interpolation.py --full    the figures of docs/studies/interpolation.md
"""

from functools import partial

import numpy as np
from _pictures import pack, strip, unpack
from _study import Column, Row, Study, select
from matplotlib.figure import Figure

import vqnp
from vqnp.inspection import Path, interpolate, step_sizes
from vqnp.plots.style import COLOURS, GREY, dress, log_settings, new_figure, plain_log, spread

MODELS = {
    "autoencoder": vqnp.Autoencoder, "VAE": vqnp.VAE, "VQ-VAE": vqnp.VQVAE, "VQ-VAE-unquantized": vqnp.VQVAE,
}  # fmt: skip
"""The last is a control: the same VQ-VAE decodes the line between two rows of codes without quantizing it."""
SHOWN = 11
"""Images of the path that the figure shows."""


def measure(scale, seed: int, model: str) -> dict:
    """Train once; interpolate between pairs of test images, and average over the pairs."""
    train, test = vqnp.load_splits("digits")
    seen = train.images[: scale.images]
    made = MODELS[model].mlp(hidden=(scale.hidden,), rng=seed)
    vqnp.fit(made, seen, epochs=scale.epochs, batch_size=50, seed=seed, progress=False)
    order = np.random.default_rng(seed).permutation(len(test.images))
    pairs = test.images[order[: 2 * scale.pairs]].reshape(scale.pairs, 2, 28, 28)
    line = unquantized if model == "VQ-VAE-unquantized" else interpolate
    walks, middles, fades, ends = [], [], [], []
    for a, b in pairs:
        path = line(made, a, b, scale.steps[-1] + 1)
        walks.append(of_path(path, scale.steps))
        middles.append(path.images[scale.steps[-1] // 2])
        fades.append((path.images[0] + path.images[-1]) / 2)
        ends += [path.images[0], path.images[-1]]
    figures = {name: np.mean([walk[name] for walk in walks], axis=0) for name in walks[0]}
    nearest = [distance_to_nearest(images, seen) for images in (middles, fades, ends)]
    figures |= {"middle": nearest[0] / nearest[2], "fade": nearest[1] / nearest[2]}
    return figures | of_one(line(made, *test.images[:2], scale.profile + 1), seed)


def unquantized(model: vqnp.VQVAE, a: np.ndarray, b: np.ndarray, steps: int) -> Path:
    """x̂(t) = decoder((1 − t) e_a + t e_b): the ends are those of interpolate; path.codes is empty."""
    e = model.quantizer.decode(model.encode(np.stack([a, b])))
    t = np.linspace(0, 1, steps)
    weight = t.astype(e.dtype).reshape(steps, *(1 for _ in e.shape[1:]))
    return Path(t, np.empty((steps, 0), np.int64), model.decode_latents((1 - weight) * e[0] + weight * e[1]))


def of_path(path: Path, grid: list[int]) -> dict:
    """The finest steps, and the largest step with fewer steps, that is, every n-th point of the path."""
    straight = step_sizes(path.images[[0, -1]])[0]
    fine, T = step_sizes(path.images), grid[-1]
    largest = np.array([step_sizes(path.images[:: T // steps]).max() for steps in grid])
    changes = vqnp.metrics.code_changes(path.codes)
    figures = {
        "largest": 100 * largest / straight,
        "few": 100 * largest[0] / straight,
        "many": 100 * largest[-1] / straight,
        "uneven_few": largest[0] / step_sizes(path.images[:: T // grid[0]]).mean(),
        "uneven_many": largest[-1] / fine.mean(),
        "still": 100 * float((fine < 1e-6).mean()),
        "length": fine.sum() / straight,
    }
    if not changes.any():
        return figures
    jumps = np.count_nonzero(changes)
    return figures | {"changes": changes.sum(), "jumps": jumps, "together": changes.sum() / jumps}


def of_one(path: Path, seed: int) -> dict:
    """One path for the figure: the steps, some images, and which position changes at which step."""
    straight = step_sizes(path.images[[0, -1]])[0]
    places = np.linspace(0, len(path.t) - 1, SHOWN).astype(int)
    marks = np.argwhere(np.diff(path.codes, axis=0))
    return {
        "profile": 100 * step_sizes(path.images) / straight,
        "pictures": pack(path.images[places]) if seed == 0 else "",
        "marks": " ".join(f"{t}:{m}" for t, m in marks) if seed == 0 else "",
    }


def distance_to_nearest(images: list, seen: np.ndarray) -> float:
    """⟨min_i √⟨(x − x_i)²⟩⟩ over the training images x_i."""
    rows = np.stack(images).reshape(len(images), -1).astype(np.float32)
    known = (seen / np.float32(255)).reshape(len(seen), -1)
    nearest = known[vqnp.nearest_code(rows, known)]
    return float(np.sqrt(((rows - nearest) ** 2).mean(axis=1)).mean())


def draw(rows: list[Row], steps: list[int], profile: int) -> Figure:
    """One path as images, with the changes of its codes; its steps; the largest step against their number."""
    figure = new_figure(9.6, 7.6)
    side, gap = 28, 2
    axes = figure.add_axes((0.09, 0.635, 0.9, 0.33))
    sheet = [unpack(row.runs[0]["pictures"]) for row in rows]
    strip(axes, sheet, [row.setting["model"] for row in rows], gap)
    axes.set_title("From one test digit to another (first seed)", fontsize=10)
    figure.canvas.draw()
    box = axes.get_position()  # narrower than requested: pixels are square
    marks = figure.add_axes((box.x0, 0.5, box.width, box.y0 - 0.505))
    (quantized,) = select(rows, model="VQ-VAE")
    for mark in quantized.runs[0]["marks"].split():
        t, m = (int(part) for part in mark.split(":"))
        marks.plot((t + 0.5) / profile, m, "|", color=COLOURS[2], markersize=4, markeredgewidth=1.2)
    dress(marks, "", "position on the path", "", integer_x=False)
    margin = side / 2 / (side + gap) / (SHOWN - 1)
    marks.set_xlim(-margin, 1 + margin)
    marks.set_ylim(15.7, -0.7)
    marks.set_yticks([7.5], ["codes of\nthe VQ-VAE\nthat change"])
    marks.tick_params(axis="y", length=0)
    grid = figure.add_gridspec(1, 2, left=0.085, right=0.985, bottom=0.075, top=0.395, wspace=0.22)
    one, largest = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    way = (np.arange(profile) + 0.5) / profile
    for i, row in enumerate(rows):
        one.plot(way, row["profile"][0], color=COLOURS[i], linewidth=1, label=row.setting["model"])
        spread(largest, steps, row["largest"], row.setting["model"], i)
    even = [100 / n for n in steps]
    largest.plot(steps, even, color=GREY, linewidth=1, linestyle="--", label="equal steps")
    unit = "% of the distance between the ends"
    dress(one, f"The same path in {profile} steps", "position on the path", unit, integer_x=False)
    dress(largest, "The largest step, over all pairs", "number of steps", unit, integer_x=False)
    one.set_ylim(bottom=0)
    log_settings(largest, steps)
    plain_log(largest)
    largest.legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def main() -> None:
    """Models × seeds."""
    study = Study(__file__, __doc__)
    scale = study.pick(
        quick={"images": 300, "epochs": 2, "hidden": 32, "pairs": 4, "profile": 200, "steps": [10, 20]},
        default={
            "images": 4000, "epochs": 8, "hidden": 128, "pairs": 50, "profile": 200,
            "steps": [10, 20, 50, 100, 200, 500, 1000],
        },
        full={
            "images": 10000, "epochs": 10, "hidden": 256, "pairs": 150, "profile": 200,
            "steps": [10, 20, 50, 100, 200, 500, 1000],
        },
    )  # fmt: skip
    rows = study.run([{"model": model} for model in MODELS], partial(measure, scale))
    few, many = study.scale["steps"][0], study.scale["steps"][-1]
    columns = [
        Column("few", f"largest of {few} steps (%)", ".1f"),
        Column("many", f"of {many} (%)", ".2f"),
        Column("uneven_few", f"largest to mean of {few}", ".1f"),
        Column("uneven_many", f"of {many}", ".1f"),
        Column("still", "steps that change nothing (%)", ".1f"),
        Column("changes", "changes of codes", ".1f"),
        Column("jumps", "steps with any", ".1f"),
        Column("together", "positions at once", ".2f"),
        Column("length", "length to distance", ".2f"),
        Column("middle", "middle to nearest image, over the ends'", ".2f"),
        Column("fade", "the same of a cross-fade", ".2f"),
    ]
    caption = "An autoencoder, a VAE and a VQ-VAE, also unquantized, on the way from one digit to another."
    study.write(rows, columns, draw(rows, study.scale["steps"], study.scale["profile"]), caption)


if __name__ == "__main__":
    main()
