"""Text on the command line: train, prior, sample and evaluate on captioned digits, with tiny settings."""

import json

import numpy as np
import pytest
from helpers import refused, refused_command

from vqnp import load
from vqnp.cli import build_parser, configuration, main, train
from vqnp.data import captioned_digits
from vqnp.priors import TextTransformer, best_of

TINY = "--channels 4 --residual-channels 2 --num-embeddings 16 --epochs 1 --downsampling 3 --quiet".split()
PRIOR = "--condition text --width 8 --layers 1 --heads 2 --epochs 1 --quiet".split()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on 60 images with captions, whose prior has texts, and one without a prior."""
    folder = tmp_path_factory.mktemp("text")
    images, captions = captioned_digits.generate("train", 60)
    np.savez(folder / "few.npz", images=images, captions=np.array(captions))
    np.savez(folder / "bare.npz", images=images)
    for name in ("few", "bare"):
        args = ["--network", "conv", "--data", str(folder / f"{name}.npz"), "--out", str(folder / name)]
        assert main(["train", *args, *TINY]) == 0
    assert main(["prior", str(folder / "few"), *PRIOR]) == 0
    return folder


def run(*args):
    parsed = build_parser().parse_args(list(map(str, args)))
    return parsed.run(parsed)


def test_the_same_text_and_seed_give_the_same_image(folder, capsys):
    text = "a green four left of a red one"
    args = ["sample", folder / "few", "--text", text, "--n", 3, "--guidance", 2, "--rerank", 2, "--quiet"]
    for name in ("one.png", "two.png", "x.npy"):
        run(*args, "--out", folder / name)
    assert f"3 images of {text!r}" in capsys.readouterr().out
    assert (folder / "one.png").read_bytes() == (folder / "two.png").read_bytes()
    model, prior = load(folder / "few"), load(folder / "few" / "prior.npz")
    assert isinstance(prior, TextTransformer) and (prior.text_weight, prior.image_weight) == (1 / 8, 7 / 8)
    codes = best_of(prior, 3, 0, text, 2, guidance=2.0)
    np.testing.assert_array_equal(np.load(folder / "x.npy"), model.decode(codes))
    run("sample", folder / "few", "--n", 2, "--quiet", "--out", folder / "any.png")  # without a text


def test_the_prior_is_printed_continued_and_replaced(folder, capsys):
    capsys.readouterr()
    run("prior", folder / "few", "--resume", "--json")
    figures = json.loads(capsys.readouterr().out)
    assert figures["condition"] == "text" and "transformer, given the text" in figures["bits_per_image"]
    with refused("--text-weight", "must be what the prior began with, 0.125", "0.5", where="--resume"):
        run("prior", folder / "few", "--resume", "--text-weight", 0.5)
    with refused("--condition", "must be what the prior began with, text", "class", where="--resume"):
        run("prior", folder / "few", "--resume", "--condition", "class")


def test_what_is_refused(folder, capsys):
    few, bare = folder / "few", folder / "bare"
    for text, needed in (("a greem four", "nearest: green"), ("", "at least one word"),
                         ("a red one " * 9, "at most 8 words")):  # fmt: skip
        args = "sample", few, "--text", text, "--out", folder / "no.png", "--quiet"
        sentence = refused_command(capsys, *args)
        assert sentence.startswith("--text must have") and needed in sentence
    assert not (folder / "no.png").exists()
    with refused("--condition", "must be none or class for data without captions", "text, for "):
        run("prior", bare, *PRIOR)
    with refused("--condition", "must be none or class", "text"):
        run("prior", few, "--condition", "text", "--force", "--model", "pixelcnn", "--quiet")
    with refused("--text-weight", "must be given only with --condition text", "--condition none"):
        run("prior", bare, "--text-weight", 1)
    run("prior", bare, "--model", "markov", "--force", "--quiet")
    with refused("--text", "must be given only for a prior with texts", "markov without"):
        run("sample", bare, "--text", "a red one", "--out", folder / "no.png")
    with refused("--rerank", "must be given only with --label or --text", "2"):
        run("sample", few, "--rerank", 2, "--out", folder / "no.png")
    with refused("--label", "must be given only for a prior with classes"):
        run("sample", few, "--label", 2, "--out", folder / "no.png")


def test_evaluate_counts_what_is_right(folder, capsys):
    capsys.readouterr()
    args = ["evaluate", folder / "few", "--data", "captioned-digits", "--samples", 10, "--quiet"]
    run(*args, "--guidance", 2, "--rerank", 2)
    assert "held-out combinations: reconstructions" in capsys.readouterr().out
    run(*args, "--json")
    samples = json.loads(capsys.readouterr().out)["samples"]
    assert samples["held-out"]["samples"]["objects"] == samples["n"] == 10
    assert samples["test"]["real images"]["right"] > 0.9
    run("prior", folder / "bare", "--model", "markov", "--force", "--quiet")
    with refused("", "must be a run whose prior has texts", where="RUN"):
        run("evaluate", folder / "bare", "--data", "captioned-digits", "--samples", 10, "--quiet")


def test_defaults_that_depend_on_the_data():
    """Convolutions, more codes, fewer epochs; given options come first, and other models have their own."""

    def configured(*args):
        parsed = build_parser().parse_args(["train", "--data", "captioned-digits", *args])
        return train._configuration(parsed)

    own = train.DATA_DEFAULTS["captioned-digits"]
    plain = configured()
    assert plain["network"] == own["network"] == "conv" and plain["schedule"]["epochs"] == own["epochs"]
    assert plain["model"]["num_embeddings"] == own["num_embeddings"]
    given = configured("--epochs", "3", "--num-embeddings", "7")
    assert given["schedule"]["epochs"] == 3 and given["model"]["num_embeddings"] == 7
    assert configured("--network", "mlp")["schedule"]["epochs"] == 60
    levels = configured("--model", "hierarchical")
    usual = configuration.arguments("hierarchical", "conv")
    assert levels["model"]["num_embeddings"] == usual["num_embeddings"]
