"""vqnp compress and decompress: images to a small file and back; what is wrong is one sentence."""

import re

import numpy as np
import pytest
from helpers import refused, refused_command

from vqnp import load, load_dataset
from vqnp.cli import main
from vqnp.export.compressed import HEADER
from vqnp.priors import Markov, PixelCNN

pytest.importorskip("constriction", reason="not installed: constriction (the extra compress)")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on 200 images with a chain, and one without a prior; images.npy: 30 others.

    plane: a run whose codes are in a plane, with a PixelCNN that has classes.
    """
    folder = tmp_path_factory.mktemp("compress")
    digits = load_dataset("digits", "test").images
    np.save(folder / "few.npy", digits[:200])
    np.save(folder / "images.npy", digits[300:330])
    for name in ("run", "bare"):
        args = ["--num-latents", "4", "--embedding-dim", "2", "--num-embeddings", "8", "--hidden", "8"]
        args += ["--epochs", "1", "--data", str(folder / "few.npy"), "--out", str(folder / name), "--quiet"]
        assert main(["train", *args]) == 0
    assert main(["prior", str(folder / "run"), "--model", "markov", "--quiet"]) == 0
    labelled = load_dataset("digits")
    np.savez(folder / "few.npz", images=labelled.images[:60], labels=labelled.labels[:60])
    args = ["--network", "conv", "--channels", "4", "--num-embeddings", "8"]
    args += ["--epochs", "1", "--data", str(folder / "few.npz"), "--out", str(folder / "plane"), "--quiet"]
    assert main(["train", *args]) == 0
    args = ["--model", "pixelcnn", "--condition", "class", "--width", "4", "--epochs", "1", "--quiet"]
    assert main(["prior", str(folder / "plane"), *args]) == 0
    return folder


def table(out):
    """The printed rows: {name: the words behind it}."""
    return {line[:30].strip(): line[30:].split() for line in out.splitlines()}


def test_images_to_a_file_and_back(folder, tmp_path, capsys):
    file, back, images = tmp_path / "a.vqnp", tmp_path / "b.npy", folder / "images.npy"
    capsys.readouterr()
    assert main(["compress", str(folder / "run"), "--data", str(images), "--out", str(file), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert main(["decompress", str(folder / "run"), str(file), "--out", str(back), "--quiet"]) == 0
    model, x = load(folder / "run"), np.load(images)
    np.testing.assert_array_equal(np.load(back), model.reconstruct(x))
    rows = table(out)
    assert "class" not in out
    assert float(rows["this file"][0]) == pytest.approx(8 * file.stat().st_size / 30, abs=0.005)
    codes = model.encode(np.load(folder / "few.npy")[:180])
    nll = Markov(codes, 8).code_length(model.encode(x))
    assert float(rows["-log2 p under the prior"][0]) == pytest.approx(nll, abs=0.005)
    error = np.square(model.reconstruct(x) - x / 255).mean()
    assert float(rows["this file"][1]) == pytest.approx(error, abs=6e-6)
    assert rows["PNG, one sheet"][1] == "0.00000" and "JPEG, quality 1, a file each" in rows
    assert re.search(rf"30 images of .*images.npy \(test\) in .*a.vqnp: {file.stat().st_size} bytes$", out)


def test_a_prior_with_classes_is_used_without_and_this_is_printed(folder, tmp_path, capsys):
    """A PixelCNN: its file comes back, of as many bits as it says without the class, not given one."""
    file, back, plane = tmp_path / "a.vqnp", tmp_path / "b.npy", folder / "plane"
    capsys.readouterr()
    images = folder / "images.npy"
    assert main(["compress", str(plane), "--data", str(images), "--out", str(file), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "The prior has 10 classes, which are not used: labels are not in the file.\n" in out
    assert main(["decompress", str(plane), str(file), "--out", str(back), "--quiet"]) == 0
    model, prior, x = load(plane), load(plane / "prior.npz"), np.load(images)
    np.testing.assert_array_equal(np.load(back), model.reconstruct(x))
    without, given = (prior.nll(model.encode(x), c).sum() / len(x) / np.log(2) for c in (None, 3))
    assert type(prior) is PixelCNN and abs(without - given) > 0.02
    assert float(table(out)["-log2 p without the class"][0]) == pytest.approx(without, abs=0.006)
    assert float(table(out)["this file"][0]) == pytest.approx(8 * file.stat().st_size / 30, abs=0.005)
    header = 8 * (HEADER.size + 4) / 30
    assert without - 0.1 < 8 * file.stat().st_size / 30 - header < 1.005 * without + 64 / 30


@pytest.mark.parametrize(
    ("args", "where", "argument", "needed", "got"),
    [
        ("compress bare", "RUN", "", "must be a run with a prior", "no prior.npz"),
        ("compress run --out a.zip", "", "--out", "must end in .vqnp", "a.zip"),
        ("decompress run few.npy --out b.npy", "compressed file few.npy", "", "vqnp compress", "another"),
        ("decompress bare few.npy --out b.npy", "compressed file few.npy", "", "vqnp compress", "another"),
        ("decompress bare none --out b.npy", "compressed file none", "", "an existing file", "no such"),
        ("decompress nowhere few.npz --out b.npy", "compressed file few.npz", "", "compress", "another"),
        ("decompress run none --out b.npy", "compressed file none", "", "an existing file", "no such"),
        ("decompress run x --out few.npy", "", "--out", "must be a new file", "few.npy, which exists"),
    ],
)
def test_mistakes(args, where, argument, needed, got, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with refused(argument, needed, got, where=where):
        run(*args.split())


def run(*args):
    """The command, its error not yet a sentence."""
    from vqnp.cli import build_parser

    parsed = build_parser().parse_args(list(map(str, args)))
    return parsed.run(parsed)


def test_a_truncated_file_is_one_sentence(folder, tmp_path, capsys):
    file = tmp_path / "a.vqnp"
    assert main(["compress", str(folder / "run"), "--out", str(file), "--quiet"]) == 0
    file.write_bytes(file.read_bytes()[:-3])
    capsys.readouterr()
    sentence = refused_command(capsys, "decompress", folder / "bare", file, "--out", tmp_path / "b.npy")
    assert "must be whole" in str(sentence) and not (tmp_path / "b.npy").exists()
