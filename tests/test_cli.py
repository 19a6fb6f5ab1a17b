"""The command line as a person meets it: what it prints, what it writes, how it refuses."""

import contextlib
import csv
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vqnp import VQVAE, load, load_dataset, load_splits, save
from vqnp.cli.main import MODEL_OPTIONS, SCHEDULE_OPTIONS, build_parser, main
from vqnp.data import open_images
from vqnp.training.trainer import Schedule, Trainer

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


def refused(capsys, *args):
    """The one sentence on standard error of a command that exits with 2."""
    try:
        status = main([str(a) for a in args])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2 and captured.out == ""
    lines = captured.err.splitlines()
    assert "Traceback" not in captured.err
    assert len(lines) == 1 and lines[0].startswith("vqnp"), captured.err
    return lines[0].split("error: ", 1)[1]


def test_train_writes_a_run_and_prints_the_table(trained, images, capsys):
    assert main(["train", "--data", str(images), "--out", str(trained), "--resume"]) == 0
    out = capsys.readouterr().out
    for word in ("test MSE", "codebook perplexity", "utilization", "codes used", "diagnosis", "of 8"):
        assert word in out
    for name in ("checkpoint.npz", "config.json", "metrics.csv", "training.png"):
        assert (trained / name).stat().st_size > 100 and str(trained / name) in out
    with open(trained / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] and float(rows[1]["test_mse"]) < float(rows[0]["mse"])
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
    assert capsys.readouterr().out.splitlines() == table[:7]


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
    model = VQVAE(num_latents=2, embedding_dim=2, num_embeddings=4, hidden=(3,))
    model.quantizer.embeddings[2] = 1e6
    save(tmp_path / "m.npz", model)
    assert main(["inspect", str(tmp_path / "m.npz"), "--data", str(images)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("dead codes"))
    assert "2" in line.replace("dead codes", "")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Peak memory of encode on 20,000 images and on four times as many: a batch, not the data."""
    save(tmp_path / "m.npz", VQVAE(num_latents=2, embedding_dim=2, num_embeddings=4, hidden=(3,)))
    script = (
        "import resource, sys; from vqnp.cli.main import main; assert main(sys.argv[1:]) == 0; "
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


# What a person does wrong.


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["train", "--epochs", "0"], "fit: epochs must be an integer of at least 1; got 0"),
        (["train", "--batch-size", "0"], "fit: batch_size must be an integer of at least 1; got 0"),
        (["train", "--decay", "1"], ": decay must be in [0, 1); got 1.0"),
        (["train", "--num-embeddings", "0"], "VQVAE: num_embeddings must be an integer of at least 1; got 0"),
        (["train", "--num-latents", "-1"], "VQVAE: num_latents must be an integer of at least 1; got -1"),
        (["train", "--embedding-dim", "0"], "VQVAE: embedding_dim must be an integer of at least 1; got 0"),
        (["train", "--commitment-cost", "nan"], "commitment_cost must be in [0, inf); got nan"),
        (["train", "--hidden", "0"], "VQVAE: hidden[0] must be an integer of at least 1; got 0"),
        (["train", "--num-embeddings", "10000000000000"], "the model, the batch or the data must be smaller"),
        (["train", "--data", "nowhere"], "load_splits: source must be 'digits', 'mnist', 'fashion-mnist' or"),
        (["train", "--resume"], "--resume must have the run's folder in --out; got none"),
        (["train", "--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["train", "--codebook", "x"], "argument --codebook: invalid choice: 'x'"),
        (["frobnicate"], "argument COMMAND: invalid choice: 'frobnicate'"),
        ([], "the following arguments are required: COMMAND"),
        (["evaluate", "nowhere"], "RUN: must be a run folder or a checkpoint; got nowhere, which does not exist"),  # noqa: E501
        (["encode", "nowhere", "--out", "codes.txt"], "--out must end in .npz; got codes.txt"),
        (["decode", "nowhere", "c.npz", "--out", "no/i.npy"], "--out must be in an existing folder; got no/i.npy"),  # noqa: E501
    ],
)  # fmt: skip
def test_mistakes_get_one_sentence(args, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(capsys, *args)
    assert os.listdir(tmp_path) == []  # and nothing is left behind


def test_an_existing_folder_is_never_overwritten_without_force(trained, images, tmp_path, capsys):
    before = (trained / "checkpoint.npz").read_bytes()
    assert "which has files in it" in refused(capsys, "train", "--out", trained)
    assert "must be without --force" in refused(capsys, "train", "--out", trained, "--force", "--resume")
    assert (trained / "checkpoint.npz").read_bytes() == before
    (tmp_path / "file").write_text("mine")
    assert "must be a folder" in refused(capsys, "train", "--data", images, "--out", tmp_path / "file")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "notes.txt").write_text("mine")
    assert main(["train", "--data", str(images), "--out", str(tmp_path / "r"), *QUICK, "--force"]) == 0
    assert (tmp_path / "r" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "r" / "checkpoint.npz").read_bytes() == before


def test_an_existing_file_is_never_overwritten_without_force(trained, tmp_path, capsys):
    out = tmp_path / "codes.npz"
    out.write_bytes(b"mine")
    assert "must be a new file (or give --force)" in refused(capsys, "encode", trained, "--out", out)
    assert out.read_bytes() == b"mine"


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


def test_a_folder_that_cannot_be_written(images, tmp_path, capsys, monkeypatch):
    data = load_splits(images)
    monkeypatch.setattr("vqnp.cli.commands.load_splits", lambda source: data)
    args = ["train", "--data", images, "--out", tmp_path / "r", *QUICK]
    tmp_path.chmod(0o555)
    with without_root():
        sentence = refused(capsys, *args)
    tmp_path.chmod(0o755)
    assert sentence.endswith("Permission denied") and str(tmp_path) in sentence


def test_a_place_where_no_folder_can_be(images, capsys):
    assert refused(capsys, "train", "--data", images, "--out", "/dev/null/r", *QUICK)


def test_resume_refuses_other_settings(trained, capsys, tmp_path):
    args = ["train", "--out", trained, "--resume"]
    assert (
        refused(capsys, *args, "--lr", "0.5")
        == "--resume: --lr must be what the run began with, 0.001; got 0.5"
    )
    sentence = refused(capsys, *args, "--num-embeddings", "16")
    assert sentence == "--resume: --num-embeddings must be what the run began with, 8; got 16"
    assert "--data must be what the run began with" in refused(capsys, *args, "--data", "digits")


def test_codes_that_are_not_this_models(trained, images, tmp_path, capsys):
    save(tmp_path / "other.npz", VQVAE(num_latents=3, embedding_dim=4, num_embeddings=8, hidden=(12,), rng=9))
    codes = tmp_path / "codes.npz"
    assert main(["encode", str(tmp_path / "other.npz"), "--data", str(images), "--out", str(codes)]) == 0
    capsys.readouterr()
    out = tmp_path / "out.npy"
    assert "must be codes of this model; got codes of another model" in refused(
        capsys, "decode", trained, codes, "--out", out
    )
    for array, sentence in [
        (np.zeros((2, 3), "i8") + 8, "codes must be in [0, 8); got 8 at index (0, 0)"),
        (np.zeros((2, 3), "i8") - 1, "codes must be in [0, 8); got -1 at index (0, 0)"),
        (np.zeros((2, 4), "i8"), "codes must have shape (n, 3); got shape (2, 4)"),
        (np.zeros((2, 3)), "codes must be integers; got float64"),
    ]:
        np.save(tmp_path / "bad.npy", array)
        assert sentence in refused(capsys, "decode", trained, tmp_path / "bad.npy", "--out", out)
    np.savez(tmp_path / "bad.npz", other=np.zeros((2, 3), int))
    assert "an array named 'codes'" in refused(capsys, "decode", trained, tmp_path / "bad.npz", "--out", out)
    (tmp_path / "bad.npz").write_bytes(codes.read_bytes()[:-40])
    assert refused(capsys, "decode", trained, tmp_path / "bad.npz", "--out", out)
    assert "no such file" in refused(capsys, "decode", trained, tmp_path / "none.npz", "--out", out)
    assert not out.exists()


def test_memory_that_ends_without_a_word_is_one_sentence(monkeypatch, capsys):
    def ends(args):
        raise MemoryError

    monkeypatch.setattr("vqnp.cli.commands.evaluate", ends)
    assert refused(capsys, "evaluate", "runs/digits-1").startswith("out of memory; the model")


def test_images_of_another_shape_or_out_of_range(trained, tmp_path, capsys):
    for array, sentence in [
        (np.zeros((5, 9, 9), "u1"), "images must have shape (n, 28, 28) or (n, 784); got shape (5, 9, 9)"),
        (np.full((5, 28, 28), np.nan), "images must be finite; got nan at index (0, 0, 0)"),
        (
            np.full((5, 28, 28), 2.0),
            "images must be in [0, 1] if they are not uint8; got 2.0 at index (0, 0, 0)",
        ),
        (np.zeros((0, 28, 28), "u1"), "0"),
        (np.zeros((5, 28, 28), "i4"), "int32"),
    ]:
        np.save(tmp_path / "bad.npy", array)
        encoding = refused(
            capsys, "encode", trained, "--data", tmp_path / "bad.npy", "--out", tmp_path / "c.npz"
        )
        for said in (refused(capsys, "evaluate", trained, "--data", tmp_path / "bad.npy"), encoding):
            assert sentence in said
            assert "at index" not in said or f"{tmp_path / 'bad.npy'}: images" in said
    assert sorted(os.listdir(tmp_path)) == ["bad.npy"]


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
def test_killed_at_any_moment_and_resumed_the_run_ends_in_the_same_bits(images, tmp_path):
    """SIGKILL from before the folder is there until the run is over."""
    whole = tmp_path / "whole"
    begun = time.monotonic()
    process = start(images, whole, 30)
    _, err = process.communicate()
    assert process.returncode == 0, err
    took = time.monotonic() - begun

    def killed_and_resumed(i):
        out = tmp_path / f"killed{i}"
        process = start(images, out, 30)
        time.sleep(took * (i + np.random.default_rng(i).random()) / 6)
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
        steps = list(pool.map(killed_and_resumed, range(6)))
    assert any(step is not None and step < 270 for step in steps)  # some in the middle, with a checkpoint


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_resume(images, tmp_path):
    out = tmp_path / "r"
    process = start(images, out, 2000)
    while not (out / "metrics.csv").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130 and "Traceback" not in err
    assert f"saved; go on with: vqnp train --out {out} --resume" in err.splitlines()[-1]
    assert 9 <= Trainer.restore(out / "checkpoint.npz", np.load(images)[:270]).step < 18_000


# Help and start-up.


def test_help_of_every_command():
    for command in ("", "train", "evaluate", "encode", "decode", "inspect", "export"):
        done = vqnp(*command.split(), "--help")
        assert done.returncode == 0 and "usage: vqnp" in done.stdout and not done.stderr
    assert vqnp("--version").stdout.startswith("vqnp 0.")


def test_the_defaults_in_the_help_are_the_defaults():
    model = {n: p.default for n, p in inspect.signature(VQVAE).parameters.items()}
    for table, defaults in ((MODEL_OPTIONS, model), (SCHEDULE_OPTIONS, vars(Schedule()))):
        for name, (_, _, help) in table.items():
            assert help.endswith(f"(default: {defaults[name]})"), name
    text = next(a for a in build_parser()._actions if a.dest == "command").choices["train"].format_help()
    assert "(default: 512)" in text and model["hidden"] == (512,)
    for name in ("activation", "codebook", "codebook_init"):
        assert f"(default: {model[name]})" in text
    assert f"(default: {Schedule().lr_schedule})" in text


def test_import_is_light_and_help_compiles_nothing():
    script = "import vqnp, sys; print([m for m in ('matplotlib', 'numba', 'tqdm') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"
    script = (
        "import sys; from vqnp.cli.main import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('matplotlib', 'numba', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.endswith("[]\n")


def test_every_public_name_is_there():
    import vqnp

    for name in vqnp.__all__:
        assert getattr(vqnp, name) is not None
    assert callable(vqnp.gradcheck) and set(vqnp.__all__) <= set(dir(vqnp))
    with pytest.raises(AttributeError, match="module 'vqnp' has no attribute 'nothing'"):
        _ = vqnp.nothing
