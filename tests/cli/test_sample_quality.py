"""vqnp evaluate --samples: a row for each source, the same figures as text and as JSON."""

import json

import numpy as np
import pytest
from helpers import refused

from vqnp import load, load_dataset
from vqnp.cli import build_parser, main
from vqnp.evaluation import sample_quality
from vqnp.priors import generate

SOURCES = [
    "prior: transformer", "reconstructions of these", "real test images", "Markov chain",
    "frequencies by position", "codes at random",
]  # fmt: skip
NETWORK = "--width 8 --layers 1 --heads 2 --epochs 1 --quiet".split()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs on 300 labelled digits, with a prior of classes, a chain, or none; data of other kinds."""
    folder, digits = tmp_path_factory.mktemp("samples"), load_dataset("digits")
    np.savez(folder / "few.npz", images=digits.images[:300], labels=digits.labels[:300])
    np.savez(folder / "turned.npz", images=digits.images[:300, ::-1], labels=digits.labels[:300])
    np.savez(folder / "unlabelled.npz", images=digits.images[:300])
    for name in ("classes", "chain", "bare"):
        args = ["--num-latents", "4", "--embedding-dim", "2", "--num-embeddings", "8", "--hidden", "8"]
        args += ["--epochs", "1", "--data", str(folder / "few.npz"), "--out", str(folder / name), "--quiet"]
        assert main(["train", *args]) == 0
    assert main(["prior", str(folder / "classes"), "--condition", "class", *NETWORK]) == 0
    assert main(["prior", str(folder / "chain"), "--model", "markov", "--quiet"]) == 0
    return folder


def run(*args):
    """The command, its error not yet a sentence."""
    parsed = build_parser().parse_args(list(map(str, args)))
    return parsed.run(parsed)


def test_the_table_and_the_json_have_one_row_for_each_source(folder, capsys):
    args = ["evaluate", folder / "classes", "--samples", 12, "--quiet", "--seed", 3]
    args += ["--top-p", 0.9, "--guidance", 2]
    capsys.readouterr()
    run(*args)
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("12 images of each source"))
    assert [line[:28].strip() for line in lines[at + 2 : at + 8]] == SOURCES
    assert lines[at + 8].startswith("bound on -log2 p(x)") and "bits a pixel: prior" in lines[at + 8]
    run(*args, "--json")
    found = json.loads(capsys.readouterr().out)
    samples = found["samples"]
    assert list(samples["rows"]) == SOURCES and samples["n"] == 12 and "mse" in found
    assert samples["bound"]["bits_per_pixel"] > 0 and samples["rows"]["codes at random"]["accuracy"] is None
    model, prior = load(folder / "classes"), load(folder / "classes" / "prior.npz")
    digits = load_dataset("digits")
    train, x, y = digits.images[:270], digits.images[270:282], digits.images[285:297]
    labels = np.arange(12) % 10
    drawn = generate(model, prior, 12, 3, labels, top_p=0.9, guidance=2.0)
    for name, images, of in (
        ("prior: transformer", drawn, labels), ("real test images", x, digits.labels[270:282]),
        ("reconstructions of these", model.reconstruct(x), digits.labels[270:282]),
    ):  # fmt: skip
        assert samples["rows"][name] == sample_quality(images, y, train, of).as_dict()


def test_a_chain_has_one_row_and_no_classes(folder, capsys):
    capsys.readouterr()
    run("evaluate", folder / "chain", "--samples", 10, "--quiet", "--json")
    rows = json.loads(capsys.readouterr().out)["samples"]["rows"]
    assert list(rows) == ["prior: markov", *SOURCES[1:3], *SOURCES[4:]]
    with refused("--guidance", "only for a prior with classes", "markov without"):
        run("evaluate", folder / "chain", "--samples", 10, "--quiet", "--guidance", 2)


@pytest.mark.parametrize(
    ("args", "where", "argument", "needed", "got"),
    [
        ("bare --samples 10", "RUN", "", "must be a run with a prior", "no prior.npz"),
        ("classes --samples 16", "", "--samples", "an integer in [10, 15]", "16"),
        ("classes --samples 9", "", "--samples", "at least 10", "9"),
        ("classes --samples 10 --split train", "", "--split", "must be test with --samples", "train"),
        ("classes --top-p 0.9", "", "--top-p", "only with --samples", "0.9"),
        ("classes --samples 10 --temperature 0", "", "--temperature", "(0, inf)", "0.0"),
        ("classes --samples 10 --top-k 0", "", "--top-k", "at least 1", "0"),
        ("classes --samples 10 --guidance 1e7", "", "--guidance", "[0, 1e+06]", "10000000.0"),
        ("classes --samples 10 --data nothing", "", "--data", "existing file", "nothing"),
        ("classes --samples 10 --data turned.npz", "turned.npz", "the images", "digits that", "recognizes"),
        ("classes --samples 10 --data unlabelled.npz", "unlabelled.npz", "the images", "labelled", "without"),
    ],
)
def test_mistakes(args, where, argument, needed, got, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with refused(argument, needed, got, where=where):
        run("evaluate", *args.split(), "--quiet")
