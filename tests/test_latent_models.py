"""Autoencoder and VAE from training to the command line: the same loop, the same promises."""

import csv
import json

import numpy as np
import pytest
from helpers import refused, refused_command, same

from vqnp import VAE, Autoencoder, evaluate, export, fit, load, load_dataset, resume
from vqnp._check import NonFiniteError
from vqnp.cli import build_parser, main
from vqnp.nn import Flatten, Linear, Reshape, Sequential, describe
from vqnp.ops import bce_logits_forward, gaussian_kl_forward
from vqnp.optim import Adam
from vqnp.training import Schedule, Trainer

IMAGES = load_dataset("digits").images[:70]
TEST = load_dataset("digits", "test").images[:20]
SMALL = {"latent_dim": 5, "hidden": (10,), "rng": 2}
MAKE = {
    "autoencoder": lambda **o: Autoencoder.mlp(**{**SMALL, **o}),
    "vae": lambda **o: VAE.mlp(**{**SMALL, "kl_warmup": 7, **o}),
    "gaussian vae": lambda **o: VAE.mlp(**{**SMALL, "likelihood": "gaussian", "noise_std": 0.3, **o}),
}
SHORT = {"epochs": 3, "batch_size": 16, "seed": 5, "progress": False}
each_model = pytest.mark.parametrize("name", MAKE)


@each_model
def test_the_seed_decides_everything(name):
    (a, ha), (b, hb), (c, _) = (
        (model, fit(model, IMAGES, TEST, **{**SHORT, "seed": seed}))
        for model, seed in ((MAKE[name](), 5), (MAKE[name](), 5), (MAKE[name](), 6))
    )
    assert same(a, b) and ha == hb and not same(a, c)


@pytest.mark.slow
@each_model
@pytest.mark.parametrize("stop_at", range(0, 15, 2))
def test_stopped_after_any_step_and_resumed_it_ends_in_the_same_bits(tmp_path, name, stop_at):
    """The noise is from the trainer's generator, and the weight of its step."""
    whole = MAKE[name]()
    history = fit(whole, IMAGES, TEST, **SHORT)
    trainer = Trainer(MAKE[name](), IMAGES, Schedule(epochs=3, batch_size=16, seed=5))
    trainer.initialize()
    for _ in range(stop_at):
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch(TEST)
    trainer.save(tmp_path / "c.npz")
    model, resumed = resume(tmp_path / "c.npz", IMAGES, TEST, progress=False)
    assert type(model) is type(whole) and same(whole, model) and resumed == history
    assert same(whole, load(tmp_path / "c.npz"))


def test_training_a_vae_is_the_plain_loop():
    """Minibatches, noise, gradients and Adam, written out."""
    model, reference = (MAKE["vae"](dtype="float64") for _ in range(2))
    history = fit(model, IMAGES, **SHORT, lr_schedule="constant")
    x = IMAGES / 255.0
    rng, optimizer, step = np.random.default_rng(5), Adam(reference.named_parameters(), 1e-3), 0
    order = rng.permutation(70)
    for epoch in range(3):
        sums = np.zeros(3)
        for start in range(0, 70, 16):
            batch = x[order[start : start + 16]]
            eps = rng.standard_normal((len(batch), 5))
            losses, cache = reference.loss((batch,), eps, step)
            assert reference.weight(step) == min(1, step / 7)
            reference.zero_grad()
            reference.backward(cache)
            optimizer.step()
            sums += np.array([losses["loss"], losses["reconstruction_loss"], losses["kl"]]) * len(batch)
            step += 1
        order = rng.permutation(70)
        means = [history[epoch][n] for n in ("loss", "reconstruction_loss", "kl")]
        np.testing.assert_allclose(means, sums / 70, rtol=1e-12)
        assert history[epoch]["kl_weight"] == min(1, (step - 1) / 7)
    assert same(model, reference)


@pytest.mark.slow
@each_model
def test_training_learns(name):
    model = MAKE[name](hidden=(64,))
    history = fit(model, IMAGES, TEST, epochs=12, batch_size=8, seed=0, progress=False)
    assert history[-1]["test_mse"] < 0.9 * history[0]["test_mse"]
    assert history[-1]["loss"] < history[1]["loss"]


