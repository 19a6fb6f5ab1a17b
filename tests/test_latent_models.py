"""Autoencoder and VAE from training to the command line: the same loop, the same promises."""

import csv
import json

import numpy as np
import pytest
from test_cli import refused

from vqnp import VAE, Autoencoder, InputError, evaluate, export, fit, load, load_dataset, resume, save
from vqnp.cli.main import LATENT_OPTIONS, build_parser, main
from vqnp.ops import bce_logits_forward, gaussian_kl_forward
from vqnp.optim import Adam
from vqnp.training.trainer import Schedule, Trainer

IMAGES = load_dataset("digits").images[:70]
TEST = load_dataset("digits", "test").images[:20]
SMALL = {"latent_dim": 5, "hidden": (10,), "rng": 2}
MAKE = {
    "autoencoder": lambda **o: Autoencoder(**{**SMALL, **o}),
    "vae": lambda **o: VAE(**{**SMALL, "kl_warmup": 7, **o}),
    "gaussian vae": lambda **o: VAE(**{**SMALL, "likelihood": "gaussian", "noise_std": 0.3, **o}),
}
SHORT = {"epochs": 3, "batch_size": 16, "seed": 5, "progress": False}
each_model = pytest.mark.parametrize("name", MAKE)


def same(a, b):
    return all(np.array_equal(x, b.state()[n]) for n, x in a.state().items())


@each_model
def test_the_seed_decides_everything(name):
    (a, ha), (b, hb), (c, _) = (
        (model, fit(model, IMAGES, TEST, **{**SHORT, "seed": seed}))
        for model, seed in ((MAKE[name](), 5), (MAKE[name](), 5), (MAKE[name](), 6))
    )
    assert same(a, b) and ha == hb and not same(a, c)


@each_model
@pytest.mark.parametrize("stop_at", range(0, 15, 2))
def test_stopped_after_any_step_and_resumed_it_ends_in_the_same_bits(tmp_path, name, stop_at):
    """The noise is from the trainer's generator, and the weight of its step."""
    whole = MAKE[name]()
    history = fit(whole, IMAGES, TEST, **SHORT)
    trainer = Trainer(MAKE[name](), IMAGES, Schedule(epochs=3, batch_size=16, seed=5))
    trainer.begin()
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
    x = IMAGES.reshape(70, -1) / 255.0
    rng, optimizer, step = np.random.default_rng(5), Adam(reference.named_params(), 1e-3), 0
    order = rng.permutation(70)
    for epoch in range(3):
        sums = np.zeros(3)
        for start in range(0, 70, 16):
            batch = x[order[start : start + 16]]
            eps = rng.standard_normal((len(batch), 5))
            losses, *_, cache = reference.loss_forward(batch, eps, min(1, step / 7))
            reference.zero_grad()
            reference.loss_backward(1.0, cache)
            optimizer.step()
            sums += np.array(losses) * len(batch)
            step += 1
        order = rng.permutation(70)
        means = [history[epoch][n] for n in ("loss", "reconstruction_loss", "kl")]
        np.testing.assert_allclose(means, sums / 70, rtol=1e-12)
        assert history[epoch]["kl_weight"] == min(1, (step - 1) / 7)
    assert same(model, reference)


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
    x = TEST.reshape(20, -1) / 255.0
    _, mu, logvar, KL, _ = model.forward(x)
    z = mu + np.exp(logvar / 2) * np.random.default_rng(0).standard_normal(mu.shape)
    nll = bce_logits_forward(model.decoder.forward(z)[0], x, "mean_of_sums")[0]
    assert result.mse == pytest.approx(np.mean((model.reconstruct(TEST) - TEST / 255.0) ** 2), rel=1e-12)
    assert result.kl == pytest.approx(float(KL), rel=1e-12)
    assert result.kl == pytest.approx(float(gaussian_kl_forward(mu, logvar)[0]), rel=1e-12)
    assert result.reconstruction_loss == pytest.approx(float(nll), rel=1e-12)
    assert result.elbo == pytest.approx(-float(nll + KL), rel=1e-12)
    np.testing.assert_allclose(result.variance, mu.var(0), rtol=1e-10)
    assert result.active_units == int((mu.var(0) > 0.01).sum())


