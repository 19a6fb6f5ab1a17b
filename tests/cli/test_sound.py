"""vqnp train on sounds, and every command on such a run."""

import csv
import importlib.util
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import refused_command

from vqnp import load
from vqnp.cli import main
from vqnp.cli.train_options import SOUND_OPTIONS
from vqnp.data import load_splits, read_wav, write_wav
from vqnp.models import SoundVQVAE
from vqnp.priors import generate

SMALL = [
    "--channels", "4", "--residual-blocks", "1", "--num-embeddings", "8", "--embedding-dim", "3",
    "--hops", "32", "8", "--segment", "128", "--epochs", "2", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of two digits, takes 0 to 7."""
    path, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for digit in (0, 1):
        for take in range(8):
            x = 0.5 * np.sin((digit + 1) * 0.2 * np.arange(250)) + rng.uniform(-0.1, 0.1, 250)
            write_wav(path / f"{digit}_ann_{take}.wav", x, 8000)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, folder):
    out = tmp_path_factory.mktemp("runs") / "sound"
    assert main(["train", "--data", str(folder), "--out", str(out), *SMALL]) == 0
    return out


def test_a_run_trains_and_is_inspected(trained, folder, capsys):
    config = json.loads((trained / "config.json").read_text())
    assert config["kind"] == "sound" and config["model"]["rate"] == 8000
    assert config["model"]["image_shape"] == [256, 1] and config["model"]["hops"] == [32, 8]
    rows = list(csv.DictReader((trained / "metrics.csv").read_text().splitlines()))
    assert len(rows) == 2 and {"noise_1", "spectral_2", "test_snr_2", "perplexity_1"} <= rows[0].keys()
    assert main(["evaluate", str(trained), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [level["hop"] for level in report["levels"]] == [32, 8] and report["recordings"] == 10
    assert main(["inspect", str(trained)]) == 0
    text = capsys.readouterr().out
    assert "signal to noise" in text and "sounds.png" in text
    for name in ("training.png", "sounds.png"):
        assert (trained / name).stat().st_size > 1000


def test_codes_and_back(trained, folder, tmp_path, capsys):
    codes, model = tmp_path / "k.npz", load(trained)
    test = load_splits(folder)[1].images
    assert main(["encode", str(trained), "--out", str(codes)]) == 0
    for out in ("x.npy", "x.wav", "x.png"):
        assert main(["decode", str(trained), str(codes), "--out", str(tmp_path / out)]) == 0
    assert main(["decode", str(trained), str(codes), "--level", "1", "--out", str(tmp_path / "top.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), model.reconstruct(test))
    np.testing.assert_array_equal(np.load(tmp_path / "top.npy"), model.levels[0].reconstruct(test))
    assert len(read_wav(tmp_path / "x.wav")[0]) == 10 * 256
    wav = next(folder.glob("*.wav"))
    one = tmp_path / "one.npz"
    assert main(["encode", str(trained), "--data", str(wav), "--out", str(one)]) == 0
    assert main(["decode", str(trained), str(one), "--out", str(tmp_path / "one.wav")]) == 0
    assert len(read_wav(tmp_path / "one.wav")[0]) == 250
    capsys.readouterr()
    message = refused_command(capsys, "decode", trained, one, "--out", tmp_path / "one.npy")
    assert "--out must end in .wav" in message
    message = refused_command(capsys, "decode", trained, codes, "--level", "3", "--out", tmp_path / "y.wav")
    assert "--level" in message


def test_a_prior_and_its_sounds(trained, tmp_path, capsys):
    small = ["--width", "8", "--layers", "1", "--heads", "1", "--epochs", "1", "--quiet"]
    assert main(["prior", str(trained), "--condition", "class", *small]) == 0
    text = capsys.readouterr().out
    assert "level 2" in text and "samples.wav" in text
    assert len(read_wav(trained / "samples.wav")[0]) == 10 * 256
    out = tmp_path / "one.wav"
    assert main(["sample", str(trained), "--label", "1", "--out", str(out), "--quiet"]) == 0
    x, rate = read_wav(out)
    assert len(x) == 256 and rate == 8000
    assert main(["sample", str(trained), "--n", "3", "--out", str(tmp_path / "x.png"), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["prior", str(trained), "--levels", "1", "--force", "--json", *small]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["num_latents"] == 8 and list(figures["bits_per_level"]) == ["level 1"]
    assert main(["sample", str(trained), "--n", "2", "--out", str(tmp_path / "x.npy"), "--quiet"]) == 0
    assert np.load(tmp_path / "x.npy").shape == (2, 256, 1)


def test_a_caption_is_a_class(trained, folder, tmp_path, capsys):
    """Digit and speaker: each caption of the training data is a class, whose name is in the file."""
    small = ["--width", "8", "--layers", "1", "--heads", "1", "--epochs", "1", "--quiet", "--force"]
    message = refused_command(
        capsys, "prior", trained, "--condition", "text", "--text-weight", "1", *small
    )  # fmt: skip
    assert "--text-weight must be given only for images" in message
    assert main(["prior", str(trained), "--condition", "text", *small]) == 0
    names = sorted(set(load_splits(folder)[0].captions))
    stored = load(trained / "prior.npz")
    assert len(names) > 1 and stored.num_classes == len(names)
    out = tmp_path / "x.npy"
    assert main(["sample", str(trained), "--text", names[1], "--out", str(out), "--quiet"]) == 0
    np.testing.assert_array_equal(np.load(out), generate(load(trained), stored, 1, 0, 1))
    capsys.readouterr()
    message = refused_command(capsys, "sample", trained, "--text", names[1][:-1], "--out", out, "--force")
    assert "--text must be a caption of the training data" in message and names[1] in message
    message = refused_command(capsys, "sample", trained, "--label", "1", "--out", out, "--force")
    assert "--label" in message and "a prior with texts" in message
    message = refused_command(capsys, "prior", trained, "--resume", "--condition", "class", "--quiet")
    assert "--condition must be what the prior began with, text" in message
    assert main(["prior", str(trained), "--resume", "--quiet"]) == 0


def test_the_defaults_in_the_help_are_the_defaults():
    parameters = inspect.signature(SoundVQVAE.conv).parameters
    for name, (_, _, help) in SOUND_OPTIONS.items():
        default = parameters[name].default
        text = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
        assert help.endswith(f"(default: {text})"), name


def test_wrong_options_are_refused(folder, tmp_path, capsys):
    message = refused_command(capsys, "train", "--model", "vqvae", "--data", folder)
    assert message.startswith("--model must be sound for")
    message = refused_command(capsys, "train", "--model", "sound", "--data", "digits")
    assert message.startswith("--model must not be sound for digits")
    args = ["--hops", "32", "64", "--out", tmp_path / "r"]
    message = refused_command(capsys, "train", "--data", folder, *args)
    assert message.startswith("--hops must be less than the hop before it")


def test_the_page_is_that_of_its_json():
    docs = Path(__file__).parents[2] / "docs"
    spec = importlib.util.spec_from_file_location("sound", docs.parent / "examples" / "sound.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    result = json.loads((docs / "sound" / "sound.json").read_text(encoding="utf-8"))
    assert script.block(result) in (docs / "sound.md").read_text(encoding="utf-8")
    assert all(row["sampled"] > 0.15 for row in result["levels"][:2])  # a tenth by chance
    assert all(result["levels"][i]["snr"] < result["levels"][i + 1]["snr"] for i in (0, 1))
