"""Train a model of spoken digits and a prior of its codes, and measure what one would hear.

It runs `vqnp train --data spoken-digits` and `vqnp prior --condition text`, whose run folder is RUN, trains
a small classifier of spectrograms on the real recordings, and counts how often it recognizes real,
reconstructed and sampled digits. A model of synthesized notes shows how well pitch is retained. With --out
docs the recordings, the figure, the numbers and the tables go into docs/sound and docs/sound.md.

python examples/sound.py --quick                 half a minute, as a check
python examples/sound.py --out docs              the figures of docs/sound.md
python examples/sound.py --out docs --redraw     its table, from docs/sound/sound.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import vqnp
from vqnp._check import Array, InputError
from vqnp._files import atomic
from vqnp.cli import main as command
from vqnp.data import write_wav
from vqnp.data.captioned_digits import NUMBERS
from vqnp.data.notes import PITCHES, RATE, frequency
from vqnp.metrics import cents, pitch
from vqnp.models import SoundVQVAE
from vqnp.nn import Activation, Conv, Flatten, Linear, Module, Reshape, Sequential
from vqnp.nn.trainable import Trainable
from vqnp.ops.dropout import dropout_backward, dropout_forward
from vqnp.ops.loss import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from vqnp.ops.stft import stft_forward
from vqnp.plots.sounds import sound_figure
from vqnp.plots.style import save_figure

BEGIN, END = "<!-- begin: written by the script -->", "<!-- end: written by the script -->"
POINTS, STEP, BANDS = 256, 128, 64
"""Of the classifier's spectrograms: 32 ms, a frame for each 16 ms, 64 bands of 62.5 Hz."""

FLOOR = 0.1
"""Added to a spectrogram, whose mean is 1, before its logarithm: what is weaker hardly counts."""

DROPOUT = 0.4
SAMPLES = 200
GUIDED = {"candidates": 4, "guidance": 2.0}
"""Of the second set of samples: `vqnp sample --rerank 4 --guidance 2`."""
QUICK = "--channels 4 --residual-blocks 0 --num-embeddings 32 --epochs 1 --batch-size 64".split()
QUICK_PRIOR = "--width 8 --layers 1 --heads 1 --epochs 1 --batch-size 64".split()
SMALL_NOTES: dict[str, Any] = {"channels": 16, "residual_blocks": 1, "num_embeddings": 256}


def features(x: Array) -> Array:
    """A spectrogram relative to its mean, in bands: (n, T, 1) -> (n, F, 64)."""
    S = stft_forward(np.ascontiguousarray(x[..., 0], np.float32), POINTS, STEP)[0]
    S = S[..., 1:].reshape(*S.shape[:2], BANDS, -1).mean(axis=-1)
    return np.asarray(S / np.maximum(S.mean(axis=(1, 2), keepdims=True), 1e-6))


class DigitRecognizer(Module, Trainable):  # type: ignore[misc]
    """p(c | x) = softmax(W ReLU(g(x)) + b), g: three convolutions of a spectrogram and a linear layer."""

    def __init__(self, frames: int, rng: np.random.Generator | int = 0) -> None:
        rng = np.random.default_rng(rng)
        self.body = Sequential(
            Reshape(frames, BANDS, 1),
            Conv(1, 16, 3, stride=2, padding=1, rng=rng), Activation("relu"),
            Conv(16, 32, 3, stride=2, padding=1, rng=rng), Activation("relu"),
            Conv(32, 64, 3, stride=2, padding=1, rng=rng), Activation("relu"), Flatten(),
        )  # fmt: skip
        size = self.body.forward(np.zeros((1, frames, BANDS), np.float32))[0].shape[1]
        self.hidden = Sequential(Linear(size, 64, rng), Activation("relu"))
        self.head = Linear(64, 10, rng)

    def config(self) -> dict[str, Any]:
        """A classifier is trained again, not saved."""
        raise NotImplementedError

    def prepare(self, data: Any) -> tuple[Array, ...]:
        """Spectrograms and labels of a Dataset."""
        return features(data.images), data.labels.astype(np.int64)

    def loss(self, batch: tuple[Array, ...], rng: Any = None, step: int = 0) -> Any:
        """The cross-entropy of spectrograms, distorted if there is an rng."""
        x, labels = batch
        h, body_cache = self.body.forward(np.log(FLOOR + (x if rng is None else distort(x, rng))))
        h, drop_cache = dropout_forward(h, DROPOUT, rng)
        g, hidden_cache = self.hidden.forward(h)
        a, head_cache = self.head.forward(g)
        L, loss_cache = softmax_cross_entropy_forward(a, labels)
        return {"loss": L}, (body_cache, drop_cache, hidden_cache, head_cache, loss_cache)

    def backward(self, cache: Any, dL: Array | float = 1.0, need_dx: bool = False) -> None:
        """The chain rule, last layer first."""
        body_cache, drop_cache, hidden_cache, head_cache, loss_cache = cache
        dg = self.head.backward(softmax_cross_entropy_backward(dL, loss_cache), head_cache)
        dh = dropout_backward(self.hidden.backward(dg, hidden_cache), drop_cache)
        self.body.backward(dh, body_cache, need_dx=False)

    def recognize(self, sounds: Array) -> Array:
        """The likeliest digit: (n, T, 1) -> (n,)."""
        h = self.hidden.forward(self.body.forward(np.log(FLOOR + features(sounds)))[0])[0]
        return self.head.forward(h)[0].argmax(axis=-1)

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> Any:
        """Nothing: there is no choice to be made by it."""
        raise NotImplementedError