@each_model
def test_the_evaluation_does_not_depend_on_how_images_are_batched(name, monkeypatch):
    from vqnp.data import batches
    from vqnp.evaluation import latents as latent_evaluation

    model = MAKE[name](dtype="float64")
    whole = evaluate(model, IMAGES).as_dict()
    monkeypatch.setattr(latent_evaluation, "batches", lambda images: batches.batches(images, 9))
    for a, b in zip(whole.values(), evaluate(model, IMAGES).as_dict().values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    with pytest.raises(InputError, match="evaluate: images must hold at least one image; got none"):
        evaluate(model, IMAGES[:0])


@each_model
def test_weights_go_to_pytorchs_names_and_back(name, tmp_path):
    model = MAKE[name]()
    export.save_torch(tmp_path / "w.npz", model)
    again = export.load_torch(tmp_path / "w.npz")
    assert type(again) is type(model) and again.config == model.config and same(again, model)
    arrays = export.to_torch(model)
    np.testing.assert_array_equal(arrays["encoder.0.weight"], model.state()["encoder.0.W"].T)
    assert same(export.from_torch(arrays, model.config, model.kind), model)


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
        word in out for word in (("says which image", "KL of a unit") if kind == "vae" else ("variance",))
    )
    codes, back, sheet = tmp_path / "z.npz", tmp_path / "x.npy", tmp_path / "x.png"
    assert main(["encode", str(run), "--data", str(images), "--out", str(codes)]) == 0
    assert "300 images, 4 numbers each" in capsys.readouterr().out
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


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--model", "vae", "--decay", "0.9"], "--decay must be given with --model vqvae only; got --model vae"),  # noqa: E501
        (["--model", "vae", "--restart-dead-codes", "0"], "--restart-dead-codes must be given with --model vqvae only; got --model vae"),  # noqa: E501
        (["--model", "autoencoder", "--kl-weight", "1"], "--kl-weight must be given with --model vae only; got --model autoencoder"),  # noqa: E501
        (["--latent-dim", "9"], "--latent-dim must be given with --model vae or autoencoder only; got --model vqvae"),  # noqa: E501
        (["--model", "vae", "--noise-std", "0.2"], "--noise-std must be given with --likelihood gaussian only; got --likelihood bernoulli"),  # noqa: E501
        (["--model", "gan"], "argument --model: invalid choice: 'gan'"),
        (["--model", "vae", "--kl-weight", "-1"], "VAE: kl_weight must be in [0, inf); got -1.0"),
    ],
)  # fmt: skip
def test_an_option_of_another_model_is_refused(args, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(capsys, "train", *args)
    assert list(tmp_path.iterdir()) == []


def test_resume_and_decode_refuse_another_kind(runs, tmp_path, capsys, images):
    sentence = refused(capsys, "train", "--out", runs / "vae", "--resume", "--model", "autoencoder")
    assert sentence == "--resume: --model must be what the run began with, vae; got autoencoder"
    np.save(tmp_path / "k.npy", np.zeros((2, 4), int))
    out = tmp_path / "x.npy"
    needed = "latents must be float32, as the model; got int64"
    assert needed in refused(capsys, "decode", runs / "vae", tmp_path / "k.npy", "--out", out)
    assert (
        main(["encode", str(runs / "autoencoder"), "--data", str(images), "--out", str(tmp_path / "z.npz")])
        == 0
    )
    capsys.readouterr()
    needed = "must be latents of this model; got latents of another model"
    assert needed in refused(capsys, "decode", runs / "vae", tmp_path / "z.npz", "--out", out)
    np.savez(tmp_path / "c.npz", codes=np.zeros((2, 4), int))
    assert "an array named 'latents'" in refused(
        capsys, "decode", runs / "vae", tmp_path / "c.npz", "--out", out
    )
    np.save(tmp_path / "n.npy", np.full((2, 4), np.nan, np.float32))
    assert "z must be finite" in refused(capsys, "decode", runs / "vae", tmp_path / "n.npy", "--out", out)
    assert not out.exists()


def test_a_checkpoint_of_an_unknown_kind_is_refused(tmp_path):
    model = MAKE["vae"]()
    model.kind = "gan"
    save(tmp_path / "m.npz", model)
    with pytest.raises(InputError, match="must hold a whole model; got build: kind must be one of"):
        load(tmp_path / "m.npz")


def test_the_defaults_in_the_help_are_the_defaults():
    import inspect

    defaults = {n: p.default for n, p in inspect.signature(VAE).parameters.items()}
    for name, (_, _, help) in LATENT_OPTIONS.items():
        assert help.endswith(f"(default: {defaults[name]})"), name
    text = next(a for a in build_parser()._actions if a.dest == "command").choices["train"].format_help()
    assert f"(default: {defaults['likelihood']})" in text and "(default: vqvae)" in text
