"""The command line as a person meets it: what it prints, what it writes, how it refuses."""

import contextlib
import csv
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import numpy as np
import pytest
from helpers import refused, refused_command

from vqnp import VQVAE, HierarchicalVQVAE, InputError, generate, load, load_dataset, load_splits, save
from vqnp.__main__ import main as vqnp_main
from vqnp._check import NonFiniteError
from vqnp.cli import COMMANDS, build_parser, main, prior_options, train
from vqnp.cli.prior_files import write_chain
from vqnp.cli.runs import Run
from vqnp.cli.train_options import (
    CONV_OPTIONS, FIELD_OPTIONS, HIERARCHY_OPTIONS, LATENT_OPTIONS, MLP_OPTIONS, MODEL_OPTIONS,
    SCHEDULE_OPTIONS, SCHEDULES,
)
from vqnp.data import open_images
from vqnp.export import load_torch
from vqnp.models import MODELS
from vqnp.nn import ACTIVATIONS, EMAVectorQuantizer
from vqnp.priors import Markov, PixelCNN, Transformer, code_length
from vqnp.priors.baselines import BASELINES
from vqnp.training import Schedule, Trainer

QUICK = ["--epochs", "2", "--num-latents", "3", "--embedding-dim", "4", "--num-embeddings", "8", "--hidden", "12", "--quiet"]  # fmt: skip  # noqa: E501


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "few.npy"
    np.save(path, load_dataset("digits").images[:300])
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, images):
    out = tmp_path_factory.mktemp("runs") / "r"
    assert main(["train", "--data", str(images), "--out", str(out), *QUICK]) == 0
    return out


def vqnp(*args, **options):
    command = [sys.executable, "-m", "vqnp", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)


def run(*args):
    """What a command does, without the catching of errors in main."""
    parsed = build_parser().parse_args([str(a) for a in args])
    return parsed.run(parsed)


def test_train_writes_a_run_and_prints_the_table(trained, images, capsys):
    assert main(["train", "--data", str(images), "--out", str(trained), "--resume"]) == 0
    out = capsys.readouterr().out
    for word in ("test MSE", "codebook perplexity", "utilization", "codes used", "diagnosis", "of 8"):
        assert word in out
    for name in ("checkpoint.npz", "config.json", "metrics.csv", "training.png"):
        assert (trained / name).stat().st_size > 100 and str(trained / name) in out
    with open(trained / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["test_mse"]) < float(rows[0]["reconstruction_loss"])
    config = json.loads((trained / "config.json").read_text())
    assert config["model"]["num_embeddings"] == 8 and config["schedule"]["epochs"] == 2


@pytest.mark.slow
def test_a_seed_gives_one_run_whatever_the_threads(trained, images, tmp_path):
    for threads in ("1", "2"):
        done = vqnp("train", "--data", images, "--out", tmp_path / threads, *QUICK,
                    env={**os.environ, "NUMBA_NUM_THREADS": threads})  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (tmp_path / threads / "checkpoint.npz").read_bytes() == (
            trained / "checkpoint.npz"
        ).read_bytes()
    other = tmp_path / "other"
    assert main(["train", "--data", str(images), "--out", str(other), *QUICK, "--seed", "1"]) == 0
    assert load(other).fingerprint() != load(trained).fingerprint()


@pytest.mark.slow
def test_training_shows_progress(images, tmp_path):
    done = vqnp("train", "--data", images, "--out", tmp_path / "r", *[a for a in QUICK if a != "--quiet"])
    assert done.returncode == 0
    assert "18/18" in done.stderr and "step" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_default_folder_is_new_each_time(images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["train", "--data", str(images), *QUICK]) == 0
    assert sorted(os.listdir("runs")) == ["few-1", "few-2"]