def distort(x: Array, rng: np.random.Generator) -> Array:
    """Move by up to 3 frames and 1 band, blank out a few bands and frames, and add noise: (B, F, 64)."""
    y = np.empty_like(x)
    for i, one in enumerate(x):
        y[i] = np.roll(one, (rng.integers(-3, 4), rng.integers(-1, 2)), axis=(0, 1))
        first, lost = rng.integers(0, BANDS - 8), rng.integers(0, 8)
        y[i, :, first : first + lost] = 0
        first, lost = rng.integers(0, len(one) - 3), rng.integers(0, 3)
        y[i, first : first + lost] = 0
        if rng.random() < 0.5:  # as a codec of few bits loses high frequencies
            y[i, :, rng.integers(12, BANDS) :] = 0
    y *= rng.lognormal(0, rng.uniform(0, 0.4, (len(x), 1, 1)), x.shape)  # a codec's errors where sound is
    loud = 10 ** rng.uniform(-2, 0, (len(x), 1, 1))  # of noise, relative to the mean of the sound
    noise = loud * rng.rayleigh(1.0, x.shape)
    return np.sqrt(y**2 + noise**2).astype(x.dtype)


def measure(run: Path, quick: bool, out: Path) -> dict[str, Any]:
    """Every figure of the page; recordings and the figure are written to OUT/sound."""
    from vqnp.cli.caption_classes import caption_classes
    from vqnp.cli.prior_files import read_prior
    from vqnp.cli.runs import open_run
    from vqnp.priors import best_of

    train, test = vqnp.load_splits("spoken-digits")
    opened = open_run(run)
    model: Any = opened.model
    stored = read_prior(opened.run, model)
    prior = stored.prior
    report = model.evaluate(test)
    classifier = DigitRecognizer(features(test.images[:1]).shape[1])
    epochs = 1 if quick else 40
    vqnp.fit(classifier, train, epochs=epochs, batch_size=32, lr=2e-3, weight_decay=1e-3, progress=False)
    n = 20 if quick else SAMPLES
    captions, (_, test_classes) = caption_classes("spoken-digits", (train, test))
    classes = np.arange(n) % len(captions)
    labels = np.array([NUMBERS.index(captions[c].split()[0]) for c in classes])
    codes = {
        "sampled": prior.sample(n, 1, condition=classes), "guided": best_of(prior, n, 1, classes, **GUIDED),
    }  # fmt: skip
    codes_of_test = model.encode(test.images)
    folder = out / "sound"
    folder.mkdir(parents=True, exist_ok=True)
    one_each = [int(np.flatnonzero(test.labels == digit)[3]) for digit in range(10)]
    shown = {"real": test.images[one_each]}
    rows: list[dict[str, Any]] = []
    for l, level in enumerate(report.levels, 1):
        rebuilt = model.decode_level(codes_of_test[l - 1], l)
        shown[f"level_{l}"] = rebuilt[one_each]
        row = {
            "hop": level.hop, "bits_per_second": level.bits_per_second, "mse": level.mse,
            "snr": level.signal_to_noise, "spectral": level.spectral_convergence,
            "used": level.codes_used, "perplexity": level.perplexity,
            "recognized": _share(classifier, rebuilt, test.labels), "sampled": None, "guided": None,
        }  # fmt: skip
        if l <= len(prior.levels):
            one_by_digit = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
            for way, grids in codes.items():
                drawn = model.decode_level(grids[l - 1], l)
                row[way] = _share(classifier, drawn, labels)
                shown[f"{way}_{l}"] = drawn[one_by_digit]
        rows.append(row)
    for name, sounds in shown.items():
        with atomic(folder / f"{name}.wav") as file:
            write_wav(file, (sound[:, 0] for sound in sounds), model.rate)
    save_figure(sound_figure(model, test.images[one_each[:3]], report), folder / "sound.png")
    return {
        "recordings": [len(train), len(test)], "samples": n, "levels": rows,
        "real": _share(classifier, test.images, test.labels),
        "prior_bits": _prior_bits(prior, model, test.images, test_classes),
        "parameters": [model.num_parameters(), prior.num_parameters()],
        "epochs": [_epochs(opened.trainer), _epochs(stored.trainer)],
    }  # fmt: skip


