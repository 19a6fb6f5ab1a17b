"""What the commands do with a model of sounds instead of a sheet of images: .wav files and spectrograms."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqnp._check import Array, check_int, fail

MOST_SOUNDS = 100
"""Recordings in one .wav file of vqnp decode."""

DRAWN = 10
"""Sounds in a figure of samples."""


def decode(model: Any, args: argparse.Namespace, out: Path) -> None:
    """vqnp decode: the codes of one level as a .npy, a .wav or a figure; print what was written."""
    from vqnp._files import atomic, write_npy
    from vqnp.export.codes import open_codes
    from vqnp.export.recording import decode_recording, is_recording

    L = len(model.levels)
    level = check_int("", "--level", getattr(args, "level", L), 1, L)
    if is_recording(args.codes):
        if out.suffix != ".wav":
            fail("", "--out", "must end in .wav for the codes of one recording", out)
        with atomic(out) as file:
            samples = decode_recording(model, args.codes, file, level)
        print(f"{samples} samples in {out}")
        return
    codes = open_codes(model, args.codes)
    first = next(codes.batches(MOST_SOUNDS if out.suffix != ".npy" else max(len(codes), 1)), None)
    if first is None:
        fail("", str(args.codes), "must hold the codes of at least one recording", "none")
    sounds = model.decode_level(first[level - 1], level)
    with atomic(out) as file:
        if out.suffix == ".npy":
            write_npy(file, sounds)
        else:
            write_sounds(file, out.suffix, sounds, model.rate)
    print(f"{len(sounds)} of {len(codes)} recordings in {out}")


def write_sounds(file: Any, suffix: str, sounds: Array, rate: int) -> None:
    """(n, T, 1) one after the other as a .wav, or the first ten as a figure, .png."""
    from vqnp.data.wav import write_wav

    if suffix == ".wav":
        write_wav(file, _one_by_one(sounds), rate)
        return
    from vqnp.plots.sounds import samples_figure
    from vqnp.plots.style import DPI

    samples_figure(sounds[:DRAWN], rate).savefig(file, format="png", dpi=DPI)


def _one_by_one(sounds: Array) -> Iterator[Array]:
    return (sound[:, 0] for sound in sounds)


def draw_samples(folder: Any, model: Any, prior: Any, seed: int, progress: bool) -> None:
    """samples.wav and samples.png of vqnp prior: ten sounds, of each class one if there are classes."""
    import numpy as np

    from vqnp._files import atomic
    from vqnp.priors import generate

    classes = getattr(prior, "num_classes", 0)
    condition = np.arange(DRAWN) % classes if classes else None
    sounds = generate(model, prior, DRAWN, seed, condition, progress=progress)
    for path in (folder.sound_samples, folder.samples):
        with atomic(path) as file:
            write_sounds(file, path.suffix, sounds, model.rate)