def test_evaluate_prints_the_table_and_json(trained, capsys):
    assert main(["evaluate", str(trained)]) == 0
    table = capsys.readouterr().out
    assert main(["evaluate", str(trained), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    needed = "mse perplexity utilization codes_used num_embeddings bits_per_image diagnosis"
    assert set(needed.split()) <= figures.keys()
    assert f"{figures['mse']:.5f}" in table and figures["diagnosis"] in table
    assert figures["utilization"] == figures["perplexity"] / 8 and figures["bits_per_image"] == 9


def test_evaluate_repeats_the_table_of_training(trained, capsys):
    """The same held-out images and the same diagnosis, though the data were one array."""
    main(["train", "--out", str(trained), "--resume"])
    table = capsys.readouterr().out.splitlines()
    main(["evaluate", str(trained)])
    assert capsys.readouterr().out.splitlines()[:-1] == table[:8]


def test_the_data_that_was_used_is_named(trained, images, tmp_path, capsys):
    """The run's own, that of --data, and the digits for a model without a run."""
    save(tmp_path / "m.npz", load(trained))
    own, given, digits = [trained], [trained, "--data", images], [tmp_path / "m.npz"]
    for command in ("evaluate", "inspect"):
        for args, data in ((own, images), (given, images), (digits, "digits")):
            out = [] if command == "evaluate" else ["--out", tmp_path / "c.png"]
            assert main([command, *map(str, [*args, *out])]) == 0
            assert f"data                 {data} (test)" in capsys.readouterr().out.splitlines()
    assert main(["evaluate", str(trained), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == str(images)
    assert main(["encode", str(trained), "--out", str(tmp_path / "c.npz")]) == 0
    assert f"300 images of {images}, 9 bits each" in capsys.readouterr().out


BROKEN = {  # what becomes of config.json's text, and what the sentence says
    "truncated": (lambda text: text[: len(text) // 2], "JSONDecodeError"),
    "empty": (lambda text: "", "JSONDecodeError"),
    "not text": (lambda text: "\udcff", "codec can't decode"),
    "too deep": (lambda text: "[" * 100_000, "RecursionError"),
    "a list": (lambda text: "[]", "must hold a model and a schedule"),
    "no data": (lambda text: text.replace('"data"', '"date"'), "no 'data'"),
    "data of no name": (lambda text: text.replace('"data": ', '"data": 3, "x": '), "must be a name or"),
    "another kind": (lambda text: text.replace('"vqvae"', '"gan"'), "kind must be one of"),
    "another network": (lambda text: text.replace('"mlp"', '"mlpp"'), "network must be one of"),
    "no schedule": (lambda text: text.replace('"schedule"', '"schedules"'), "no 'schedule'"),
    "a model that is null": (lambda text: text.replace('"model": {', '"model": null, "x": {'), "a model and"),
    "a setting too much": (lambda text: text.replace('"decay"', '"decays"'), "mlp only; got 'decays'"),
    "a setting of no schedule": (lambda text: text.replace('"lr"', '"lrs"'), "unexpected keyword argument"),
    "a setting out of range": (lambda text: text.replace('"lr": 0.001', '"lr": -1'), "lr must be in"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_config_that_cannot_be_read_is_not_one_that_is_absent(name, trained, images, tmp_path, capsys):
    """The digits are no substitute for data that it named; what needs no data still works."""
    change, what = BROKEN[name]
    shutil.copytree(trained, tmp_path / "r")
    config = tmp_path / "r" / "config.json"
    config.write_text(change(config.read_text()), errors="surrogateescape")
    for args in (["evaluate"], ["inspect"], ["encode", "--out", tmp_path / "c.npz"]):
        sentence = refused_command(capsys, args[0], tmp_path / "r", *args[1:])
        assert sentence.startswith(f"{config}: ") and what in sentence and "(or give --data)" in sentence
    assert what in refused_command(capsys, "train", "--out", tmp_path / "r", "--resume")
    assert main(["evaluate", str(tmp_path / "r"), "--data", str(images)]) == 0
    assert main(["export", str(tmp_path / "r"), "--out", str(tmp_path / "w.npz")]) == 0


def test_evaluate_equals_the_definition(trained, images, capsys):
    main(["evaluate", str(trained), "--data", str(images), "--json"])
    figures = json.loads(capsys.readouterr().out)
    x = np.load(images)
    model = load(trained)
    k = model.encode(x)
    assert figures["mse"] == pytest.approx(np.mean((model.decode(k).astype("d") - x / 255.0) ** 2), rel=1e-12)
    assert figures["codes_used"] == len(np.unique(k)) and figures["images"] == 300
    p = np.unique(k, return_counts=True)[1] / k.size
    assert figures["perplexity"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-12)


def test_decode_of_encode_is_the_reconstruction_bit_for_bit(trained, images, tmp_path, capsys):
    codes, out, sheet = tmp_path / "codes.npz", tmp_path / "images.npy", tmp_path / "sheet.png"
    assert main(["encode", str(trained), "--data", str(images), "--out", str(codes)]) == 0
    assert main(["decode", str(trained), str(codes), "--out", str(out)]) == 0
    assert main(["decode", str(trained), str(codes), "--out", str(sheet)]) == 0
    model, x = load(trained), np.load(images)
    np.testing.assert_array_equal(np.load(out), model.reconstruct(x))
    for size in (1, 7, 300):  # however it is batched
        parts = [model.decode(model.encode(x[i : i + size])) for i in range(0, 300, size)]
        np.testing.assert_allclose(np.concatenate(parts), np.load(out), atol=1e-6)
    with np.load(codes) as arrays:
        assert arrays["codes"].dtype == np.uint8 and arrays["codes"].shape == (300, 3)
        np.testing.assert_array_equal(arrays["codes"], model.encode(x))
    np.save(tmp_path / "plain.npy", model.encode(x))
    assert main(["decode", str(trained), str(tmp_path / "plain.npy"), "--out", str(out), "--force"]) == 0
    np.testing.assert_array_equal(np.load(out), model.reconstruct(x))
    assert sheet.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_inspect_shows_the_codebooks_health(trained, capsys):
    assert main(["inspect", str(trained)]) == 0
    out = capsys.readouterr().out
    for word in ("perplexity", "utilization", "dead codes", "use / uniform use", "diagnosis"):
        assert word in out
    assert (trained / "codebook.png").stat().st_size > 1000


def test_a_dead_code_is_named(tmp_path, capsys, images):
    model = VQVAE.mlp(num_latents=2, embedding_dim=2, num_embeddings=4, hidden=(3,))
    model.quantizer.embeddings[2] = 1e6
    save(tmp_path / "m.npz", model)
    assert main(["inspect", str(tmp_path / "m.npz"), "--data", str(images)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("dead codes"))
    assert "2" in line.replace("dead codes", "")


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Peak memory of encode on 20,000 images and on four times as many: a batch, not the data."""
    save(tmp_path / "m.npz", VQVAE.mlp(num_latents=2, embedding_dim=2, num_embeddings=4, hidden=(3,)))
    script = (
        "import resource, sys; from vqnp.cli import main; assert main(sys.argv[1:]) == 0; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    peak = {}
    for n in (20_000, 80_000):
        big = np.lib.format.open_memmap(tmp_path / f"{n}.npy", "w+", np.uint8, (n, 28, 28))
        big[::1000] = 7
        del big
        args = ["encode", tmp_path / "m.npz", "--data", tmp_path / f"{n}.npy", "--out", tmp_path / f"{n}.npz"]
        done = subprocess.run(
            [sys.executable, "-c", script, *args], capture_output=True, text=True, check=True
        )
        peak[n] = int(done.stdout.splitlines()[-1])
        assert len(open_images(tmp_path / f"{n}.npz")) == n
    assert peak[80_000] - peak[20_000] < 15  # MiB; the images alone are 45 MiB more


# A convolutional network: every command, with codes in a plane.

QUICK_CONV = ["--network", "conv", "--channels", "4", "--residual-channels", "2", "--residual-blocks", "1", "--epochs", "2", "--quiet"]  # fmt: skip  # noqa: E501


@pytest.fixture(scope="module", params=["vqvae", "vae", "autoencoder"])
def convolutional(request, tmp_path_factory, images):
    out = tmp_path_factory.mktemp("runs") / request.param
    args = ["train", "--model", request.param, "--data", str(images), "--out", str(out), *QUICK_CONV]
    assert main(args + ["--num-embeddings", "8"] * (request.param == "vqvae")) == 0
    return out


@pytest.mark.slow
def test_every_command_takes_a_convolutional_model(convolutional, images, tmp_path, capsys):
    run, x, model = str(convolutional), np.load(images), load(convolutional)
    config = json.loads((convolutional / "config.json").read_text())
    assert config["network"] == "conv" and config["schedule"]["lr"] == 0.002
    assert model.latent_shape == (7, 7)
    assert main(["evaluate", run, "--data", str(images), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    error = (model.reconstruct(x).astype("d") - x / 255.0) ** 2
    assert report["mse"] == pytest.approx(np.mean(error), rel=1e-12)
    codes, out, sheet = (str(tmp_path / name) for name in ("codes.npz", "images.npy", "sheet.png"))
    assert main(["encode", run, "--data", str(images), "--out", codes]) == 0
    with np.load(codes) as arrays:
        assert arrays[model.encoding.name].shape[:3] == (300, 7, 7)
    assert main(["decode", run, codes, "--out", out]) == main(["decode", run, codes, "--out", sheet]) == 0
    assert np.load(out).tobytes() == model.reconstruct(x).tobytes()
    assert main(["inspect", run]) == 0
    picture = "codebook.png" if model.num_embeddings else "latents.png"
    assert (convolutional / picture).stat().st_size > 1000
    weights = tmp_path / "weights.npz"
    assert main(["export", run, "--out", str(weights)]) == 0
    assert "encoder.1.weight            float32  2x1x4x4" in capsys.readouterr().out
    assert load_torch(weights).fingerprint() == model.fingerprint()


@pytest.mark.slow
def test_a_convolutional_run_that_was_stopped_ends_in_the_same_bits(convolutional, images, tmp_path, capsys):
    """With the options that began it, or none; other ones are refused."""
    part = tmp_path / "part"
    part.mkdir()
    (part / "config.json").write_bytes((convolutional / "config.json").read_bytes())
    whole = Trainer.restore(convolutional / "checkpoint.npz", np.load(images)[:270])
    rng = np.random.default_rng(0)
    config = json.loads((part / "config.json").read_text())
    make = MODELS[config["kind"]].conv
    trainer = Trainer(make(**config["model"], rng=rng), np.load(images)[:270], whole.schedule)
    trainer.initialize()
    for _ in range(3):
        trainer.train_step()
    trainer.save(part / "checkpoint.npz")
    assert main(["train", "--out", str(part), "--resume", "--quiet", "--channels", "4"]) == 0
    for name in ("checkpoint.npz", "metrics.csv"):
        assert (part / name).read_bytes() == (convolutional / name).read_bytes()
    for option, value, began in (("--channels", "8", "4"), ("--network", "mlp", "conv")):
        with refused(option, f"must be what the run began with, {began}", value, where="--resume"):
            run("train", "--out", part, "--resume", option, value)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_colour_images_train_and_are_drawn_in_colour(network, images, tmp_path, capsys):
    from matplotlib.image import imread

    grey = np.load(images)[:60, ::2, ::2]
    colour = np.stack([grey, 0 * grey, 255 - grey], axis=-1)[:, 1:13, 1:13]
    np.save(tmp_path / "c.npy", colour)
    options = QUICK_CONV if network == "conv" else QUICK
    args = ["train", "--data", str(tmp_path / "c.npy"), "--out", str(tmp_path / "r"), *options]
    assert main(args) == 0
    model = load(tmp_path / "r")
    assert model.data.shape == (12, 12, 3)
    run, codes, sheet = (str(tmp_path / name) for name in ("r", "k.npz", "s.png"))
    assert main(["encode", run, "--data", str(tmp_path / "c.npy"), "--out", codes]) == 0
    assert main(["decode", run, codes, "--out", sheet]) == main(["inspect", run]) == 0
    pixels = imread(sheet)[2:26:2, 2:26:2, :3]
    np.testing.assert_allclose(pixels, model.reconstruct(colour[:1])[0], atol=1 / 255)
    np.save(tmp_path / "first.npy", np.moveaxis(colour, -1, 1))
    capsys.readouterr()
    sentence = refused_command(capsys, "train", "--data", tmp_path / "first.npy", *options)
    assert "must be (12, 12, 3): np.moveaxis(images, 1, -1) puts the channels last" in sentence


# What a person does wrong: a few whole sentences, as they appear; then each mistake by its error's fields.


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["train", "--epochs", "0"], "--epochs must be an integer of at least 1; got 0"),
        (["train", "--resume"], "--resume must be given with the run's folder in --out; got none"),
        (["evaluate", "no"], "RUN: must be a run folder or a checkpoint; got no, which does not exist"),
        (["encode", "nowhere", "--out", "codes.txt"], "--out must end in .npz; got codes.txt"),
        (["train", "--epochs", "many"], "argument --epochs: invalid int value: 'many' (see vqnp train"),
        (["train", "--codebook", "x"], "argument --codebook: invalid choice: 'x'"),
        (["train", "--num-embeddings", "10000000000000"], "must fit into memory"),
        (["frobnicate"], "argument COMMAND: invalid choice: 'frobnicate'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_mistakes_get_one_sentence(args, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused_command(capsys, *args)
    assert os.listdir(tmp_path) == []  # and nothing is left behind


@pytest.mark.parametrize(
    ("args", "where", "argument", "needed", "got"),
    [
        ("train --epochs 0", "", "--epochs", "at least 1", "0"),
        ("train --batch-size 0", "", "--batch-size", "at least 1", "0"),
        ("train --lr 0", "", "--lr", "(0, inf)", "0.0"),
        ("train --seed -1", "", "--seed", "at least 0", "-1"),
        ("train --decay 1", "", "--decay", "[0, 1)", "1.0"),
        ("train --restart-dead-codes 1", "", "--restart-dead-codes", "[0, 1)", "1.0"),
        ("train --num-embeddings 0", "", "--num-embeddings", "at least 1", "0"),
        ("train --num-latents -1", "", "--num-latents", "at least 1", "-1"),
        ("train --embedding-dim 0", "", "--embedding-dim", "at least 1", "0"),
        ("train --commitment-cost nan", "", "--commitment-cost", "[0, inf)", "nan"),
        ("train --hidden 0", "", "--hidden", "at least 1", "0"),
        ("train --channels 4", "", "--channels", "only with --network conv", "--network mlp"),
        ("train --network conv --num-latents 4", "", "--num-latents", "only with --network mlp", "conv"),
        ("train --network conv --hidden 4 5", "", "--hidden", "only with --network mlp", "--network conv"),
        ("train --network conv --model vae --decay 0", "", "--decay", "only with --model vqvae", "vae"),
        ("train --network conv --channels 0", "", "--channels", "at least 1", "0"),
        ("train --network conv --downsampling 3", "digits", "images", "nearest: 24 × 24 or 32 × 32", "28 × 28"),  # noqa: E501
        ("train --network conv --epochs 0", "", "--epochs", "at least 1", "0"),
        ("train --data nowhere", "", "--data", "'digits'", "nowhere"),
        ("train --resume", "", "--resume", "folder in --out", "none"),
        ("train --resume --force --out r", "", "--resume", "without --force", "both"),
        ("evaluate nowhere", "RUN", "", "a run folder or a checkpoint", "nowhere, which does not exist"),
        ("evaluate .", "RUN", "", "a folder that vqnp train wrote", "no checkpoint.npz"),
        ("encode nowhere --out codes.txt", "", "--out", "must end in .npz", "codes.txt"),
        ("decode nowhere c.npz --out no/i.npy", "", "--out", "in an existing folder", "no/i.npy"),
        ("decode nowhere c.npz --out no.txt", "", "--out", "must end in .npy or .png", "no.txt"),
        ("export nowhere --format safetensors --out w.npz", "", "--out", "must end in .safetensors", "w.npz"),
        ("inspect nowhere", "RUN", "", "a run folder or a checkpoint", "nowhere"),
    ],
)
def test_mistakes_name_the_option(args, where, argument, needed, got, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(argument, needed, got, where=where):
        run(*args.split())
    assert os.listdir(tmp_path) == []


def test_an_existing_folder_is_never_overwritten_without_force(trained, images, tmp_path):
    before = (trained / "checkpoint.npz").read_bytes()
    with refused("--out", "--force replaces a run, --resume goes on", "which has files in it", where=""):
        run("train", "--out", trained)
    with refused("--resume", "must be given without --force"):
        run("train", "--out", trained, "--force", "--resume")
    assert (trained / "checkpoint.npz").read_bytes() == before
    (tmp_path / "file").write_text("mine")
    with refused("--out", "must be a folder", str(tmp_path / "file")):
        run("train", "--data", images, "--out", tmp_path / "file")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "notes.txt").write_text("mine")
    assert main(["train", "--data", str(images), "--out", str(tmp_path / "r"), *QUICK, "--force"]) == 0
    assert (tmp_path / "r" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "r" / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize("command", ["encode", "export"])
def test_an_existing_file_is_never_overwritten_without_force(command, trained, tmp_path):
    out = tmp_path / "codes.npz"
    out.write_bytes(b"mine")
    with refused("--out", "must be a new file (or give --force)", f"{out}, which exists", where=""):
        run(command, trained, "--out", out)
    assert out.read_bytes() == b"mine"
    assert main([command, str(trained), "--out", str(out), "--force"]) == 0 and out.read_bytes() != b"mine"
    with refused("--out", "must be a file", "the folder", where=""):
        (tmp_path / "f.npz").mkdir()
        run(command, trained, "--out", tmp_path / "f.npz", "--force")


@contextlib.contextmanager
def without_root():
    """Root may write anywhere; be nobody meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="permissions, devices and signals of POSIX")
def test_a_folder_that_cannot_be_written(images, tmp_path, capsys, monkeypatch):
    data = load_splits(images)
    monkeypatch.setattr("vqnp.data.load_splits", lambda source: data)
    args = ["train", "--data", images, "--out", tmp_path / "r", *QUICK]
    tmp_path.chmod(0o555)
    with without_root():
        sentence = refused_command(capsys, *args)
    tmp_path.chmod(0o755)
    assert sentence.endswith("Permission denied") and str(tmp_path) in sentence


@pytest.mark.skipif(os.name != "posix", reason="permissions, devices and signals of POSIX")
def test_a_place_where_no_folder_can_be(images, capsys):
    assert refused_command(capsys, "train", "--data", images, "--out", "/dev/null/r", *QUICK)


def test_resume_refuses_other_settings(trained, capsys):
    args = ["train", "--out", trained, "--resume"]
    sentence = refused_command(capsys, *args, "--lr", "0.5")
    assert sentence == "--resume: --lr must be what the run began with, 0.001; got 0.5"
    for option, began, value in (
        ("--num-embeddings", "8", "16"),
        ("--restart-dead-codes", "0.05", "0.0"),
        ("--hidden", "[12]", "[13]"),
        ("--codebook", "ema", "gradient"),
        ("--epochs", "2", "3"),
        ("--model", "vqvae", "vae"),
    ):
        with refused(option, f"must be what the run began with, {began}", value, where="--resume"):
            run(*args, option, value.strip("[]"))
    with refused("--data", "must be what the run began with", "digits", where="--resume"):
        run(*args, "--data", "digits")


def test_codes_that_are_not_this_models(trained, images, tmp_path):
    other = VQVAE.mlp(num_latents=3, embedding_dim=4, num_embeddings=8, hidden=(12,), rng=9)
    save(tmp_path / "other.npz", other)
    codes, out, bad = tmp_path / "codes.npz", tmp_path / "out.npy", tmp_path / "bad.npy"
    assert main(["encode", str(tmp_path / "other.npz"), "--data", str(images), "--out", str(codes)]) == 0
    with refused("", "must be codes of this model", "codes of another model", where=f"codes {codes}"):
        run("decode", trained, codes, "--out", out)
    for array, needed, got in [
        (np.zeros((2, 3), "i8") + 8, "[0, 8)", "8 at index (0, 0)"),
        (np.zeros((2, 3), "i8") - 1, "[0, 8)", "-1 at index (0, 0)"),
        (np.zeros((2, 4), "i8"), "shape (n, 3)", "shape (2, 4)"),
        (np.zeros((2, 3)), "integers", "float64"),
    ]:
        np.save(bad, array)
        with refused("codes", needed, got) as caught:
            run("decode", trained, bad, "--out", out)
        assert caught.value.where.startswith(f"codes {bad}")
    np.savez(tmp_path / "bad.npz", other=np.zeros((2, 3), int))
    with refused("", "an array named 'codes'"):
        run("decode", trained, tmp_path / "bad.npz", "--out", out)
    (tmp_path / "bad.npz").write_bytes(codes.read_bytes()[:-40])
    with refused("") as caught:
        run("decode", trained, tmp_path / "bad.npz", "--out", out)
    assert str(tmp_path / "bad.npz") in caught.value.where
    with refused("", got="no such file"):
        run("decode", trained, tmp_path / "none.npz", "--out", out)
    assert not out.exists()


def test_memory_that_ends_without_a_word_is_one_sentence(monkeypatch, capsys):
    def ends(args):
        raise MemoryError

    monkeypatch.setattr("vqnp.cli.evaluate.run", ends)
    assert refused_command(capsys, "evaluate", "runs/digits-1").startswith("out of memory; the model")


@pytest.mark.parametrize(
    ("array", "needed", "got", "error"),
    [
        (np.zeros((5, 9, 9), "u1"), "shape (n, 28, 28) or (n, 784)", "shape (5, 9, 9)", InputError),
        (np.full((5, 28, 28), np.nan), "finite", "nan at index (0, 0, 0)", NonFiniteError),
        (np.full((5, 28, 28), 2.0), "[0, 1] if they are not uint8", "2.0 at index (0, 0, 0)", InputError),
    ],
)  # fmt: skip
def test_images_of_another_shape_or_out_of_range(trained, tmp_path, array, needed, got, error):
    bad = tmp_path / "bad.npy"
    np.save(bad, array)
    for command in (["encode", trained, "--out", tmp_path / "c.npz"], ["evaluate", trained]):
        with refused("images", needed, got, error=error) as caught:
            run(*command, "--data", bad)
        assert "at index" not in got or caught.value.where == str(bad)
    assert os.listdir(tmp_path) == ["bad.npy"]


@pytest.mark.parametrize("array", [np.zeros((0, 28, 28), "u1"), np.zeros((5, 28, 28), "i4")])
def test_a_file_without_images(trained, tmp_path, array, capsys):
    bad, what = tmp_path / "bad.npy", "0" if len(array) == 0 else "int32"
    np.save(bad, array)
    for command in (["encode", trained, "--out", tmp_path / "c.npz"], ["evaluate", trained]):
        sentence = refused_command(capsys, *command, "--data", bad)
        assert what in sentence and "bad.npy" in sentence
    assert os.listdir(tmp_path) == ["bad.npy"]


def test_divergence_is_one_sentence_and_keeps_the_checkpoint(images, tmp_path, capsys):
    args = ["train", "--data", str(images), "--out", str(tmp_path / "r"), *QUICK, "--lr", "1e30"]
    assert main(args) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "diverged at step 2 of 18" in lines[-1] and "the last good checkpoint is kept in" in lines[-1]
    assert np.isfinite(load(tmp_path / "r").quantizer.embeddings).all()


# Stopped and killed.


def start(images, out, epochs):
    command = [
        sys.executable,
        "-m",
        "vqnp",
        "train",
        "--data",
        images,
        "--out",
        out,
        *QUICK,
        "--epochs",
        str(epochs),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_the_run_ends_in_the_same_bits(images, tmp_path, request):
    """SIGKILL from before the folder is there until the run is over; --kills 100 kills so many."""
    kills = request.config.getoption("kills")
    whole = tmp_path / "whole"
    begun = time.monotonic()
    process = start(images, whole, 30)
    _, err = process.communicate()
    assert process.returncode == 0, err
    took = time.monotonic() - begun

    def killed_and_resumed(i):
        out = tmp_path / f"killed{i}"
        process = start(images, out, 30)
        if i < kills / 2:  # at some time before the end; else in the middle, however slow the machine is
            time.sleep(took * (i + np.random.default_rng(i).random()) / (kills / 2))
        else:
            while not (out / "metrics.csv").exists():
                time.sleep(0.001)
            time.sleep(0.02 * (i % 3))
        process.kill()
        process.communicate()
        step = None
        if (out / "checkpoint.npz").exists():
            step = Trainer.restore(out / "checkpoint.npz", np.load(images)[:270]).step
        done = vqnp("train", "--data", images, "--out", out, *QUICK, "--epochs", "30", "--resume")
        assert done.returncode == 0, done.stderr
        assert (out / "checkpoint.npz").read_bytes() == (whole / "checkpoint.npz").read_bytes()
        assert (out / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
        return step

    with ThreadPoolExecutor(2) as pool:
        steps = list(pool.map(killed_and_resumed, range(kills)))
    assert any(step is not None and step < 270 for step in steps)  # some in the middle, with a checkpoint


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.slow
def test_a_signal_saves_and_says_how_to_resume(images, tmp_path, request):
    """Ctrl-C and SIGTERM, some time after the first epoch."""
    for i in range(max(2, request.config.getoption("kills") // 5)):
        out = tmp_path / str(i)
        process = start(images, out, 2000)
        while not (out / "metrics.csv").exists():
            time.sleep(0.01)
        time.sleep(0.01 * i)
        process.send_signal([signal.SIGINT, signal.SIGTERM][i % 2])
        _, err = process.communicate()
        assert process.returncode == 130 and "Traceback" not in err
        assert f"saved; continue with: vqnp train --out {out} --resume" in err.splitlines()[-1]
        assert 9 <= Trainer.restore(out / "checkpoint.npz", np.load(images)[:270]).step < 18_000


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.slow
def test_an_interruption_while_it_starts_is_one_line(images, tmp_path):
    """Once main runs, whose import takes milliseconds: while it imports the rest, reads, compiles."""
    code = "from vqnp.__main__ import main; print(flush=True); raise SystemExit(main())"
    for i, wait in enumerate([0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.3]):
        words = ["train", "--data", images, "--out", tmp_path / str(i), *QUICK]
        command = [sys.executable, "-c", code, *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        assert "Traceback" not in err, err
        assert process.returncode in (0, 130), err


@contextlib.contextmanager
def default_interrupts():
    """SIGINT as a new process has it, whatever this one does with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_error_is_an_interruption_only_after_one(monkeypatch, capsys):
    """What a C extension does with a KeyboardInterrupt while it is imported."""
    monkeypatch.setattr("vqnp.cli.main", lambda: import_module("vqnp.no_such_module"))
    with default_interrupts(), pytest.raises(ImportError):
        vqnp_main()

    def import_of_an_extension():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("cannot initialise module strings") from None

    monkeypatch.setattr("vqnp.cli.main", import_of_an_extension)
    with default_interrupts():
        assert vqnp_main() == 130
    assert capsys.readouterr().err == "vqnp: interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.slow
def test_of_two_trainings_in_one_folder_one_runs(images, tmp_path, request):
    """Begun at the same moment: one ends in a consistent run, the other is refused in a sentence."""
    for i in range(max(1, request.config.getoption("kills") // 5)):
        out = tmp_path / str(i)
        both = [start(images, out, 2) for _ in range(2)]
        errors = [process.communicate()[1] for process in both]
        status = sorted(process.returncode for process in both)
        assert status == [0, 2], errors
        assert any("--out must be" in error.splitlines()[-1] for error in errors)
        assert main(["train", "--out", str(out), "--resume", "--quiet"]) == 0


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.slow
def test_two_trainings_are_kept_out_of_one_folder(images, tmp_path, capsys):
    """The second is refused and the first goes on; once the first is killed, the folder is free."""
    out = tmp_path / "r"
    process = start(images, out, 2000)
    while not (out / "metrics.csv").exists():
        time.sleep(0.01)
    before = (out / "config.json").read_bytes()
    for option in ("--force", "--resume"):
        sentence = refused_command(capsys, "train", "--data", images, "--out", out, option)
        assert sentence.startswith("--out must be a folder to which no other training is writing; got")
        assert sentence.endswith(f"{out}, to which process {process.pid} is writing")
    assert process.poll() is None and (out / "config.json").read_bytes() == before
    process.kill()
    process.communicate()
    assert main(["train", "--data", str(images), "--out", str(out), *QUICK, "--force"]) == 0
    kept = {"config.json", "checkpoint.npz", "metrics.csv", "training.png"}
    assert set(os.listdir(out)) == kept  # neither a lock nor a part
    assert main(["train", "--out", str(out), "--resume", "--quiet"]) == 0


@pytest.mark.slow
def test_trainings_that_begin_at_once_in_new_folders_get_one_each(images, tmp_path):
    def begin(i):
        return vqnp("train", "--data", images, *QUICK, cwd=tmp_path)

    with ThreadPoolExecutor(3) as pool:
        assert [done.returncode for done in pool.map(begin, range(3))] == [0, 0, 0]
    assert sorted(os.listdir(tmp_path / "runs")) == ["few-1", "few-2", "few-3"]


def test_a_configuration_of_another_training_is_refused(trained, images, tmp_path, capsys):
    """The checkpoint beside it has another schedule, another network or other sizes, however large."""
    room = "no larger than the arrays that are there"
    for name, change, what in [
        ("schedule", lambda config: config["schedule"].update(epochs=40), "40, where the checkpoint has 2"),
        ("sizes", lambda config: config["model"].update(num_embeddings=4), "the arguments of another model"),
        ("more", lambda config: config["model"].update(hidden=[13]), room),
        ("much more", lambda config: config["model"].update(hidden=[10**6, 10**6]), room),
        ("kind", lambda config: config.update(kind="autoencoder", model={"hidden": [12]}), room),
    ]:
        out = tmp_path / name
        shutil.copytree(trained, out)
        config = json.loads((out / "config.json").read_text())
        change(config)
        (out / "config.json").write_text(json.dumps(config))
        for args in (["evaluate", out], ["train", "--out", out, "--resume"]):
            sentence = refused_command(capsys, *args)
            assert sentence.startswith(f"{out / 'config.json'}: must be the configuration of the checkpoint")
            assert what in sentence
        assert main(["evaluate", str(out), "--data", str(images)]) == 0
        capsys.readouterr()


# Priors and samples.

QUICK_PRIOR = ["--epochs", "2", "--width", "8", "--layers", "1", "--heads", "2", "--quiet"]


def run_of(labels, tmp_path_factory, images):
    """A run on a few images, with or without labels."""
    folder = tmp_path_factory.mktemp("labelled")
    arrays = {"labels": load_dataset("digits").labels[:300]} if labels else {}
    np.savez(folder / "few.npz", images=np.load(images), **arrays)
    args = ["train", "--data", str(folder / "few.npz"), "--out", str(folder / "r"), *QUICK]
    assert main(args) == 0
    return folder / "r"


@pytest.fixture(scope="module")
def with_prior(tmp_path_factory, images):
    out = run_of(False, tmp_path_factory, images)
    assert main(["prior", str(out), *QUICK_PRIOR]) == 0
    return out


@pytest.fixture(scope="module")
def with_classes(tmp_path_factory, images):
    out = run_of(True, tmp_path_factory, images)
    assert main(["prior", str(out), "--condition", "class", *QUICK_PRIOR]) == 0
    return out


@pytest.mark.slow
def test_prior_prints_the_bits_beside_the_baselines(with_prior, images, capsys):
    assert main(["prior", str(with_prior), "--resume", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line[:30].strip(): [float(word) for word in line[30:].split()] for line in lines[2:7]}
    model, network = load(with_prior), load(with_prior / "prior.npz")
    train, test = np.split(model.encode(np.load(images)), [270])
    true = {
        "uniform": [9.0, 9.0],
        "unigram": [3 * code_length(k.reshape(-1, 1), train.reshape(-1, 1), 8) for k in (train, test)],
        "unigram by position": [code_length(k, train, 8) for k in (train, test)],
        "Markov chain": [Markov(train, 8).code_length(k) for k in (train, test)],
        "transformer": [network.evaluate(k).bits_per_image for k in (train, test)],
    }
    assert list(table) == list(true)
    for name, bits in true.items():
        nats = [each * np.log(2) / 3 for each in bits]
        np.testing.assert_allclose(table[name], bits + nats, atol=0.0051)
        np.testing.assert_allclose(table[name][2:], nats, atol=0.000051)
    assert "270 images to train, 30 to test" in lines[8]
    for name in ("prior.npz", "prior.csv", "samples.png"):
        assert (with_prior / name).stat().st_size > 100 and str(with_prior / name) in "\n".join(lines[9:])
    with open(with_prior / "prior.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["test_bits_per_image"]) == pytest.approx(true["transformer"][1], rel=1e-12)
    assert main(["train", "--out", str(with_prior), "--resume", "--quiet"]) == 0
    assert "prior" not in capsys.readouterr().out.replace(str(with_prior), "")


@pytest.mark.slow
def test_prior_prints_json(with_prior, with_classes, capsys):
    """The figures of the table, unrounded, and nothing else."""
    for out, kind in ((with_prior, "transformer"), (with_classes, "transformer, given the class")):
        assert main(["prior", str(out), "--resume", "--quiet"]) == 0
        printed = {line[:30].strip(): line[30:].split() for line in capsys.readouterr().out.splitlines()}
        assert main(["prior", str(out), "--resume", "--json"]) == 0
        captured = capsys.readouterr()
        figures = json.loads(captured.out)
        assert captured.err == "" and captured.out.count("\n") == 1
        assert list(figures["bits_per_image"]) == [*BASELINES, kind]
        for name in figures["bits_per_image"]:
            bits, nats = (list(figures[key][name].values()) for key in ("bits_per_image", "nats_per_code"))
            np.testing.assert_allclose(nats, np.array(bits) * np.log(2) / 3, rtol=1e-12)
            assert [f"{b:.2f}" for b in bits] + [f"{x:.4f}" for x in nats] == printed[name]
        assert list(figures["bits_per_image"][kind]) == ["train", "test"]
        assert figures["model"] == "transformer" and figures["data"].endswith("few.npz")
        assert figures["condition"] == ("class" if "class" in kind else "none")
        sizes = ("num_latents", "num_embeddings", "train_images", "test_images")
        assert [figures[name] for name in sizes] == [3, 8, 270, 30]
        assert figures["wrote"] == [str(out / name) for name in ("prior.npz", "prior.csv", "samples.png")]


def test_prior_shows_the_sheet_that_sample_draws(with_prior, tmp_path):
    sheet = tmp_path / "s.png"
    assert main(["sample", str(with_prior), "--n", "100", "--out", str(sheet), "--quiet"]) == 0
    assert sheet.read_bytes() == (with_prior / "samples.png").read_bytes()


@pytest.mark.slow
def test_prior_that_was_stopped_ends_in_the_same_bits(with_prior, images, tmp_path):
    out = tmp_path / "r"
    shutil.copytree(with_prior, out)
    for name in ("prior.npz", "prior.csv", "samples.png"):
        (out / name).unlink()
    model, codes = load(out), load(out).encode(np.load(images)[:270])
    whole = Trainer.restore(with_prior / "prior.npz", codes)
    network = Transformer(8, (3,), 8, 1, 2, rng=0)
    part = Trainer(network, codes, whole.schedule, {"codes_of": model.fingerprint()})
    part.initialize()
    for _ in range(3):
        part.train_step()
    part.save(out / "prior.npz")
    assert main(["prior", str(out), "--resume", *QUICK_PRIOR]) == 0
    for name in ("prior.npz", "prior.csv", "samples.png"):
        assert (out / name).read_bytes() == (with_prior / name).read_bytes()
    with refused("--epochs", "must be what the prior began with, 2", "3", where="--resume"):
        run("prior", out, "--resume", "--epochs", "3")
    with refused("--width", "must be what the prior began with, 8", "9", where="--resume"):
        run("prior", out, "--resume", "--width", "9")
    with refused("--model", "must be what the prior began with, transformer", "markov", where="--resume"):
        run("prior", out, "--resume", "--model", "markov")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.slow
def test_prior_that_is_interrupted_or_killed_is_continued(with_prior, tmp_path, capsys):
    for number in (signal.SIGINT, signal.SIGKILL):
        out = tmp_path / str(number)
        shutil.copytree(with_prior, out)
        args = [sys.executable, "-m", "vqnp", "prior", out, "--force", *QUICK_PRIOR, "--epochs", "3000"]
        process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        before = (out / "prior.csv").read_bytes()
        while not (out / "prior.csv").exists() or (out / "prior.csv").read_bytes() == before:
            time.sleep(0.01)
        sentence = refused_command(capsys, "prior", out, "--resume")
        assert sentence.startswith("RUN must be a folder to which no other training is writing; got")
        process.send_signal(number)
        _, err = process.communicate()
        assert "Traceback" not in err
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert f"saved; continue with: vqnp prior {out} --resume" in err.splitlines()[-1]
        with refused("--epochs", "must be what the prior began with, 3000", "2"):
            run("prior", out, "--resume", "--epochs", "2")


def test_prior_from_counts(trained, images, tmp_path, capsys):
    out = tmp_path / "r"
    shutil.copytree(trained, out)
    assert main(["prior", str(out), "--model", "markov", "--quiet"]) == 0
    table = capsys.readouterr().out
    assert "Markov chain" in table and "transformer" not in table and not (out / "prior.csv").exists()
    before = (out / "prior.npz").read_bytes()
    assert main(["prior", str(out), "--resume", "--quiet"]) == 0 and capsys.readouterr().out == table
    assert (out / "prior.npz").read_bytes() == before
    with refused("", "--force replaces it", "prior.npz", where="RUN"):
        run("prior", out)
    file = tmp_path / "s.npy"
    assert main(["sample", str(out), "--n", "5", "--seed", "3", "--top-k", "2", "--out", str(file)]) == 0
    model = load(out)
    chain = Markov(model.encode(np.load(images)[:270]), 8)
    np.testing.assert_array_equal(np.load(file), generate(model, chain, 5, 3, top_k=2))
    with refused("--width", "only with --model transformer", "markov"):
        run("prior", out, "--force", "--model", "markov", "--width", "8")
    with refused("--condition", "only with --model transformer", "markov"):
        run("prior", out, "--force", "--model", "markov", "--condition", "class")


def plane_run(tmp_path_factory):
    """A run whose codes lie in a plane, 7 × 7, with labels."""
    folder, digits = tmp_path_factory.mktemp("plane"), load_dataset("digits")
    np.savez(folder / "few.npz", images=digits.images[:60], labels=digits.labels[:60])
    args = ["train", "--data", str(folder / "few.npz"), "--out", str(folder / "r"), "--network", "conv"]
    assert main([*args, "--channels", "4", "--num-embeddings", "8", "--epochs", "1", "--quiet"]) == 0
    return folder / "r"


QUICK_PIXELCNN = ["--model", "pixelcnn", "--epochs", "2", "--width", "4", "--quiet"]


@pytest.mark.slow
def test_a_pixelcnn_is_trained_resumed_and_sampled(tmp_path_factory, capsys):
    out = plane_run(tmp_path_factory)
    capsys.readouterr()
    assert main(["prior", str(out), *QUICK_PIXELCNN, "--condition", "class", "--kernel", "5"]) == 0
    table = capsys.readouterr().out
    assert "pixelcnn, given the class" in table
    model, network = load(out), load(out / "prior.npz")
    assert type(network) is PixelCNN and network.num_classes == 10 and network.blind_spot == 0
    own = network.config()
    assert (own["channels"], own["layers"], own["kernel"]) == (4, 5, 5)
    written = (out / "prior.npz").read_bytes()
    assert main(["prior", str(out), "--resume", "--quiet"]) == 0 and capsys.readouterr().out == table
    assert (out / "prior.npz").read_bytes() == written
    file = out / "s.npy"
    assert main(["sample", str(out), "--n", "3", "--label", "7", "--out", str(file), "--quiet"]) == 0
    np.testing.assert_array_equal(np.load(file), generate(model, network, 3, 0, 7))
    assert main(["prior", str(out), *QUICK_PIXELCNN, "--force", "--layers", "2", "--stacks", "1"]) == 0
    assert load(out / "prior.npz").blind_spot == pytest.approx(0.116, abs=1e-3)
    with refused("--lr", "must be what the prior began with, 0.002", "0.001", where="--resume"):
        run("prior", out, "--resume", "--lr", "0.001")
    for option, value, needed in [
        ("--heads", "2", "must be given only with --model transformer"),
        ("--layers", "2", "must be at least 3 with kernel 3, or kernel at least 5 with 2 layers"),
        ("--kernel", "4", "must be odd"),
    ]:
        with refused(option, needed):
            run("prior", out, "--force", *QUICK_PIXELCNN, option, value)
    with refused("--stacks", "must be what the prior began with, 1", "2", where="--resume"):
        run("prior", out, "--resume", "--stacks", "2")
    with refused("--kernel", "must be given only with --model pixelcnn", "--model transformer"):
        run("prior", out, "--force", "--kernel", "3")


def test_a_pixelcnn_is_refused_for_codes_that_are_not_in_a_plane(with_prior):
    before = (with_prior / "prior.npz").read_bytes()
    with refused("RUN", "must have two axes"):
        run("prior", with_prior, "--force", "--model", "pixelcnn")
    assert (with_prior / "prior.npz").read_bytes() == before


def test_sample_k_of_a_seed_is_the_same_whatever_n_is(with_prior, tmp_path, capsys):
    def drawn(*args):
        out = tmp_path / "s.npy"
        assert main(["sample", str(with_prior), "--out", str(out), "--force", "--quiet", *args]) == 0
        return np.load(out)

    few, many, other = drawn("--n", "3"), drawn("--n", "150"), drawn("--n", "3", "--seed", "1")
    assert few.shape == (3, 28, 28) and few.dtype == np.float32
    np.testing.assert_array_equal(few, many[:3])
    assert not np.array_equal(few, other)
    assert len(drawn()) == 64 and "64 images in" in capsys.readouterr().out
    model, network = load(with_prior), load(with_prior / "prior.npz")
    np.testing.assert_array_equal(few, generate(model, network, 3, 0))
    how = {"temperature": 0.5, "top_k": 3, "top_p": 0.9}
    options = [word for name, value in how.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    np.testing.assert_array_equal(drawn("--n", "9", *options), generate(model, network, 9, 0, **how))


@pytest.mark.slow
def test_sample_of_a_class(with_classes, tmp_path, capsys):
    out = tmp_path / "s.npy"
    assert main(["sample", str(with_classes), "--label", "7", "--guidance", "2", "--out", str(out)]) == 0
    assert "64 images of class 7" in capsys.readouterr().out
    model, network = load(with_classes), load(with_classes / "prior.npz")
    assert network.num_classes == 10
    np.testing.assert_array_equal(np.load(out), generate(model, network, 64, 0, 7, guidance=2.0))
    assert main(["prior", str(with_classes), "--resume", "--quiet"]) == 0
    assert "transformer, given the class" in capsys.readouterr().out
    with refused("--condition", "must be what the prior began with, class", "none"):
        run("prior", with_classes, "--resume", "--condition", "none")
    for label in ("10", "-1"):
        with refused("--label", "0", label):
            run("sample", with_classes, "--label", label, "--out", tmp_path / "t.png")


@pytest.mark.parametrize(
    ("args", "where", "argument", "needed", "got"),
    [
        ("prior RUN", "RUN", "", "must be a run without a prior (--force", "which has prior.npz"),
        ("prior RUN --force --resume", "", "--resume", "without --force", "both"),
        ("prior RUN --force --condition class", "", "--condition", "none for data without labels", "few.npz"),
        ("prior RUN --force --condition-dropout 0.2", "", "--condition-dropout", "class", "none"),
        ("prior RUN --force --heads 3", "", "--heads", "", "3"),
        ("prior RUN --force --width 0", "", "--width", "at least 1", "0"),
        ("prior RUN --force --epochs 0", "", "--epochs", "at least 1", "0"),
        ("prior RUN/checkpoint.npz", "RUN", "", "must be a run folder", "the file"),
        ("prior nowhere", "RUN", "", "a run folder or a checkpoint", "nowhere, which does not exist"),
        ("sample RUN --label 1", "", "--label", "only for a prior with classes", "transformer without"),
        ("sample RUN --guidance 2", "", "--guidance", "only with --label", "2.0"),
        ("sample RUN --n 0", "", "--n", "at least 1", "0"),
        ("sample RUN --n 1000000000000", "", "--n", "must be at most", "1000000000000, which take"),
        ("sample RUN --seed -1", "", "--seed", "at least 0", "-1"),
        ("sample RUN --temperature 0", "", "--temperature", "(0, inf)", "0.0"),
        ("sample RUN --top-k 0", "", "--top-k", "at least 1", "0"),
        ("sample RUN --top-p 1.5", "", "--top-p", "(0, 1]", "1.5"),
        ("sample RUN --out s.txt", "", "--out", "must end in .png or .npy", "s.txt"),
        ("sample RUN/prior.npz", "RUN", "", "must be a run folder", "the file"),
    ],
)
def test_mistakes_with_a_prior_change_nothing(
    args, where, argument, needed, got, with_prior, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.read_bytes() for path in with_prior.iterdir()}
    with refused(argument, needed, got, where=where):
        run(*args.replace("RUN", str(with_prior)).split())
    assert os.listdir(tmp_path) == []
    assert {path.name: path.read_bytes() for path in with_prior.iterdir()} == before


def test_prior_of_another_model_is_refused(with_prior, trained, tmp_path):
    out = tmp_path / "r"
    shutil.copytree(with_prior, out)
    other = load(trained)
    other.decoder.layers[1].b.value += 1
    save(out / "checkpoint.npz", other)
    where = f"prior {out / 'prior.npz'}"
    for args in (["sample", out, "--out", tmp_path / "s.png"], ["prior", out, "--resume"]):
        with refused("", "must be the prior of the model beside it", "another", where=where):
            run(*args)
    save(out / "prior.npz", other)
    with refused("", "must be a prior over codes", "VQVAE"):
        run("sample", out, "--out", tmp_path / "s.png")
    (out / "prior.npz").write_bytes((with_prior / "prior.npz").read_bytes()[:-40])
    with refused(""):
        run("sample", out, "--out", tmp_path / "s.png")
    (out / "prior.npz").unlink()
    with refused("", "must be a run with a prior (vqnp prior RUN trains one)", "no prior.npz", where="RUN"):
        run("sample", out, "--out", tmp_path / "s.png")


@pytest.mark.parametrize(("codes", "K"), [([[0, 1, 2, 3, 4]], 8), ([[0, 1, 2]], 7)])
def test_a_chain_over_other_grids_is_refused_by_its_file(codes, K, trained, tmp_path):
    out = tmp_path / "r"
    shutil.copytree(trained, out)
    write_chain(Run(out), Markov(codes, K), load(out))
    where = f"prior {out / 'prior.npz'}"
    for command in ("sample", "compress"):
        suffix = "png" if command == "sample" else "vqnp"
        with refused("prior", "must be over grids of 3 codes of 8", where=where):
            run(command, out, "--out", tmp_path / f"s.{suffix}", "--quiet")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vae", "autoencoder"])
def test_prior_needs_codes(kind, images, tmp_path):
    out = tmp_path / "r"
    args = ["--model", kind, "--epochs", "1", "--latent-dim", "2", "--hidden", "4", "--quiet"]
    assert main(["train", "--data", str(images), "--out", str(out), *args]) == 0
    for command in ("prior", "sample"):
        with refused("", "must be the run of a VQ-VAE, whose latents are codes", kind, where="RUN"):
            run(command, out)


def test_prior_defaults_are_those_of_the_classes():
    for kind, cls in (("transformer", Transformer), ("pixelcnn", PixelCNN)):
        own = {n: p.default for n, p in inspect.signature(cls).parameters.items()}
        for name in prior_options.arguments_of(kind):
            type_, _, defaults, _ = prior_options.NETWORK[name]
            if (kind, name) == ("pixelcnn", "layers"):
                assert own["layers"] == prior_options.PIXELCNN_LAYERS
            else:
                default = defaults[kind]
                assert own[prior_options.NAMES.get(name, name)] == default and isinstance(default, type_)
    assert prior_options.SCHEDULE.keys() | {"lr_schedule"} == vars(Schedule()).keys()


# Help and start-up.


@pytest.mark.slow
def test_help_of_every_command():
    for command in ("", *(command.__name__.rpartition(".")[2] for command in COMMANDS)):
        done = vqnp(*command.split(), "--help")
        assert done.returncode == 0 and "usage: vqnp" in done.stdout and not done.stderr
    assert vqnp("--version").stdout.startswith("vqnp 0.")


def test_every_command_says_what_it_does():
    parsers = next(a for a in build_parser()._actions if a.dest == "command").choices
    assert list(parsers) == [command.__name__.rpartition(".")[2] for command in COMMANDS]
    help = build_parser().format_help()
    for command in COMMANDS:
        assert " ".join(command.HELP.split()[:4]) in " ".join(help.split()) and command.DESCRIPTION
    for name in list(parsers):  # each in the examples at the end, but the guide to cross-checks is elsewhere
        assert f"  vqnp {name}" in help or name == "crosscheck"


def test_the_defaults_in_the_help_are_the_defaults():
    def defaults(function):
        return {n: p.default for n, p in inspect.signature(function).parameters.items()}

    model, vae = defaults(VQVAE.mlp), defaults(MODELS["vae"].mlp)
    conv, conv_vae = defaults(VQVAE.conv), defaults(MODELS["vae"].conv)
    schedule = vars(Schedule())
    hierarchical = defaults(HierarchicalVQVAE.conv)
    tables = (
        (MODEL_OPTIONS, model, conv), (MLP_OPTIONS, model, {}), (CONV_OPTIONS, {}, conv),
        (FIELD_OPTIONS, {}, conv), (HIERARCHY_OPTIONS, {}, hierarchical),
        (LATENT_OPTIONS, vae, conv_vae), (SCHEDULE_OPTIONS, schedule, schedule | SCHEDULES["conv"]),
    )  # fmt: skip
    for table, mlp_has, conv_has in tables:
        for name, (kind, _, help) in table.items():
            true, other = mlp_has.get(name, conv_has.get(name)), conv_has.get(name, mlp_has.get(name))
            both = f"{true}" if true == other else f"{true}; conv: {other}"
            if table in (MODEL_OPTIONS, CONV_OPTIONS) and (own := hierarchical[name]) != other:
                own = " ".join(map(str, own)) if isinstance(own, tuple) else own
                both += f"; hierarchical: {own}"
            assert help.endswith(f"(default: {both})") or name == "ndim", name
            assert not isinstance(kind, tuple) or true in kind  # choices
    for network in ("mlp", "conv"):
        vae_has, plain_has = (defaults(getattr(MODELS[kind], network)) for kind in ("vae", "autoencoder"))
        assert LATENT_OPTIONS.keys() & plain_has.keys() == {"latent_dim"}
        assert vae_has["latent_dim"] == plain_has["latent_dim"]
    assert conv["ndim"] is None
    for name in CONV_OPTIONS:
        assert conv[name] == conv_vae[name] == defaults(MODELS["autoencoder"].conv)[name]
    quantizer = defaults(EMAVectorQuantizer)
    assert all(model[name] == quantizer[name] for name in ("commitment_cost", "decay", "epsilon"))
    shared = MODEL_OPTIONS.keys() - {"embedding_dim", "restart_dead_codes"}
    assert {n: model[n] for n in shared} == {n: conv[n] for n in shared}
    text = next(a for a in build_parser()._actions if a.dest == "command").choices["train"].format_help()
    assert "(default: 512)" in text and model["hidden"] == vae["hidden"] == (512,)
    assert "(default: vqvae)" in text


@pytest.mark.parametrize("script", ["import vqnp", "from vqnp.cli import main; main(['train', '--help'])"])
def test_import_is_light_and_help_compiles_nothing(script):
    show = "print([m for m in ('matplotlib', 'numba', 'tqdm', 'scipy', 'torch') if m in sys.modules])"
    script = f"import sys\ntry: {script}\nexcept SystemExit: pass\n{show}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.endswith("[]\n"), done.stderr


def test_the_command_line_offers_every_activation():
    action = next(a for a in _train_parser()._actions if a.dest == "activation")
    assert set(action.choices) == set(ACTIVATIONS)


def _train_parser():
    commands = next(a for a in build_parser()._actions if a.dest == "command")
    return commands.choices["train"]


@pytest.mark.parametrize(
    "shape, ndim, form",
    [
        ((28, 28), None, "images of 28 × 28"), ((16, 16, 3), None, "images of 16 × 16, 3 channels"),
        ((64,), None, "signals of 64"), ((64, 4), 1, "signals of 64, 4 channels"),
        ((64, 4), None, "images of 64 × 4"), ((2, 3, 4, 5), None, "images of 2 × 3 × 4 × 5"),
    ],
)  # fmt: skip
def test_training_says_how_it_reads_the_data(shape, ndim, form):
    assert train._form(shape, ndim) == form