def measure_notes(run: Path, quick: bool, out: Path) -> list[dict[str, float]]:
    """A small model of notes: of each level SNR and the error of the pitch, in cents; noted in RUN."""
    noted = run / "notes.json"
    if noted.exists():
        known: list[dict[str, float]] = json.loads(noted.read_text())
        return known
    train, test = vqnp.load_splits("notes")
    model = SoundVQVAE.conv(**(SMALL_NOTES | ({"channels": 4, "num_embeddings": 32} if quick else {})))
    vqnp.fit(model, train, epochs=1 if quick else 6, batch_size=64 if quick else 16, lr=3e-3, progress=False)
    report, strings = model.evaluate(test), test.labels < PITCHES
    wanted = np.array([frequency(k) for k in test.labels[strings]])
    sounds, rows = [test.images], []
    sounds += [model.decode_level(k, l) for l, k in enumerate(model.encode(test.images), 1)]
    for l, x in enumerate(sounds):
        error = np.abs(cents(pitch(x[strings], RATE), wanted))
        error = np.where(np.isfinite(error), error, 1200)
        row = {"median_cents": float(np.median(error)), "within_50": float((error < 50).mean())}
        if l:
            level = report.levels[l - 1]
            row |= {"hop": level.hop, "snr": level.signal_to_noise}
        rows.append(row)
        name = f"notes_{l}" if l else "notes_real"
        with atomic(out / "sound" / f"{name}.wav") as file:
            write_wav(file, (sound[:, 0] for sound in x[:8]), RATE)
    noted.write_text(json.dumps(rows))
    return rows


def _epochs(trainer: dict[str, Any]) -> str:
    """How many passes over the data there were: "30", or "20 of 30" of a training that was stopped."""
    done, planned = len(trainer["history"]), trainer["schedule"]["epochs"]
    return f"{done}" if done == planned else f"{done} of {planned}"


def _share(classifier: DigitRecognizer, sounds: Array, labels: Array) -> float:
    return float((classifier.recognize(sounds) == labels).mean())


def _prior_bits(prior: Any, model: Any, sounds: Array, classes: Array) -> list[float]:
    codes = model.encode(sounds)[: len(prior.levels)]
    return [level.bits_per_image for level in prior.evaluate((codes, classes)).levels]


