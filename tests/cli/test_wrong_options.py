"""Wrong options and files to every command: status 2, one sentence in the user's words, nothing written.

pytest tests/cli/test_wrong_options.py --mutants 10000 tries 300 calls; by default 30.
"""

import re

import numpy as np
import pytest
from limits import limits

from vqnp import VQVAE, Autoencoder, fit, load_dataset, save
from vqnp.cli import COMMANDS, main, prior_options, train_options
from vqnp.cli.prior_files import write_chain
from vqnp.cli.runs import Run
from vqnp.priors import Markov

IMAGES = load_dataset("digits").images[:40]
PYTHON = re.compile(
    r"\b(VQVAE|VAE|Autoencoder|fit|Transformer|EMAVectorQuantizer|VectorQuantizer|generate|Linear|Conv|"
    r"Model|Sequential|Schedule|Embedding|[a-z]+(_[a-z]+)+)\b(?![/.=])"
)
"""Names of Python's that a sentence must not have; of files and of --allow's dimensions it may."""
HUGE = {*train_options.CONV_OPTIONS, "hidden", "num_embeddings", "embedding_dim", "num_latents", "latent_dim"}
HUGE = HUGE - {"ndim"} | {"width", "layers"}
NEVER_BELOW_ZERO = {
    *train_options.MODEL_OPTIONS, *train_options.CONV_OPTIONS, *train_options.LATENT_OPTIONS,
    *train_options.SCHEDULE_OPTIONS, *prior_options.NETWORK, *prior_options.SCHEDULE, "num_latents",
    "hidden", "n", "temperature", "top_k", "top_p", "label", "threads", "rounds", "seed",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    model = VQVAE.mlp(num_latents=3, embedding_dim=4, num_embeddings=8, hidden=(10,))
    run = Run(folder / "run")
    (folder / "run").mkdir()
    fit(model, IMAGES, epochs=1, progress=False, checkpoint=run.checkpoint)
    write_chain(run, Markov(model.encode(IMAGES), 8), model)
    save(folder / "ae.npz", Autoencoder.mlp(latent_dim=3, hidden=(8,)))
    np.save(folder / "x.npy", IMAGES)
    np.save(folder / "other.npy", np.zeros((9, 3, 40, 40), np.uint8))
    np.save(folder / "k.npy", np.full((4, 3), 99))
    (folder / "text").write_text("nothing of ours")
    return folder


def option_of(name):
    return name.lstrip("-").replace("-", "_")


def a_wrong_value(names, settings, rng, place):
    """Words for one option that are wrong whatever the others are; None if none is known."""
    name = option_of(names[-1])
    flag = [names[-1]] if names[-1].startswith("-") else []
    kind, choices = settings.get("type"), settings.get("choices")
    if settings.get("action") == "store_true":
        return [f"{names[-1]}=1"]
    values = []
    if choices:
        values = ["nope", ""]
    elif kind in (int, float):
        values = ["x", "", "1,5"] + ["-1"] * 2 * (name in NEVER_BELOW_ZERO) + ["0.5"] * (kind is int)
        values += [str(10 ** int(rng.integers(9, 30)))] * 2 * (kind is int and name in HUGE)
        values += ["nan", "-inf"] * (kind is float)
    elif name in ("data", "model", "codes", "adapter", "vectors", "file"):
        values = [place / "nothing", place / "text", place, "/dev/null"]
        if name == "data":
            values.append(place / "other.npy")
    elif name == "out":
        values = [place / "text" / "x.npz", "/dev/null/x"]
        values += [place / "no" / "folder" / "x.xyz"] * (settings["metavar"] != "DIR")  # which is made
    if not values:
        return None
    value = values[rng.integers(len(values))]
    return [f"{flag[0]}={value}"] if flag and str(value).startswith("-") else [*flag, str(value)]


def a_call(rng, place):
    """A command with its arguments, one of which, at least, is wrong."""
    command = COMMANDS[rng.integers(len(COMMANDS))]
    name = command.__name__.rpartition(".")[2]
    words = [name]
    options = command.OPTIONS
    if name == "crosscheck":
        way, _, _, options = command.WAYS[rng.integers(len(command.WAYS))]
        words.append(str(way))
    right = {"model": place / "run", "codes": place / "k.npy", "adapter": "no.py:X"}
    right |= {"vectors": place, "theirs": place}
    positional = [o for o in options if not o[0][0].startswith("-")]
    wrong = [a_wrong_value(names, settings, rng, place) for names, settings, _ in options]
    wrong = [words for words in wrong if words and words[0].startswith("-")]
    kind = rng.integers(5) if positional else rng.integers(2, 5)
    if kind == 0:  # a positional argument is missing
        return [*words, *(str(right.get(o[0][0], place / "k.npy")) for o in positional[1:])]
    at = int(rng.integers(len(positional))) if kind == 1 else -1
    for i, (names, settings, _) in enumerate(positional):
        bad = a_wrong_value(names, settings, rng, place) or ["/dev/null"]
        words += bad if i == at else [str(right.get(names[0], place / "k.npy"))]
    if kind == 2:
        words += [["--no-such"], ["--epoch", "3"], ["more", "words", "than", "there", "are"]][rng.integers(3)]
    elif kind > 2:
        words += wrong[rng.integers(len(wrong))] if wrong else ["--no-such"]
    return words


def test_wrong_calls(place, request, capsys, monkeypatch):
    monkeypatch.chdir(place)
    count = max(30, request.config.getoption("mutants") * 3 // 100)
    rng, bad = np.random.default_rng(count), []
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    for _ in range(count):
        words = a_call(rng, place)
        try:
            with limits():
                status = main(words)
        except SystemExit as stop:
            status = stop.code
        except BaseException as error:
            status = repr(error)
        captured = capsys.readouterr()
        sentences = captured.err.splitlines()
        text = re.sub(r"\(choose from.*|\(see vqnp.*", "", captured.err).replace(str(place), "")
        fine = status == 2 and captured.out == "" and len(sentences) == 1 and len(captured.err) < 1500
        if not fine or PYTHON.search(text):
            bad.append(f"{' '.join(words)} -> {status}: {captured.err[:600]}")
    after = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    print(f"{count} calls, {len(bad)} fell short")
    assert not bad, "\n".join([f"{len(bad)} of {count}", *bad[:40]])
    assert after == before, sorted(map(str, set(after.items()) ^ set(before.items())))