def test_the_evaluation_is_its_definition():
    model = MAKE["vae"](dtype="float64")
    fit(model, IMAGES, **SHORT)
    result = evaluate(model, TEST)
    x = TEST / 255.0
    mu, logvar = model.posterior(TEST)
    z = mu + np.exp(logvar / 2) * np.random.default_rng(0).standard_normal(mu.shape)
    a = model.decoder.forward(z)[0]
    nll = bce_logits_forward(a.reshape(20, -1), x.reshape(20, -1), "mean_of_sums")[0]
    KL = gaussian_kl_forward(mu, logvar)[0]
    assert result.mse == pytest.approx(np.mean((model.reconstruct(TEST) - x) ** 2), rel=1e-12)
    assert result.kl == pytest.approx(float(KL), rel=1e-12)
    assert result.kl == pytest.approx(float(model.loss((x,))[0]["kl"]), rel=1e-12)
    assert result.reconstruction_loss == pytest.approx(float(nll), rel=1e-12)
    assert result.elbo == pytest.approx(-float(nll + KL), rel=1e-12)
    np.testing.assert_allclose(result.variance, mu.var(0), rtol=1e-10)
    assert result.active_units == int((mu.var(0) > 0.01).sum())


@each_model
def test_the_evaluation_does_not_depend_on_how_images_are_batched(name, monkeypatch):
    from vqnp.data import batches
    from vqnp.evaluation import error

    model = MAKE[name](dtype="float64")
    whole = evaluate(model, IMAGES).as_dict()
    used = []

    def small(images):
        used.append(len(images))
        return batches.batches(images, 9)

    monkeypatch.setattr(error, "batches", small)
    for a, b in zip(whole.values(), evaluate(model, IMAGES).as_dict().values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    assert used == [70]


@each_model
def test_what_cannot_be_evaluated(name):
    model = MAKE[name]()
    with refused("data", "at least one image", "none", where="evaluate"):
        evaluate(model, IMAGES[:0])
    bad = np.zeros((1500, 28, 28), np.float32)
    bad[1400, 2, 3] = np.nan
    with refused("data", "finite", "nan at index (1400, 2, 3)", where="evaluate", error=NonFiniteError):
        evaluate(model, bad)


def test_a_plane_of_latents_is_evaluated_a_unit_at_a_time():
    """Six units, whatever their shape: (3, 2) says the same as (6,)."""
    make = {
        (6,): Sequential(Flatten(), Linear(784, 12, 1, "float64")),
        (3, 2): Sequential(Flatten(), Linear(784, 12, 1, "float64"), Reshape(3, 4)),
    }
    order = [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]  # mu and log variance of each of three positions
    flat = make[6,].layers[-1]
    flat.W.value[...] = flat.W.value[:, order]
    results = []
    for encoder in make.values():
        decoder = Sequential(Flatten(), Linear(6, 784, 2, "float64"), Reshape(28, 28))
        results.append(evaluate(VAE(encoder, decoder), TEST))
    for figure, other in zip(results[0].as_dict().values(), results[1].as_dict().values(), strict=True):
        np.testing.assert_allclose(figure, other, rtol=1e-12)
    assert results[0].latent_dim == 6


@each_model
def test_weights_go_to_pytorchs_names_and_back(name, tmp_path):
    model = MAKE[name]()
    export.save_torch(tmp_path / "w.npz", model)
    again = export.load_torch(tmp_path / "w.npz")
    assert type(again) is type(model) and describe(again) == describe(model) and same(again, model)
    arrays = export.to_torch(model)
    np.testing.assert_array_equal(arrays["encoder.1.weight"], model.state_dict()["encoder.1.W"].T)
    other = MAKE[name](rng=9)
    assert not same(other, model) and same(export.from_torch(arrays, other), model)


# The command line.

KINDS = ("vae", "autoencoder")
QUICK = ["--epochs", "2", "--latent-dim", "4", "--hidden", "12", "--quiet"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "few.npy"
    np.save(path, load_dataset("digits").images[:300])
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("runs")
    for kind in KINDS:
        out = str(folder / kind)
        assert main(["train", "--model", kind, "--data", str(images), "--out", out, *QUICK]) == 0
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_every_command(kind, runs, images, tmp_path, capsys):
    run = runs / kind
    assert main(["train", "--out", str(run), "--resume"]) == 0
    table = capsys.readouterr().out
    assert "test MSE" in table and ("active units" in table) == (kind == "vae")
    for name in ("checkpoint.npz", "config.json", "metrics.csv", "training.png"):
        assert (run / name).stat().st_size > 100 and str(run / name) in table
    config = json.loads((run / "config.json").read_text())
    assert config["kind"] == kind and config["model"]["latent_dim"] == 4
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and ("test_kl" in rows[0]) == (kind == "vae")
    assert main(["evaluate", str(run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert f"{figures['mse']:.5f}" in table and len(figures["latent_variance"]) == 4
    assert figures["mse"] == pytest.approx(float(rows[-1]["test_mse"]), rel=1e-12)
    assert main(["inspect", str(run)]) == 0
    out = capsys.readouterr().out
    assert (run / "latents.png").stat().st_size > 1000 and str(run / "latents.png") in out
    assert all(
        word in out for word in (("mutual information", "KL of a unit") if kind == "vae" else ("variance",))
    )
    codes, back, sheet = tmp_path / "z.npz", tmp_path / "x.npy", tmp_path / "x.png"
    assert main(["encode", str(run), "--data", str(images), "--out", str(codes)]) == 0
    printed = capsys.readouterr().out
    assert "300 images of " in printed and ", 4 numbers each" in printed
    assert main(["decode", str(run), str(codes), "--out", str(back)]) == 0
    assert main(["decode", str(run), str(codes), "--out", str(sheet)]) == 0
    model, x = load(run), np.load(images)
    with np.load(codes) as arrays:
        np.testing.assert_array_equal(arrays["latents"], model.encode(x))
    np.testing.assert_array_equal(np.load(back), model.reconstruct(x))
    assert sheet.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert main(["export", str(run), "--out", str(tmp_path / "w.npz")]) == 0
    assert same(export.load_torch(tmp_path / "w.npz"), model)


@pytest.mark.slow
def test_a_run_from_before_there_were_kinds_is_a_vq_vaes(images, tmp_path, capsys):
    out = tmp_path / "r"
    args = ["train", "--data", str(images), "--out", str(out), "--epochs", "1", "--hidden", "8", "--quiet"]
    assert main(args) == 0
    config = json.loads((out / "config.json").read_text())
    assert config.pop("kind") == "vqvae"
    (out / "config.json").write_text(json.dumps(config))
    assert main(["train", "--out", str(out), "--resume"]) == 0
    assert "codebook perplexity" in capsys.readouterr().out


def run(*args):
    """What a command does, without the catching of errors in main."""
    parsed = build_parser().parse_args([str(a) for a in args])
    return parsed.run(parsed)


@pytest.mark.parametrize(
    ("args", "argument", "needed", "got"),
    [
        ("--model vae --decay 0.9", "--decay", "given only with --model vqvae", "--model vae"),
        ("--model vae --restart-dead-codes 0", "--restart-dead-codes", "with --model vqvae", "--model vae"),
        ("--model autoencoder --kl-weight 1", "--kl-weight", "with --model vqvae or vae", "autoencoder"),
        ("--latent-dim 9", "--latent-dim", "given only with --model vae or autoencoder", "--model vqvae"),
        ("--model vae --noise-std 0.2", "--noise-std", "given only with --likelihood gaussian", "bernoulli"),
        ("--model vae --kl-weight -1", "--kl-weight", "[0, inf)", "-1.0"),
        ("--model vae --latent-dim 0", "--latent-dim", "at least 1", "0"),
    ],
)
def test_an_option_of_another_model_is_refused(args, argument, needed, got, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(argument, needed, got, where=""):
        run("train", *args.split())
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_is_one_sentence(capsys):
    assert "argument --model: invalid choice: 'gan'" in refused_command(capsys, "train", "--model", "gan")


def test_resume_and_decode_refuse_another_kind(runs, tmp_path, capsys, images):
    sentence = refused_command(capsys, "train", "--out", runs / "vae", "--resume", "--model", "autoencoder")
    assert sentence == "--resume: --model must be what the run began with, vae; got autoencoder"
    out, z = tmp_path / "x.npy", tmp_path / "z.npz"
    np.save(tmp_path / "k.npy", np.zeros((2, 4), int))
    with refused("latents", "float32, as the model", "int64"):
        run("decode", runs / "vae", tmp_path / "k.npy", "--out", out)
    assert main(["encode", str(runs / "autoencoder"), "--data", str(images), "--out", str(z)]) == 0
    with refused("", "must be latents of this model", "latents of another model", where=f"latents {z}"):
        run("decode", runs / "vae", z, "--out", out)
    np.savez(tmp_path / "c.npz", codes=np.zeros((2, 4), int))
    with refused("", "an array named 'latents'"):
        run("decode", runs / "vae", tmp_path / "c.npz", "--out", out)
    np.save(tmp_path / "n.npy", np.full((2, 4), np.nan, np.float32))
    with refused("z", "finite", "nan", error=NonFiniteError) as caught:
        run("decode", runs / "vae", tmp_path / "n.npy", "--out", out)
    assert str(tmp_path / "n.npy") in caught.value.where
    assert not out.exists()