def block(result: dict[str, Any]) -> str:
    """The part of the page that is written by this script."""
    levels, notes = result["levels"], result["notes"]
    lines = [
        "| | bits a second | SNR (dB) | spectral conv. (dB) | MSE | codes used | recognized | sampled "
        "| guided |",
        "|---|---|---|---|---|---|---|---|---|",
        f"| real | 64000 | | | | | {100 * result['real']:.0f} % | | |",
    ]
    for row in levels:
        drawn = ["" if row[way] is None else f"{100 * row[way]:.1f} %" for way in ("sampled", "guided")]
        lines.append(
            f"| a code for {row['hop']} samples | {row['bits_per_second']:.0f} | {row['snr']:.1f} | "
            f"{row['spectral']:.1f} | {row['mse']:.2g} | {row['used']} | {100 * row['recognized']:.0f} % | "
            f"{' | '.join(drawn)} |"
        )
    seconds = result["seconds"]
    about = (
        f"From `{result['command']}`: {result['recordings'][0]} recordings to train with, "
        f"{result['recordings'][1]} to test, {result['samples']} samples, as many of each caption; "
        f"{result['parameters'][0]:,} parameters, trained for {result['epochs'][0]} epochs, and "
        f"{result['parameters'][1]:,} of the prior, trained for {result['epochs'][1]}. "
        f"Processor time: {seconds['train']:.0f} s for the model, {seconds['prior']:.0f} s for the prior, "
        f"{seconds['measure']:.0f} s for the rest."
    )
    bits = " and ".join(f"{b:.0f}" for b in result["prior_bits"])
    table = [
        "| notes | SNR (dB) | median error of the pitch (cents) | within 50 cents |", "|---|---|---|---|",
        f"| real | | {notes[0]['median_cents']:.1f} | {100 * notes[0]['within_50']:.0f} % |",
    ]  # fmt: skip
    table += [
        f"| a code for {row['hop']:.0f} samples | {row['snr']:.1f} | {row['median_cents']:.1f} | "
        f"{100 * row['within_50']:.0f} % |"
        for row in notes[1:]
    ]
    prior = f"Given the caption, a test recording's codes need {bits} bits under the prior, level by level."
    players = [
        f'{words}: <audio controls src="sound/{name}.wav"></audio> ([{name}.wav](sound/{name}.wav))'
        for name, words in _players(levels, notes)
    ]
    figure = "![Recordings and what each level retains of them](sound/sound.png)"
    return "\n\n".join([BEGIN, about, "\n".join(lines), prior, "\n".join(table), figure, *players, END])


def _players(levels: list[Any], notes: list[Any]) -> list[tuple[str, str]]:
    found = [("real", "Ten real test recordings, zero to nine")]
    found += [(f"level_{l}", f"The same, a code for {row['hop']} samples") for l, row in enumerate(levels, 1)]
    for way, words in (("sampled", "Ten samples"), ("guided", "Ten guided samples")):
        found += [(f"{way}_{l}", f"{words}, zero to nine, a code for {row['hop']} samples")
                  for l, row in enumerate(levels, 1) if row["sampled"] is not None]
    found += [("notes_real", "Eight notes")]
    others = enumerate(notes[1:], 1)
    return found + [(f"notes_{l}", f"The same, a code for {row['hop']} samples") for l, row in others]


def write_page(out: Path, result: dict[str, Any]) -> None:
    """OUT/sound/sound.json, and OUT/sound.md between its marks."""
    (out / "sound" / "sound.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    page = out / "sound.md"
    old = page.read_text(encoding="utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    page.write_text(before + block(result) + rest.partition(END)[2], encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 0, or 2 after a user error."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    run = "the run folder: what it has is not trained again (default: %(default)s)"
    parser.add_argument("--run", type=Path, default=Path("runs/voice"), help=run)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where the page goes (default: runs)")
    parser.add_argument("--quick", action="store_true", help="a tiny model, as a check")
    redraw = "run nothing; write the tables from the JSON file"
    parser.add_argument("--redraw", action="store_true", help=redraw)
    args = parser.parse_args(argv)
    try:
        if args.redraw:
            saved = (args.out / "sound" / "sound.json").read_text(encoding="utf-8")
            write_page(args.out, json.loads(saved))
            return 0
        seconds = _train(args.run, args.quick)
        begun = time.process_time()
        result = measure(args.run, args.quick, args.out)
        result["notes"] = measure_notes(args.run, args.quick, args.out)
        seconds["measure"] = time.process_time() - begun
        result |= {"seconds": seconds, "command": "python examples/sound.py --out docs"}
        write_page(args.out, result)
    except (InputError, OSError) as error:
        print(f"sound.py: {error}", file=sys.stderr)
        return 2
    print(block(result))
    return 0


def _train(run: Path, quick: bool) -> dict[str, float]:
    """The processor's seconds of both trainings, which are noted in RUN/seconds.json."""
    noted = run / "seconds.json"
    seconds: dict[str, float] = json.loads(noted.read_text()) if noted.exists() else {}
    steps = {
        "train": ["train", "--data", "spoken-digits", "--out", str(run), "--quiet", *QUICK[: 99 * quick]],
        "prior": ["prior", str(run), "--condition", "text", "--quiet", *QUICK_PRIOR[: 99 * quick]],
    }
    for name, arguments in steps.items():
        if name in seconds:
            continue
        begun = time.process_time()
        if command(arguments):
            raise InputError("sound.py", name, "must succeed", "an error")
        seconds[name] = time.process_time() - begun
        noted.write_text(json.dumps(seconds))
    return seconds


if __name__ == "__main__":
    sys.exit(main())
