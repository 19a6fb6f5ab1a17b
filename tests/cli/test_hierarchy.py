"""vqnp train --model hierarchical, and every command on such a run; codes of several levels in one file."""

import csv
import json

import numpy as np
import pytest
from helpers import refused, refused_command

from vqnp import HierarchicalVQVAE, load, load_dataset
from vqnp.cli import main
from vqnp.export import load_torch
from vqnp.export.codes import encode_file, open_codes
from vqnp.training import Trainer

SMALL = [
    "--channels", "4", "--residual-channels", "2", "--residual-blocks", "0", "--num-embeddings", "8", "4",
    "--embedding-dim", "3", "--level-loss", "1", "--epochs", "2", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npy"
    np.save(path, load_dataset("digits").images[:80])
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, images):
    out = tmp_path_factory.mktemp("runs") / "two"
    args = ["train", "--model", "hierarchical", "--data", str(images), "--out", str(out), *SMALL]
    assert main(args) == 0
    return out


def test_a_run_trains_and_is_inspected(run, images, capsys):
    config = json.loads((run / "config.json").read_text())
    assert config["kind"] == "hierarchical" and config["network"] == "conv"
    assert config["model"]["num_embeddings"] == [8, 4] and config["model"]["embedding_dim"] == 3
    assert config["model"]["downsampling"] == [2, 1] and config["schedule"]["lr"] == 0.002
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert len(rows) == 2 and {"perplexity_1", "test_swapped_mse_2"} <= rows[0].keys()
    assert main(["evaluate", str(run), "--data", str(images), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [level["shape"] for level in report["levels"]] == [[7, 7], [14, 14]]
    assert report["bits_per_image"] == 49 * 3 + 196 * 2
    assert all(level["swapped_mse"] > 0 for level in report["levels"])
    assert main(["evaluate", str(run), "--data", str(images)]) == main(["inspect", str(run)]) == 0
    text = capsys.readouterr().out
    for line in ("level 1              7 × 7 codes", "  MSE if swapped", "  MSE down to here", "levels.png"):
        assert line in text, line
    assert text.count("use / uniform use") == 2
    for name in ("training.png", "levels.png"):
        assert (run / name).stat().st_size > 1000


def test_codes_of_both_levels_go_into_one_file_and_back(run, images, tmp_path, capsys):
    model, x = load(run), np.load(images)
    codes, out, sheet, weights = (str(tmp_path / n) for n in ("k.npz", "x.npy", "x.png", "w.npz"))
    assert main(["encode", str(run), "--data", str(images), "--out", codes]) == 0
    assert "80 images of" in (said := capsys.readouterr().out) and "539 bits each" in said
    with np.load(codes) as arrays:
        assert set(arrays) == {"codes_1", "codes_2", "num_embeddings", "model"}
        for name, k in zip(("codes_1", "codes_2"), model.encode(x), strict=True):
            assert arrays[name].dtype == np.uint8
            np.testing.assert_array_equal(arrays[name], k)
        np.testing.assert_array_equal(arrays["num_embeddings"], [8, 4])
    for path in (out, sheet):
        assert main(["decode", str(run), codes, "--out", path]) == 0
    assert np.load(out).tobytes() == model.reconstruct(x).tobytes()
    assert "80 of 80 images in" in capsys.readouterr().out
    assert main(["export", str(run), "--out", weights]) == 0
    assert load_torch(weights).fingerprint() == model.fingerprint()


def test_codes_are_written_in_parts(tmp_path, monkeypatch, rng):
    """As they come, the later level from where it waits."""
    from vqnp.export import codes as module

    model = HierarchicalVQVAE.conv((4, 4), 3, 2, 0, (2, 1), 2, (300, 4), codebook_init="normal")
    x = rng.random((11, 4, 4), np.float32)
    encode_file(model, x, tmp_path / "one.npz")
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(module, "batches", lambda x: (x[i : i + 4] for i in range(0, len(x), 4)))
    encode_file(model, x, tmp_path / "parts.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "parts.npz").read_bytes()
    found = open_codes(model, tmp_path / "parts.npz")
    assert len(found) == 11 and [k.dtype for k in found.read()] == [np.uint16, np.uint8]
    assert [len(k) for _, k in found.batches(4)] == [4, 4, 3]
    for ours, theirs in zip(found.read(), model.encode(x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_files_that_are_not_codes_of_all_levels_are_one_sentence(run, images, tmp_path, capsys):
    model = load(run)
    top, bottom = model.encode(np.load(images))

    def sentence(**arrays):
        np.savez(tmp_path / "k.npz", **arrays)
        return refused_command(capsys, "decode", run, tmp_path / "k.npz", "--out", tmp_path / "x.npy")

    assert "codes_1 must have shape (n, 7, 7); got shape (80, 14, 14), as codes_2" in sentence(codes_1=bottom, codes_2=top)  # noqa: E501
    needed = "must be an .npz of arrays named 'codes_1' and 'codes_2', as vqnp encode writes it; got none"
    assert needed in sentence(codes_1=top) and needed in sentence(codes=top)
    assert "codes_2 must hold 80 images, as codes_1; got 79" in sentence(codes_1=top, codes_2=bottom[1:])
    assert "codes of level 2 must be in [0, 4); got 9" in sentence(codes_1=top, codes_2=bottom + 9)
    assert "codes_1 must be integers" in sentence(codes_1=top / 2, codes_2=bottom)
    other = np.zeros(32, np.uint8)
    assert "must be codes of this model" in sentence(codes_1=top, codes_2=bottom, model=other)
    np.save(tmp_path / "k.npy", top)
    said = refused_command(capsys, "decode", run, tmp_path / "k.npy", "--out", tmp_path / "x.npy")
    assert "must be an .npz of arrays named" in said and "one array without a name" in said


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_in_the_same_bits(run, images, tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    (part / "config.json").write_bytes((run / "config.json").read_bytes())
    whole = Trainer.restore(run / "checkpoint.npz", np.load(images)[:72])
    config = json.loads((part / "config.json").read_text())
    model = HierarchicalVQVAE.conv(**config["model"], rng=np.random.default_rng(0))
    trainer = Trainer(model, np.load(images)[:72], whole.schedule)
    trainer.initialize()
    trainer.train_step()
    trainer.save(part / "checkpoint.npz")
    args = ["train", "--out", str(part), "--resume", "--quiet"]
    began = ["--num-embeddings", "8", "4", "--embedding-dim", "3", "--downsampling", "2", "1"]
    assert main([*args, *began]) == 0
    for name in ("checkpoint.npz", "metrics.csv"):
        assert (part / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "argument", "needed", "got"),
    [
        (["--network", "mlp"], "--network", "must be conv with --model hierarchical", "mlp"),
        (["--hidden", "5"], "--hidden", "must be given only with --network mlp", "conv"),
        (["--downsampling", "1", "2"], "--downsampling", "must decrease from the top level", "(1, 2)"),
        (["--downsampling", "3", "1"], "", "must be a multiple of 8 along each axis", "28 × 28"),
        (["--num-embeddings", "8", "4", "2"], "--num-embeddings", "one for each of 2 levels", "3: (8, 4, 2)"),
        (["--likelihood", "gaussian"], "--likelihood", "must be given only with --model vae", "hierarchical"),
        (["--model", "vqvae", "--level-loss", "1"], "--level-loss", "with --model hierarchical", "vqvae"),
        (["--model", "vqvae", "--num-embeddings", "8", "4"], "--num-embeddings", "an integer", "[8, 4]"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(options, argument, needed, got, images, tmp_path, capsys):
    args = ["train", "--model", "hierarchical", "--data", images, "--out", tmp_path / "r", "--quiet"]
    if "vqvae" in options:
        options = [*options, "--network", "conv"]
    sentence = refused_command(capsys, *args, *options)
    assert argument in sentence and needed in sentence and got in sentence, sentence


def test_what_needs_one_level_of_codes_says_so(rng):
    from vqnp.inspection import code_anatomy, position_influence

    model = HierarchicalVQVAE.conv((4, 4), 3, 2, 0, (2, 1), 2, 4, codebook_init="normal")
    x = rng.random((3, 4, 4), np.float32)
    with refused("model", "must be a VQVAE", "HierarchicalVQVAE"):
        code_anatomy(model, x)
    with refused("model", "must be a VQVAE", "HierarchicalVQVAE"):
        position_influence(model, x, 0)


# The prior.

PRIOR = ["--epochs", "1", "--width", "4", "--quiet"]


@pytest.fixture(scope="module")
def with_prior(run):
    assert main(["prior", str(run), *PRIOR]) == 0
    return run


@pytest.mark.slow
def test_a_prior_of_both_levels_and_its_samples(with_prior, images, tmp_path, capsys):
    prior = load(with_prior / "prior.npz")
    assert [type(level).__name__ for level in prior.levels] == ["PixelCNN", "PixelCNN"]
    assert prior.levels[1].above == ((8, (7, 7)),)
    rows = list(csv.DictReader((with_prior / "prior.csv").read_text().splitlines()))
    assert {"bits_1", "bits_2", "bits_per_image", "test_bits_2"} <= rows[0].keys()
    assert (with_prior / "samples.png").stat().st_size > 1000
    few, many = str(tmp_path / "few.npy"), str(tmp_path / "many.npy")
    for path, n in ((few, "2"), (many, "5")):
        assert main(["sample", str(with_prior), "--n", n, "--out", path, "--quiet"]) == 0
    np.testing.assert_array_equal(np.load(many)[:2], np.load(few))
    assert np.load(many).shape == (5, 28, 28)
    capsys.readouterr()
    assert main(["prior", str(with_prior), *PRIOR, "--resume"]) == 0
    text = capsys.readouterr().out
    for line in ("  level 1", "  level 2", "245 of 8 and 4 an image", "   539.00"):
        assert line in text, line
    sentence = refused_command(capsys, "prior", with_prior, "--resume", "--width", "5", "--quiet")
    assert "--width must be what the prior began with, 4" in sentence


@pytest.mark.slow
def test_what_a_prior_of_several_levels_cannot_be(with_prior, capsys):
    sentence = refused_command(capsys, "prior", with_prior, "--model", "markov", "--force")
    assert "--model must be transformer or pixelcnn for a run with several levels of codes" in sentence


@pytest.mark.slow
def test_images_to_a_compressed_file_and_back(with_prior, images, tmp_path, capsys):
    pytest.importorskip("constriction", reason="not installed: constriction (the extra compress)")
    file, back = str(tmp_path / "a.vqnp"), str(tmp_path / "b.npy")
    capsys.readouterr()
    args = ["--data", str(images), "--out", file, "--quiet"]
    assert main(["compress", str(with_prior), *args]) == 0
    out = capsys.readouterr().out
    bits = 49 * np.log2(8) + 14 * 14 * np.log2(4)
    assert f"{'codes without a prior':<30}{bits:14.2f}" in out and "PNG, one sheet" in out
    assert main(["decompress", str(with_prior), file, "--out", back, "--quiet"]) == 0
    np.testing.assert_array_equal(np.load(back), load(with_prior).reconstruct(np.load(images)))


@pytest.mark.slow
def test_transformers_with_classes_and_the_quality_of_samples(run, tmp_path, capsys):
    """On digits, for the classifier; a prior of every kind takes --samples."""
    digits = str(tmp_path / "digits.npz")
    train, test = (load_dataset("digits", part) for part in ("train", "test"))
    np.savez(digits, x_train=train.images[:64], y_train=train.labels[:64],
             x_test=test.images[:60], y_test=test.labels[:60])  # fmt: skip
    folder = str(tmp_path / "r")
    assert main(["train", "--model", "hierarchical", "--data", digits, "--out", folder, *SMALL]) == 0
    options = ["--model", "transformer", "--heads", "2", "--layers", "1", "--condition", "class", "--json"]
    capsys.readouterr()
    assert main(["prior", folder, *options, *PRIOR]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["num_embeddings"] == [8, 4] and figures["bits_per_level"].keys() == {"level 1", "level 2"}
    total = sum(bits["test"] for bits in figures["bits_per_level"].values())
    assert total == pytest.approx(figures["bits_per_image"]["transformer, given the class"]["test"])
    assert main(["evaluate", folder, "--samples", "20", "--guidance", "1.5", "--quiet"]) == 0
    text = capsys.readouterr().out
    for name in ("prior: transformer", "Markov chain", "codes at random", "bound on -log2 p(x)"):
        assert name in text
    label = ["--label", "3", "--n", "2", "--out", str(tmp_path / "s.npy"), "--quiet"]
    assert main(["sample", folder, *label]) == 0
