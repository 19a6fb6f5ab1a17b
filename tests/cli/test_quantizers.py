"""vqnp train --quantizer, and what follows it: every quantizer by every command that takes a run."""

import inspect
import json

import numpy as np
import pytest
from helpers import refused_command

from vqnp import load, load_dataset, nn
from vqnp.cli import main, quantizers
from vqnp.cli.train_options import FLAG_OF, LATENT_OPTIONS

SMALL = "--num-latents 4 --hidden 12 --epochs 2 --batch-size 16 --quiet".split()
OWN = {
    "cosine": "--estimator rotation --num-embeddings 12".split(),
    "finite_scalar": "--levels 4 3".split(),
    "gumbel": "--draw hard --kl-weight 0.01 --temperature-steps 5 --num-embeddings 12".split(),
    "product": "--groups 4 --codebook gradient --num-embeddings 6".split(),
    "simvq": "--commitment-cost 0.5 --num-embeddings 12".split(),
    "lookup_free": "--bits 3 --entropy-weight 0.2 --diversity-weight 0.9 --entropy-temperature 0.5 "
    "--batch-entropy bound --spherical".split(),
    "residual": "--num-quantizers 2 --quantizer-dropout 0.5 --shared-codebook".split(),
}
"""Options of each quantizer, none of them at its default."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "x.npz", images=load_dataset("digits").images[:80, ::4, ::4])
    return folder / "x.npz"


def vqnp(*args):
    assert main([str(a) for a in args]) in (0, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_every_command_takes_its_run(name, data, tmp_path, capsys):
    run = tmp_path / "run"
    train = ["train", "--data", data, "--out", run, "--quantizer", name, *OWN[name], *SMALL]
    vqnp(*train)
    config = json.loads((run / "config.json").read_text())
    assert config["quantizer"] == name
    own = quantizers.own_arguments(name, {})
    assert all(config["model"][n] is not None for n in own)
    model, images = load(run), load_dataset("digits").images[:80, ::4, ::4]
    assert type(model.quantizer).__name__ == quantizers.CLASSES[name]
    vqnp("evaluate", run, "--json")
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["bits_per_image"] == pytest.approx(model.num_codes * np.log2(model.num_embeddings))
    vqnp("encode", run, "--out", tmp_path / "k.npz")
    vqnp("decode", run, tmp_path / "k.npz", "--out", tmp_path / "y.npy")
    assert np.load(tmp_path / "y.npy").shape[1:] == images.shape[1:]
    vqnp("inspect", run)
    vqnp("export", run, "--out", tmp_path / "w.npz")
    vqnp("prior", run, "--model", "markov", "--quiet")
    vqnp("sample", run, "--n", 3, "--quiet", "--out", tmp_path / "s.npy")
    assert np.load(tmp_path / "s.npy").shape == (3, *images.shape[1:])
    before = (run / "checkpoint.npz").read_bytes()
    vqnp(*train, "--resume")
    assert (run / "checkpoint.npz").read_bytes() == before
    capsys.readouterr()
    assert "began with" in refused_command(capsys, *train, "--quantizer", "vector", "--resume")
    foreign = any(FLAG_OF[option] in OWN[name] for option in own.keys() & quantizers.OPTIONS.keys())
    for wrong in ("--quantizer vector", "") if foreign else ():
        args = [*train[:5], *wrong.split(), *OWN[name]]
        assert "--quantizer " in refused_command(capsys, *args)


@pytest.mark.slow
def test_the_vector_quantizer_is_the_default_and_config_json_does_not_name_it(data, tmp_path):
    configs = []
    for i, words in enumerate(([], ["--quantizer", "vector"])):
        vqnp("train", "--data", data, "--out", tmp_path / str(i), *words, *SMALL)
        configs.append((tmp_path / str(i) / "config.json").read_bytes())
    assert configs[0] == configs[1] and b"quantizer" not in configs[0]


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_options_defaults_and_classes_agree(network):
    from vqnp.cli.configuration import arguments

    assert quantizers.QUANTIZERS.keys() == {"vector", *quantizers.CLASSES} == {"vector", *OWN}
    known = arguments("vqvae", network)
    for name in quantizers.CLASSES:
        own = quantizers.own_arguments(name, known)
        assert own.keys() <= FLAG_OF.keys()
        for option in own.keys() & quantizers.OPTIONS.keys():
            value = own[option]
            if isinstance(value, bool):  # a flag
                assert not value
                continue
            shown = " ".join(map(str, value)) if isinstance(value, list) else value
            assert quantizers.OPTIONS[option][2].endswith(f"(default: {shown})"), option
    every = set().union(*(quantizers.own_arguments(name, {}) for name in quantizers.CLASSES))
    assert quantizers.OPTIONS.keys() == every - {*quantizers.VECTOR, *LATENT_OPTIONS}
    for name, cls in quantizers.BY_GRADIENT.items():  # both classes have the same arguments
        parameters = [inspect.signature(getattr(nn, c)).parameters for c in (cls, quantizers.CLASSES[name])]
        assert set(parameters[0]) == set(parameters[1])
        made = quantizers.made(name, arguments("vqvae", network, name) | {"codebook": "gradient"})
        assert type(made["quantizer"]).__name__ == cls and "codebook" not in made


@pytest.mark.slow
def test_wrong_options(capsys, data):
    train = ["train", "--data", data]
    told = {
        "--levels 4 3": "--levels must be given only with --quantizer finite_scalar; got --quantizer vector",
        "--quantizer finite_scalar --decay 0.5": "--decay must be given only with --quantizer vector",
        "--quantizer finite_scalar --levels 4 1": "--levels must be an integer in [2, 1000]; got 1",
        "--model vae --quantizer finite_scalar": "--quantizer must be given only with --model vqvae",
        "--quantizer lookup_free --num-embeddings 8": "--num-embeddings must be given only with --quantizer ",
        "--quantizer lookup_free --bits 13": "--batch-entropy must be 'bound' for more than 12 bits",
        "--quantizer residual --num-quantizers 1": "--num-quantizers must be an integer of at least 2; got 1",
        "--spherical": "--spherical must be given only with --quantizer lookup_free; got --quantizer vector",
        "--quantizer residual --codebook gradient --epsilon 1": "--epsilon must be given only with --codeb",
        "--model vae --levels 3": "--levels must be given only with --model vqvae; got --model vae",
    }
    for words, sentence in told.items():
        assert refused_command(capsys, *train, *words.split()).startswith(sentence), words


def test_binary_spherical_quantization_has_no_commitment_loss_unless_it_is_given():
    assert nn.LookupFreeQuantizer(3).commitment_cost == 0.25
    assert nn.LookupFreeQuantizer(3, spherical=True).commitment_cost == 0
    assert nn.LookupFreeQuantizer(3, 0.5, spherical=True).commitment_cost == 0.5
    assert quantizers.implied({"spherical": True}) == {"commitment_cost": 0} and not quantizers.implied({})
